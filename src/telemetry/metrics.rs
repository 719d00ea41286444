//! The process's metrics, in the OpenMetrics text format. Names are fixed: dashboards rely on them.
//!
//! No counter has a namespace as a label: a cluster has thousands of them. No label has an ARN or an
//! account id: every pod may read metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use ecr_pull_secrets_core::admission::review::Outcome;
use ecr_pull_secrets_core::token::expiries::IdentitySource;
use ecr_pull_secrets_core::token::table::MAX_KEYS;
use jiff::Timestamp;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::panics;

/// Seconds since the epoch; 0 while unknown.
pub(crate) type Time = Gauge<f64, AtomicU64>;

/// How admissions ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Admitted {
    outcome: &'static str,
    cause: &'static str,
}

/// The reason for a write of a pull Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the label's values")]
pub enum Trigger {
    /// A pod that is being created.
    admission,
    /// A newer token.
    rotation,
    /// A pod that waits for a Secret that is missing, stale or corrupt.
    repair,
    /// A namespace that gets its Secret before it has a pod.
    provision,
    /// The verb `sync`.
    sync,
}

/// Writes of pull Secrets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Applied {
    trigger: Trigger,
    result: &'static str,
}

/// A result: `ok`, or the name of a cause.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ResultLabel {
    result: &'static str,
}

/// The status of an answer that is no review.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Refused {
    status: u16,
}

/// The phase of a connection when it was evicted, and the reason.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Eviction {
    phase: &'static str,
    reason: &'static str,
}

/// One token's labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct TokenOf {
    rule: String,
    region: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

/// Every metric of the process; clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    admission_requests: Family<Admitted, Counter>,
    /// How long an admission took, from the whole body to the answer, in seconds.
    pub(crate) admission_duration: Histogram,
    /// Admissions that wait for their answer.
    pub(crate) admission_in_flight: Gauge,
    /// Requests that were refused because too many were in flight.
    pub(crate) admission_shed: Counter,
    admission_refused: Family<Refused, Counter>,
    /// Panics while answering.
    pub(crate) admission_panics: Counter,
    /// Open connections of the HTTPS port.
    pub(crate) connections: Gauge,
    connections_cut: Family<Eviction, Counter>,
    secret_applies: Family<Applied, Counter>,
    token_requests: Family<ResultLabel, Counter>,
    token_expiry: Family<TokenOf, Time>,
    token_keys: Gauge,
    /// The earliest end of an entry of a pull Secret that is wanted and can be renewed.
    pub(crate) secret_expiry: Time,
    /// The end of the serving certificate, or of the first of its intermediate ones to end.
    pub(crate) certificate_expiry: Time,
    certificate_reloads: Family<ResultLabel, Counter>,
    config_reloads: Family<ResultLabel, Counter>,
    /// 1 while the configuration in force is that of the file.
    pub(crate) config_is_current: Gauge,
    /// Secrets of our name that are not ours to write.
    pub(crate) secrets_foreign: Gauge,
    /// Pods that were stored without the reference, each counted once.
    pub(crate) pods_missing_reference: Counter,
    /// 1 in the replica that holds the lease.
    pub(crate) leader: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("ecr_pull_secrets");
        // The warm path takes some 0.1 ms, the cold one some 10; the API server gives up at 5 s.
        let buckets = [
            0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
            2.5, 5.0,
        ];
        let admission_requests = Family::default();
        registry.register(
            "admission_requests",
            "Admission reviews",
            admission_requests.clone(),
        );
        let admission_duration = Histogram::new(buckets);
        registry.register(
            "admission_duration_seconds",
            "Time to answer",
            admission_duration.clone(),
        );
        let admission_in_flight = Gauge::default();
        registry.register(
            "admission_in_flight",
            "Reviews being answered",
            admission_in_flight.clone(),
        );
        let admission_shed = Counter::default();
        registry.register(
            "admission_shed",
            "Reviews refused under overload",
            admission_shed.clone(),
        );
        let admission_refused = Family::default();
        registry.register(
            "admission_refused",
            "Requests that are no review of a pod",
            admission_refused.clone(),
        );
        let admission_panics = Counter::default();
        registry.register(
            "admission_panics",
            "Panics while answering",
            admission_panics.clone(),
        );
        registry.register("panics", "Panics of any task", panics::counter());
        let connections = Gauge::default();
        registry.register(
            "connections",
            "Open connections of the HTTPS port",
            connections.clone(),
        );
        let connections_cut = Family::default();
        registry.register(
            "connections_cut",
            "Connections that took too long or made room for others",
            connections_cut.clone(),
        );
        let secret_applies = Family::default();
        registry.register(
            "secret_applies",
            "Writes of pull Secrets",
            secret_applies.clone(),
        );
        let token_requests = Family::default();
        registry.register(
            "token_requests",
            "Calls of GetAuthorizationToken",
            token_requests.clone(),
        );
        let token_expiry = Family::default();
        registry.register(
            "token_expiry_timestamp_seconds",
            "Earliest expiry of the tokens of a rule's identity in a region",
            token_expiry.clone(),
        );
        let token_keys = Gauge::default();
        registry.register(
            "token_keys",
            "Identities and regions for which the replica holds or wants a token",
            token_keys.clone(),
        );
        let token_keys_limit = Gauge::<i64>::default();
        token_keys_limit.set(i64::try_from(MAX_KEYS).unwrap_or(i64::MAX));
        registry.register("token_keys_limit", "The most of them", token_keys_limit);
        let secret_expiry = Time::default();
        registry.register(
            "secret_expiry_timestamp_seconds",
            "Earliest end of any entry of a pull Secret that is wanted and can be renewed",
            secret_expiry.clone(),
        );
        let certificate_expiry = Time::default();
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "End of the serving certificate, or of the first of its intermediate ones to end",
            certificate_expiry.clone(),
        );
        let certificate_reloads = Family::default();
        registry.register(
            "certificate_reloads",
            "Loaded certificates",
            certificate_reloads.clone(),
        );
        let config_reloads = Family::default();
        registry.register(
            "config_reloads",
            "Configuration files read after a change",
            config_reloads.clone(),
        );
        let config_is_current = Gauge::default();
        registry.register(
            "config_last_reload_successful",
            "Whether the configuration in force is that of the file",
            config_is_current.clone(),
        );
        let secrets_foreign = Gauge::default();
        registry.register(
            "secrets_foreign",
            "Secrets of the pull Secret's name of another owner",
            secrets_foreign.clone(),
        );
        let pods_missing_reference = Counter::default();
        registry.register(
            "pods_missing_reference",
            "Pods found without the reference that they need",
            pods_missing_reference.clone(),
        );
        let leader = Gauge::default();
        registry.register("leader", "Whether this replica leads", leader.clone());
        let build = Family::<Build, Gauge>::default();
        build
            .get_or_create(&Build {
                version: env!("CARGO_PKG_VERSION"),
            })
            .set(1);
        registry.register("build_info", "Version of this process", build);
        Self {
            registry: Arc::new(registry),
            admission_requests,
            admission_duration,
            admission_in_flight,
            admission_shed,
            admission_refused,
            admission_panics,
            connections,
            connections_cut,
            secret_applies,
            token_requests,
            token_expiry,
            token_keys,
            secret_expiry,
            certificate_expiry,
            certificate_reloads,
            config_reloads,
            config_is_current,
            secrets_foreign,
            pods_missing_reference,
            leader,
        }
    }
}

impl Metrics {
    /// Counts an answer.
    pub(crate) fn admitted(&self, outcome: Outcome, cause: &'static str) {
        self.admission_requests
            .get_or_create(&Admitted {
                outcome: outcome.name(),
                cause,
            })
            .inc();
    }

    /// Counts a request that got no review for an answer.
    pub(crate) fn admission_refused(&self, status: http::StatusCode) {
        let status = status.as_u16();
        self.admission_refused
            .get_or_create(&Refused { status })
            .inc();
    }

    /// Counts an evicted connection.
    pub(crate) fn connection_evicted(&self, phase: &'static str, reason: &'static str) {
        self.connections_cut
            .get_or_create(&Eviction { phase, reason })
            .inc();
    }

    /// Counts a write of a pull Secret; `result` is `ok` or a cause's name.
    pub(crate) fn applied(&self, trigger: Trigger, result: &'static str) {
        self.secret_applies
            .get_or_create(&Applied { trigger, result })
            .inc();
    }

    /// Counts a call of `GetAuthorizationToken`; `result` is `ok` or a cause's name.
    pub(crate) fn token_requested(&self, result: &'static str) {
        self.token_requests
            .get_or_create(&ResultLabel { result })
            .inc();
    }

    /// Counts an attempt to load a certificate; `result` is `ok` or `error`.
    pub(crate) fn certificate_reloaded(&self, result: &'static str) {
        self.certificate_reloads
            .get_or_create(&ResultLabel { result })
            .inc();
    }

    /// Notes a configuration file that was read after a change; `result` is `ok` or `error`.
    pub(crate) fn config_reloaded(&self, result: &'static str) {
        self.config_reloads
            .get_or_create(&ResultLabel { result })
            .inc();
        self.config_is_current.set(i64::from(result == "ok"));
    }

    /// Notes the number of keys, and the expiries of tokens in place of the last ones.
    pub(crate) fn set_tokens(
        &self,
        keys: usize,
        expiries: BTreeMap<(IdentitySource, Arc<str>), Timestamp>,
    ) {
        self.token_keys.set(i64::try_from(keys).unwrap_or(i64::MAX));
        self.token_expiry.clear();
        for ((rule, region), expires_at) in expiries {
            let labels = TokenOf {
                rule: rule.to_string(),
                region: region.to_string(),
            };
            #[allow(clippy::cast_precision_loss, reason = "seconds fit")]
            let seconds = expires_at.as_second() as f64;
            self.token_expiry.get_or_create(&labels).set(seconds);
        }
    }

    /// The text of all metrics.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
