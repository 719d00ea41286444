//! The object graph: built here, and started elsewhere.
//!
//! `serve` builds one [`Engine`], and [`crate::run`] starts its watches and the loops of the leader.
//! Another verb can build one too, and use what it needs without any watch. Building makes no call.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use ecr_pull_secrets_core::config::Config;
use ecr_pull_secrets_core::pull_secret::expiry::is_obtainable;
use ecr_pull_secrets_core::target::Target;
use jiff::Timestamp;

use crate::aws::mint::Mint;
use crate::cluster::client::Clients;
use crate::cluster::events::{self, EventWriter, Events};
use crate::cluster::namespaces::Namespaces;
use crate::cluster::pull_secrets::PullSecretApi;
use crate::cluster::service_accounts::ServiceAccounts;
use crate::config::{InForce, Live};
use crate::pull_secret::ensure::PullSecrets;
use crate::pull_secret::ledger::Ledger;
use crate::pull_secret::write::SecretWriter;
use crate::telemetry::metrics::Metrics;
use crate::token::store::Store;
use crate::token::supply::Supply;
use crate::wants::Wants;

/// What an engine is built from.
pub(crate) struct Blueprint<'a> {
    pub(crate) config: Config,
    pub(crate) clients: Clients,
    /// Our own namespace.
    pub(crate) namespace: &'a str,
    /// The directory where AWS keys may be mounted.
    pub(crate) aws_credentials_dir: &'a Path,
    pub(crate) metrics: Metrics,
}

/// What admission, the loops of the leader and the verbs share; one per process.
pub(crate) struct Engine {
    /// The configuration in force.
    pub(crate) live: Arc<Live>,
    pub(crate) clients: Clients,
    /// Our own namespace.
    pub(crate) namespace: String,
    /// The name of this replica: in the Lease and in Events.
    pub(crate) instance: String,
    /// What each pull Secret holds.
    pub(crate) ledger: Arc<Ledger>,
    /// The tokens that this process holds.
    pub(crate) supply: Arc<Supply>,
    /// The tokens that all replicas share.
    pub(crate) store: Arc<Store>,
    pub(crate) namespaces: Arc<Namespaces>,
    pub(crate) service_accounts: Arc<ServiceAccounts>,
    pub(crate) secrets: PullSecretApi,
    /// The one verb: see [`PullSecrets::ensure`].
    pub(crate) pull_secrets: Arc<PullSecrets>,
    /// What the pull Secrets shall hold.
    pub(crate) wants: Wants,
    pub(crate) metrics: Metrics,
    pub(crate) events: Events,
}

impl Engine {
    /// Puts the parts together. The second half writes Events, once it runs.
    pub(crate) fn build(blueprint: Blueprint<'_>) -> (Arc<Self>, EventWriter) {
        let Blueprint {
            config,
            clients,
            namespace,
            aws_credentials_dir,
            metrics,
        } = blueprint;
        let instance = instance();
        let live = Live::new(config.installed_in(namespace));
        let ledger = Arc::new(Ledger::default());
        let namespaces = Arc::new(Namespaces::new(&clients));
        let service_accounts = Arc::new(ServiceAccounts::new(&clients));
        let (events, event_writer) = events::channel(clients.call.clone(), &instance);
        let store = Store::new(&clients, namespace);
        let supply = Supply::new(
            Mint::new(aws_credentials_dir),
            metrics.clone(),
            store.clone(),
        );
        let secrets = PullSecretApi::new(clients.call.clone());
        let writer = SecretWriter::new(
            secrets.clone(),
            ledger.clone(),
            metrics.clone(),
            events.clone(),
        );
        let pull_secrets = PullSecrets::new(
            live.clone(),
            ledger.clone(),
            supply.clone(),
            namespaces.clone(),
            writer,
        );
        let wants = Wants::new(live.clone(), clients.clone(), namespaces.clone());
        let engine = Self {
            live,
            clients,
            namespace: namespace.to_owned(),
            instance,
            ledger,
            supply,
            store,
            namespaces,
            service_accounts,
            secrets,
            pull_secrets,
            wants,
            metrics,
            events,
        };
        (Arc::new(engine), event_writer)
    }

    /// The number of pull Secrets that are renewed now, and would not be under another configuration.
    /// `None` while this replica does not lead.
    pub(crate) fn ended_by(&self, next: &InForce) -> Option<usize> {
        let now = self.renewed(&self.live.snapshot())?;
        let then = self.renewed(next)?;
        Some(now.difference(&then).count())
    }

    fn renewed(&self, config: &InForce) -> Option<HashSet<Target>> {
        let mut renewals = self.wants.renewals(config);
        if !renewals.is_leading() {
            return None;
        }
        let mut renewed = HashSet::new();
        self.ledger.read().for_each(|secret, namespace, holds| {
            let target = Target::new(namespace, secret.clone());
            for hold in holds {
                if renewals.renewal(&target, &hold.host).is_some() {
                    renewed.insert(target);
                    return;
                }
            }
        });
        Some(renewed)
    }

    /// The earliest expiry of any token that pods pull with and that this installation can renew. A
    /// token that no pod wants, or that the rules deny, does not count: it expires where it is. `None`
    /// while this replica does not lead.
    pub(crate) fn earliest_expiry(&self) -> Option<Timestamp> {
        let config = self.live.snapshot();
        let has_any = !self.supply.tokens().is_empty();
        let mut renewals = self.wants.renewals(&config);
        let book = self.ledger.read();
        book.earliest_expiry(|target, host| {
            let key = renewals.pulled_with(target, host);
            key.is_some_and(|key| {
                let has_token = self.supply.held(&key).is_some();
                is_obtainable(&config, &key.region, has_token, has_any)
            })
        })
    }
}

/// The pod's name, as the chart gives it, or else its host name, which is the same by default.
fn instance() -> String {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    variable("POD_NAME")
        .or_else(|| variable("HOSTNAME"))
        .unwrap_or_else(|| "ecr-pull-secrets".to_owned())
}
