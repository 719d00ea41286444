//! The figures by name, in words, with the promised bars.

/// Bar of a figure.
#[derive(Clone, Copy)]
pub enum Bar {
    /// The value is at most this.
    AtMost(f64),
    /// The value is at least this.
    AtLeast(f64),
    /// No bar.
    Open,
}

impl Bar {
    /// Whether a value holds the bar.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(bar) => value <= bar,
            Self::AtLeast(bar) => value >= bar,
            Self::Open => true,
        }
    }

    /// Share of the bar that a value takes; 1 is at the bar.
    pub fn share(self, value: f64) -> Option<f64> {
        match self {
            Self::AtMost(bar) => Some(value / bar),
            Self::AtLeast(bar) => Some(bar / value),
            Self::Open => None,
        }
    }
}

impl std::fmt::Display for Bar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtMost(bar) => write!(f, "≤ {bar}"),
            Self::AtLeast(bar) => write!(f, "≥ {bar}"),
            Self::Open => f.write_str("–"),
        }
    }
}

/// A figure of `target/bench.json`.
pub struct Figure {
    /// Key.
    pub name: &'static str,
    /// Description.
    pub words: &'static str,
    /// Unit of the value and its bar.
    pub unit: &'static str,
    /// Promised bar.
    pub bar: Bar,
}

const fn figure(name: &'static str, words: &'static str, unit: &'static str, bar: Bar) -> Figure {
    Figure {
        name,
        words,
        unit,
        bar,
    }
}

/// All figures, in the order of the table.
pub const ALL: [Figure; 40] = [
    figure(
        "review_ns",
        "decode, decide, encode a review (compiled without LTO)",
        "ns",
        Bar::Open,
    ),
    figure(
        "admission_vs_do_nothing",
        "warm admission: throughput, of that of a handler that does nothing",
        "×",
        Bar::AtLeast(0.6),
    ),
    figure(
        "admission_p99_ms",
        "warm admission: p99 at half of that load",
        "ms",
        Bar::AtMost(2.0),
    ),
    figure(
        "do_nothing_p99_ms",
        "the same of a handler that does nothing",
        "ms",
        Bar::Open,
    ),
    figure(
        "cold_p99_ms",
        "first pod of a namespace: p99, one API write included",
        "ms",
        Bar::AtMost(20.0),
    ),
    figure(
        "rotation_vs_bare_writer",
        "1,000 namespaces rotated: time, of that of a bare concurrent writer",
        "×",
        Bar::AtMost(1.1),
    ),
    figure(
        "ready_ms",
        "start to ready with 1,000 managed namespaces",
        "ms",
        Bar::AtMost(300.0),
    ),
    figure(
        "ready_10000_ms",
        "start to ready with 10,000",
        "ms",
        Bar::AtMost(1000.0),
    ),
    figure(
        "rss_mib",
        "memory with 10,000 managed namespaces, 60 s after the start",
        "MiB",
        Bar::AtMost(20.0),
    ),
    figure(
        "identities_rss_mib",
        "memory with 1,000 AWS identities",
        "MiB",
        Bar::AtMost(40.0),
    ),
    figure(
        "identities_mints_per_half_life",
        "tokens minted for 1,000 identities in half of a token's lifetime",
        "",
        Bar::AtMost(1000.0),
    ),
    figure(
        "identities_mints_per_second",
        "most of them in one second",
        "/s",
        Bar::AtMost(10.0),
    ),
    figure(
        "identities_fan_out_s",
        "first pods of 1,000 tenants until each has a token of its role",
        "s",
        Bar::Open,
    ),
    figure(
        "identities_outage_pulls",
        "of 50 roles' new namespaces, those that pull during an AWS outage with a restart",
        "",
        Bar::AtLeast(50.0),
    ),
    figure(
        "missed_pending_s",
        "100,000 pods: a new leader's time to report 10 missed ones that are Pending",
        "s",
        Bar::AtMost(5.0),
    ),
    figure(
        "missed_running_s",
        "100,000 pods: the same for 10 that run",
        "s",
        Bar::AtMost(60.0),
    ),
    figure(
        "sweep_peak_mib",
        "100,000 pods: peak of the leader's memory",
        "MiB",
        Bar::AtMost(64.0),
    ),
    figure(
        "sweep_api_server_s",
        "100,000 pods: CPU of the control plane until all are checked",
        "s",
        Bar::Open,
    ),
    figure(
        "hostile_p99_ratio",
        "p99 of honest requests beside a hostile flood, as a share of that without it",
        "×",
        Bar::AtMost(3.0),
    ),
    figure(
        "hostile_memory_growth_mib",
        "memory that the flood leaves behind",
        "MiB",
        Bar::AtMost(1.0),
    ),
    figure(
        "hostile_tenant_peak_mib",
        "peak of memory of a replica that starts and leads beside a hostile tenant",
        "MiB",
        Bar::AtMost(64.0),
    ),
    figure(
        "hostile_tenant_p99_ratio",
        "p99 of honest requests beside that tenant, as a share of that without it",
        "×",
        Bar::AtMost(3.0),
    ),
    figure("image_mb", "image, compressed", "MB", Bar::AtMost(10.0)),
    figure(
        "pods_vs_echo_patch",
        "new pods with us, of those with a webhook that sends our patch; 16 clients",
        "×",
        Bar::AtLeast(0.95),
    ),
    figure(
        "pods_vs_echo_patch_4_clients",
        "new pods with us, of those with a webhook that sends our patch; 4 clients",
        "×",
        Bar::AtLeast(0.95),
    ),
    figure(
        "pods_vs_echo",
        "new pods with us, of those with a webhook that echoes the uid; 16 clients",
        "×",
        Bar::Open,
    ),
    figure(
        "pods_vs_echo_4_clients",
        "new pods with us, of those with a webhook that echoes the uid; 4 clients",
        "×",
        Bar::Open,
    ),
    figure(
        "pods_guards_vs_without",
        "new pods with our guards alone, of those with nothing of ours; 16 clients",
        "×",
        Bar::AtLeast(0.97),
    ),
    figure(
        "pods_guards_vs_without_4_clients",
        "new pods with our guards alone, of those with nothing of ours; 4 clients",
        "×",
        Bar::AtLeast(0.97),
    ),
    figure(
        "writes_guards_vs_without",
        "ConfigMaps, Secrets, Events with our guards alone: the slowest of them",
        "×",
        Bar::AtLeast(0.97),
    ),
    figure(
        "pods_per_second_with",
        "new pods with us; 16 clients",
        "/s",
        Bar::Open,
    ),
    figure(
        "pods_per_second_echo",
        "new pods with a webhook that echoes the uid; 16 clients",
        "/s",
        Bar::Open,
    ),
    figure(
        "pods_per_second_echo_patch",
        "new pods with a webhook that sends our patch; 16 clients",
        "/s",
        Bar::Open,
    ),
    figure(
        "pods_per_second_guards",
        "new pods with our guards and no webhook; 16 clients",
        "/s",
        Bar::Open,
    ),
    figure(
        "pods_per_second_without",
        "new pods with nothing of ours; 16 clients",
        "/s",
        Bar::Open,
    ),
    figure(
        "pods_per_second_with_4_clients",
        "new pods with us; 4 clients",
        "/s",
        Bar::Open,
    ),
    figure(
        "pods_per_second_echo_4_clients",
        "new pods with a webhook that echoes the uid; 4 clients",
        "/s",
        Bar::Open,
    ),
    figure(
        "pods_per_second_echo_patch_4_clients",
        "new pods with a webhook that sends our patch; 4 clients",
        "/s",
        Bar::Open,
    ),
    figure(
        "pods_per_second_guards_4_clients",
        "new pods with our guards and no webhook; 4 clients",
        "/s",
        Bar::Open,
    ),
    figure(
        "pods_per_second_without_4_clients",
        "new pods with nothing of ours; 4 clients",
        "/s",
        Bar::Open,
    ),
];
