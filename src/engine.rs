//! What admission and the loops of the leader share: the configuration, the API server, memory, and
//! the one verb.

use std::sync::Arc;

use ecr_pull_secrets_core::config::Config;
use ecr_pull_secrets_core::identity::Identity;
use ecr_pull_secrets_core::identity::Subject;
use ecr_pull_secrets_core::image::Registry;
use ecr_pull_secrets_core::rules::Verdict;
use ecr_pull_secrets_core::workload::pod::Settings;
use jiff::Timestamp;

use crate::cluster::client::Clients;
use crate::cluster::events::Events;
use crate::cluster::namespaces::Namespaces;
use crate::cluster::service_accounts::ServiceAccounts;
use crate::leader::reports::Reports;
use crate::pull_secret::ensure::PullSecrets;
use crate::pull_secret::ledger::Ledger;
use crate::telemetry::metrics::Metrics;
use crate::token::keys::Keys;
use crate::token::supply::Supply;

/// See above; there is one per process.
pub struct Scope {
    /// The configuration in force.
    pub config: Config,
    /// What decides about a pod.
    pub settings: Settings,
    /// Of the API server.
    pub clients: Clients,
    /// Our own namespace.
    pub namespace: String,
    /// What each namespace's Secret holds.
    pub ledger: Arc<Ledger>,
    /// The tokens.
    pub supply: Arc<Supply>,
    /// The namespaces.
    pub namespaces: Arc<Namespaces>,
    /// The ServiceAccounts.
    pub service_accounts: Arc<ServiceAccounts>,
    /// The one that writes.
    pub pull_secrets: Arc<PullSecrets>,
    /// What is counted.
    pub metrics: Metrics,
    /// What is told.
    pub events: Events,
    /// What was said and done about pods.
    pub reports: Reports,
}

impl Scope {
    /// Of these registries, the ones that the rules allow in a namespace, and with whose rights.
    pub fn allowed(&self, namespace: &str, registries: &[Registry]) -> Vec<(Registry, Identity)> {
        let allowed = registries.iter().filter_map(|registry| {
            match self
                .config
                .rules
                .verdict(registry, Subject::of_namespace(namespace))
            {
                Verdict::Allow(identity) => Some((registry.clone(), identity)),
                Verdict::Deny(_) => None,
            }
        });
        allowed.collect()
    }

    /// The earliest end of any token that pods are to pull with. One that the rules deny by now is
    /// left to end where it is.
    pub fn earliest_expiry(&self) -> Option<Timestamp> {
        let mut keys = Keys::default();
        self.ledger.earliest_expiry(|namespace, host| {
            keys.of(&self.config.rules, host, namespace).is_some()
        })
    }
}
