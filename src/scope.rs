//! What admission and the loops of the leader share: the configuration, the API server, memory, and
//! the one verb.

use std::sync::Arc;

use ecr_pull_secrets_core::admission::pod::Settings;
use ecr_pull_secrets_core::config::Config;

use crate::cluster::connect::Clients;
use crate::cluster::namespaces::Namespaces;
use crate::cluster::service_accounts::ServiceAccounts;
use crate::pull_secret::ensure::PullSecrets;
use crate::pull_secret::ledger::Ledger;
use crate::telemetry::events::Events;
use crate::telemetry::metrics::Metrics;
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
}
