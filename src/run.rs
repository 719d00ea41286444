//! `serve`, put together: which parts there are, who depends on whom, and how all of it ends.
//!
//! Every background task is owned here. One that ends before the process does ends the process:
//! a replica without its ledger would answer from a memory that nobody refreshes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::admission::pod::Settings;
use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::config::Config;
use kube::Client;
use rustls::crypto::CryptoProvider;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::admission::handler::Admission;
use crate::admission::http::router;
use crate::cli;
use crate::cluster::apply::PullSecretApi;
use crate::cluster::connect::{Clients, clients};
use crate::cluster::guard;
use crate::cluster::namespaces::Namespaces;
use crate::cluster::service_accounts::ServiceAccounts;
use crate::cluster::watch::{Synced, announcement};
use crate::command::Failure;
use crate::https::certificate::Files;
use crate::https::drain::{self, Phase, Switch};
use crate::https::listener;
use crate::probes::{self, Readiness};
use crate::pull_secret::ensure::PullSecrets;
use crate::pull_secret::ledger::Ledger;
use crate::pull_secret::write::Writer;
use crate::telemetry::events;
use crate::telemetry::metrics::Metrics;
use crate::token::mint::Mint;
use crate::token::supply::Supply;

/// After the drain, whatever is still being answered has so long: an admission takes 5 s at most.
const FINISH: Duration = Duration::from_secs(6);

/// Serves until SIGTERM or SIGINT, and a drain after that.
///
/// # Errors
///
/// When a part cannot start, or died.
pub async fn run(config: Config, flags: cli::Serve) -> Result<(), Failure> {
    let cli::Serve {
        cluster:
            cli::Cluster {
                kubeconfig,
                context,
                namespace,
            },
        https_listen,
        http_listen,
        certificate_dir,
        aws_credentials_dir,
        drain_delay,
        print_config: _,
    } = flags;
    let mut stop = Stop::new()?;
    let clients = clients(kubeconfig.as_deref(), context.as_deref()).await?;
    let provider = CryptoProvider::get_default()
        .cloned()
        .ok_or_else(|| Failure::Run("no TLS provider is installed".to_owned()))?;
    let metrics = Metrics::default();
    let mut tasks = Tasks::default();

    let files = Files::new(&certificate_dir, provider, metrics.clone());
    let tls = files
        .server_config()
        .map_err(|error| Failure::Run(error.to_string()))?;
    let certificate = files.loaded();
    tasks.own("certificate", files.run());

    let ledger = Arc::new(Ledger::new(&config.secret.name));
    let pull_secrets = PullSecretsParts {
        aws_credentials_dir: &aws_credentials_dir,
        config: &config,
        clients: &clients,
        ledger: ledger.clone(),
        metrics: &metrics,
    };
    let Parts {
        pull_secrets,
        namespaces,
        service_accounts,
        synced,
    } = pull_secrets.start(&mut tasks);
    let writes = pull_secrets.clone();
    let settings = Settings {
        secret_name: config.secret.name.clone(),
        selection: config.selection,
    };
    let admission = Admission::new(
        settings,
        config.rules.clone(),
        namespaces,
        service_accounts,
        pull_secrets,
    );
    let routes = router(Arc::new(admission), metrics.clone());

    let switch = Switch::default();
    let readiness = Readiness {
        certificate,
        synced,
        drain: switch.signal(),
    };
    let probes = bind(http_listen).await?;
    tasks.own(
        "probes",
        probes::serve(probes, readiness.clone(), metrics, ledger),
    );
    let https = bind(https_listen).await?;
    info!(https = %https_listen, http = %http_listen, version = env!("CARGO_PKG_VERSION"), "serving");
    let mut serving = tokio::spawn(listener::serve(
        https,
        Arc::new(tls),
        routes,
        switch.signal(),
    ));
    tasks.own(
        "guards",
        report_guards(clients.call, namespace, config.secret.name, readiness),
    );

    tokio::select! {
        () = stop.requested() => {}
        name = tasks.died() => return Err(Failure::Run(format!("the task `{name}` ended"))),
        _ = &mut serving => return Err(Failure::Run("the listener ended".to_owned())),
    }
    tokio::select! {
        () = shut_down(&switch, drain_delay, serving, &writes) => {}
        () = stop.requested() => info!("asked twice: ending at once"),
    }
    Ok(())
}

/// How often the guards are looked at while they hold.
const GUARD_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// And while they do not.
const GUARD_RETRY: Duration = Duration::from_secs(5);

/// What the pull Secrets are made of.
struct PullSecretsParts<'a> {
    aws_credentials_dir: &'a Path,
    config: &'a Config,
    clients: &'a Clients,
    ledger: Arc<Ledger>,
    metrics: &'a Metrics,
}

struct Parts {
    pull_secrets: Arc<PullSecrets>,
    namespaces: Arc<Namespaces>,
    service_accounts: Arc<ServiceAccounts>,
    synced: Vec<Synced>,
}

impl PullSecretsParts<'_> {
    /// Starts the watches and the writer of Events.
    fn start(self, tasks: &mut Tasks) -> Parts {
        let Self {
            aws_credentials_dir,
            config,
            clients,
            ledger,
            metrics,
        } = self;
        let namespaces = Arc::new(Namespaces::new(clients));
        let service_accounts = Arc::new(ServiceAccounts::new(clients, &config.secret.name));
        let (events, event_writer) = events::channel(clients.call.clone(), &instance());
        tasks.own("events", event_writer.run());

        let supply = Supply::new(
            Mint::new(config.endpoints.clone(), aws_credentials_dir),
            config.rotation.max_age,
            metrics.clone(),
        );
        let api = PullSecretApi::new(clients.call.clone(), &config.secret.name);
        let adopt = config.secret.adopt;
        let writer = Writer::new(
            api,
            ledger.clone(),
            adopt,
            config.rotation.max_age,
            metrics.clone(),
            events,
        );
        let pull_secrets = PullSecrets::new(ledger.clone(), supply, namespaces.clone(), writer);

        let mut synced = Vec::new();
        let mut announce = || {
            let (announce, sync) = announcement();
            synced.push(sync);
            announce
        };
        let watch = || clients.watch.clone();
        let (client, first_list) = (watch(), announce());
        let reconsider = pull_secrets.clone();
        tasks.own("ledger", async move {
            ledger
                .watch(client, first_list, |namespace| {
                    reconsider.reconsider(namespace)
                })
                .await;
        });
        let (client, first_list, this) = (watch(), announce(), namespaces.clone());
        tasks.own(
            "namespaces",
            async move { this.watch(client, first_list).await },
        );
        let (client, first_list, this) = (watch(), announce(), service_accounts.clone());
        tasks.own("serviceaccounts", async move {
            this.watch(client, first_list).await
        });
        Parts {
            pull_secrets,
            namespaces,
            service_accounts,
            synced,
        }
    }
}

/// The pod's name: its host name, by Kubernetes' rules.
fn instance() -> String {
    std::env::var("HOSTNAME").unwrap_or_else(|_| "ecr-pull-secrets".to_owned())
}

/// Listens; on IPv4 alone where both families were asked for and the kernel has one.
async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    let bound = match TcpListener::bind(address).await {
        Err(error) if is_without_ipv6(address, &error) => {
            info!(%address, %error, "listening on IPv4 alone");
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    };
    bound.map_err(|error| Failure::Usage(format!("cannot listen on {address}: {error}")))
}

fn is_without_ipv6(address: SocketAddr, error: &io::Error) -> bool {
    use io::ErrorKind::{AddrInUse, PermissionDenied};
    address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        && !matches!(error.kind(), AddrInUse | PermissionDenied)
}

/// Looks at the guards again and again, and tells when that changes. The API server takes a second
/// to obey a new policy: the first time that they do not hold is not worth a word.
async fn report_guards(
    client: Client,
    namespace: String,
    secret_name: String,
    readiness: Readiness,
) {
    readiness.synced().await;
    let mut held = None;
    let mut failures = 0;
    loop {
        match guard::verify(&client, &namespace, &secret_name).await {
            Ok(()) => {
                if held != Some(true) {
                    info!("the guard policies deny what they must");
                }
                (held, failures) = (Some(true), 0);
            }
            Err(detail) => {
                failures += 1;
                if failures > 1 && held != Some(false) {
                    let cause = Cause::GuardMissing;
                    warn!(
                        cause = cause.name(),
                        detail,
                        remedy = cause.remedy(),
                        "{cause}"
                    );
                    held = Some(false);
                }
            }
        }
        sleep(if failures == 0 {
            GUARD_INTERVAL
        } else {
            GUARD_RETRY
        })
        .await;
    }
}

async fn shut_down(
    switch: &Switch,
    delay: Duration,
    serving: tokio::task::JoinHandle<()>,
    writes: &PullSecrets,
) {
    info!(seconds = delay.as_secs(), "draining");
    switch.enter(drain::Phase::Draining);
    sleep(delay).await;
    switch.enter(Phase::Closing);
    let finished = async {
        // A panic of the listener has been logged, and nothing is left to finish then.
        let _ = serving.await;
        writes.settled().await;
    };
    if timeout(FINISH, finished).await.is_err() {
        warn!("some connections or writes did not end in time");
    }
    info!("stopped");
}

/// SIGTERM and SIGINT.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::Run(error.to_string()));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn requested(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The tasks that live as long as the process.
#[derive(Default)]
struct Tasks(JoinSet<&'static str>);

impl Tasks {
    fn own(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(async move {
            task.await;
            name
        });
    }

    /// Waits for the first that ends; a panic is an end.
    async fn died(&mut self) -> &'static str {
        match self.0.join_next().await {
            Some(Ok(name)) => name,
            Some(Err(_)) | None => "a task that panicked",
        }
    }
}
