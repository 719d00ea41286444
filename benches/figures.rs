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
pub const ALL: [Figure; 29] = [
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
        Bar::AtLeast(0.8),
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
        Bar::AtMost(50.0),
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
    figure("image_mb", "image, compressed", "MB", Bar::AtMost(10.0)),
    figure(
        "pods_vs_echo",
        "pods per second with us, of those with an echo; 16 clients",
        "×",
        Bar::AtLeast(0.95),
    ),
    figure(
        "pods_vs_echo_4_clients",
        "the same with 4 clients",
        "×",
        Bar::AtLeast(0.95),
    ),
    figure(
        "pods_vs_echo_patch",
        "the same, of those with an echo that sends our patch",
        "×",
        Bar::AtLeast(0.95),
    ),
    figure(
        "pods_vs_echo_patch_4_clients",
        "the same with 4 clients",
        "×",
        Bar::AtLeast(0.95),
    ),
    figure(
        "pods_guards_vs_without",
        "pods per second with our guards alone, of those with nothing of ours; 16 clients",
        "×",
        Bar::AtLeast(0.97),
    ),
    figure(
        "pods_guards_vs_without_4_clients",
        "the same with 4 clients",
        "×",
        Bar::AtLeast(0.97),
    ),
    figure(
        "writes_guards_vs_without",
        "the same of ConfigMaps, Secrets and Events, whichever is slowed the most; 16 clients",
        "×",
        Bar::AtLeast(0.97),
    ),
    figure(
        "pods_per_second_with",
        "pods created through the API server, with us; 16 clients",
        "/s",
        Bar::Open,
    ),
    figure(
        "pods_per_second_echo",
        "the same with a webhook that only echoes the uid",
        "/s",
        Bar::Open,
    ),
    figure(
        "pods_per_second_echo_patch",
        "the same with a webhook that echoes the uid with our patch",
        "/s",
        Bar::Open,
    ),
    figure(
        "pods_per_second_guards",
        "the same with our guards and no webhook",
        "/s",
        Bar::Open,
    ),
    figure(
        "pods_per_second_without",
        "the same with nothing of ours",
        "/s",
        Bar::Open,
    ),
    figure(
        "pods_per_second_with_4_clients",
        "pods created through the API server, with us; 4 clients",
        "/s",
        Bar::Open,
    ),
    figure(
        "pods_per_second_echo_4_clients",
        "the same with a webhook that only echoes the uid",
        "/s",
        Bar::Open,
    ),
    figure(
        "pods_per_second_echo_patch_4_clients",
        "the same with a webhook that echoes the uid with our patch",
        "/s",
        Bar::Open,
    ),
    figure(
        "pods_per_second_guards_4_clients",
        "the same with our guards and no webhook",
        "/s",
        Bar::Open,
    ),
    figure(
        "pods_per_second_without_4_clients",
        "the same with nothing of ours",
        "/s",
        Bar::Open,
    ),
];
