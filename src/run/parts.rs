//! The parts of `serve` that keep pull Secrets, and who depends on whom.

use std::path::Path;
use std::sync::Arc;

use ecr_pull_secrets_core::config::Config;
use ecr_pull_secrets_core::workload::pod::Settings;
use tokio::sync::{mpsc, watch};

use super::lifecycle::Tasks;
use crate::aws::mint::Mint;
use crate::cluster::client::Clients;
use crate::cluster::events;
use crate::cluster::lease::Elector;
use crate::cluster::namespaces::Namespaces;
use crate::cluster::pull_secrets::PullSecretApi;
use crate::cluster::service_accounts::ServiceAccounts;
use crate::cluster::watch::{Synced, announcement};
use crate::engine::Scope;
use crate::leader;
use crate::leader::reports::Reports;
use crate::pull_secret::ensure::PullSecrets;
use crate::pull_secret::ledger::Ledger;
use crate::pull_secret::write::Writer;
use crate::telemetry::metrics::Metrics;
use crate::token::store::Store;
use crate::token::supply::Supply;

/// The task that ends by itself, when it has given the lease back.
pub(super) const ELECTION: &str = "election";

/// What they are made of.
pub(super) struct Parts<'a> {
    /// Where AWS keys may be mounted.
    pub(super) aws_credentials_dir: &'a Path,
    /// The configuration in force.
    pub(super) config: &'a Config,
    /// Our own namespace.
    pub(super) namespace: &'a str,
    /// Of the API server.
    pub(super) clients: &'a Clients,
    /// What is counted.
    pub(super) metrics: &'a Metrics,
    /// Says true when the lease is to be given back.
    pub(super) resign: watch::Receiver<bool>,
}

/// What admission and shutdown need of them.
pub(super) struct Started {
    /// What every loop works with, admission included.
    pub(super) scope: Arc<Scope>,
    /// The first complete lists of all watches.
    pub(super) synced: Vec<Synced>,
}

impl Parts<'_> {
    /// Starts the watches, the writer of Events, the election and the loops of the leader.
    pub(super) fn start(self, tasks: &mut Tasks) -> Started {
        let Self {
            aws_credentials_dir,
            config,
            namespace,
            clients,
            metrics,
            resign,
        } = self;
        let ledger = Arc::new(Ledger::new(&config.secret.name));
        let namespaces = Arc::new(Namespaces::new(clients));
        let service_accounts = Arc::new(ServiceAccounts::new(clients, &config.secret.name));
        let (events, event_writer) = events::channel(clients.call.clone(), &instance());
        tasks.own("events", event_writer.run());

        let store = Store::new(clients, namespace);
        let supply = Supply::new(
            Mint::new(config.endpoints.clone(), aws_credentials_dir),
            config.rotation.max_age,
            metrics.clone(),
            store.clone(),
        );
        let writer = Writer::new(
            PullSecretApi::new(clients.call.clone(), &config.secret.name),
            ledger.clone(),
            config.secret.adopt,
            config.rotation.max_age,
            metrics.clone(),
            events.clone(),
        );
        let pull_secrets =
            PullSecrets::new(ledger.clone(), supply.clone(), namespaces.clone(), writer);
        let scope = Arc::new(Scope {
            config: config.clone(),
            settings: Settings {
                secret_name: config.secret.name.clone(),
                selection: config.selection,
            },
            clients: clients.clone(),
            namespace: namespace.to_owned(),
            ledger,
            supply: supply.clone(),
            namespaces: namespaces.clone(),
            service_accounts: service_accounts.clone(),
            pull_secrets,
            metrics: metrics.clone(),
            events,
            reports: Reports::default(),
        });

        let mut synced = Vec::new();
        let mut announce = || {
            let (announce, sync) = announcement();
            synced.push(sync);
            announce
        };
        let (first_list, this) = (announce(), scope.clone());
        let (change, changes) = mpsc::unbounded_channel();
        tasks.own("ledger", async move {
            let client = this.clients.watch.clone();
            this.ledger
                .watch(client, first_list, |namespace, what| {
                    this.pull_secrets.reconsider(namespace);
                    // The other end lives as long as the process.
                    let _ = change.send((namespace.into(), what));
                })
                .await;
        });
        let (client, first_list) = (clients.watch.clone(), announce());
        tasks.own("namespaces", async move {
            namespaces.watch(client, first_list).await;
        });
        let (client, first_list) = (clients.watch.clone(), announce());
        tasks.own("serviceaccounts", async move {
            service_accounts.watch(client, first_list).await;
        });
        let first_list = announce();
        tasks.own(
            "tokens",
            async move { store.watch(supply, first_list).await },
        );

        let (elector, leads) = Elector::new(
            clients.call.clone(),
            namespace,
            &instance(),
            metrics.clone(),
        );
        let ready = synced.clone();
        tasks.own(ELECTION, take_part(elector, ready, resign));
        let this = scope.clone();
        tasks.own("reconcile", leader::run(this, leads, changes));
        Started { scope, synced }
    }
}

/// Whoever has not seen the cluster yet, and never may, leads nobody.
async fn take_part(elector: Elector, mut ready: Vec<Synced>, mut resign: watch::Receiver<bool>) {
    let seen = async {
        for sync in &mut ready {
            sync.synced().await;
        }
    };
    tokio::select! {
        _ = resign.wait_for(|resign| *resign) => return,
        () = seen => {}
    }
    elector.run(resign).await;
}

/// The pod's name: its host name, by Kubernetes' rules.
fn instance() -> String {
    std::env::var("HOSTNAME").unwrap_or_else(|_| "ecr-pull-secrets".to_owned())
}
