//! `serve`, put together: which parts there are, who depends on whom, and how all of it ends.
//!
//! Every background task is owned here. One that ends before the process does ends the process:
//! a replica without its ledger would answer from a memory that nobody refreshes.

mod guards;
mod heap;
mod lifecycle;
mod parts;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::config::Config;
use rustls::crypto::CryptoProvider;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use self::lifecycle::{Stop, Tasks};
use self::parts::ELECTION;
use crate::admission::handler::Admission;
use crate::admission::http::Webhook;
use crate::certificate::files::Files;
use crate::certificate::self_signed::SelfSigned;
use crate::certificate::served::{Certificate, service};
use crate::cli;
use crate::cluster::client::clients;
use crate::engine::{Blueprint, Engine};
use crate::exit::Failure;
use crate::https::connections::Connections;
use crate::https::drain::{self, Phase, Switch};
use crate::https::listener;
use crate::probes::{self, Readiness};
use crate::pull_secret::ensure::PullSecrets;
use crate::telemetry::metrics::Metrics;

/// After the drain, whatever is still being answered has so long: an admission takes 5 s at most.
const FINISH: Duration = Duration::from_secs(6);

/// Serves until SIGTERM or SIGINT, and a drain after that.
///
/// # Errors
///
/// When a part cannot start, or died.
pub(crate) async fn run(config: Config, flags: cli::Serve) -> Result<(), Failure> {
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
        certificate_lifetime,
        aws_credentials_dir,
        drain_delay,
        connection_age,
        print_config: _,
    } = flags;
    let mut stop = Stop::new()?;
    let clients = clients(kubeconfig.as_deref(), context.as_deref()).await?;
    let provider = CryptoProvider::get_default()
        .cloned()
        .ok_or_else(|| Failure::Run("no TLS provider is installed".to_owned()))?;
    let metrics = Metrics::default();
    let mut tasks = Tasks::default();

    let certificate = Certificate::new(provider, service(&namespace), metrics.clone());
    let tls = certificate
        .server_config()
        .map_err(|error| Failure::Run(error.to_string()))?;
    let served = certificate.served();
    tasks.own("certificate-expiry", certificate.clone().report_expiry());
    let trusted = if let Some(directory) = certificate_dir {
        tasks.own("certificate", Files::new(&directory, certificate).run());
        None
    } else {
        let (kept, trusted) =
            SelfSigned::new(&clients, &namespace, certificate_lifetime, certificate);
        tasks.own("certificate", kept.run());
        Some(trusted)
    };

    tasks.own("heap", heap::keep_small());
    let (resign, resigning) = watch::channel(false);
    let secret_name = config.secret.name.clone();
    let (engine, event_writer) = Engine::build(Blueprint {
        config,
        clients: clients.clone(),
        namespace: &namespace,
        aws_credentials_dir: &aws_credentials_dir,
        metrics: metrics.clone(),
    });
    let synced = parts::start(&engine, event_writer, resigning, &mut tasks);
    let webhook = Webhook::new(Admission::new(engine.clone()), metrics.clone());
    let connections = Connections::new(connection_age, metrics.clone());

    let switch = Switch::default();
    let readiness = Readiness {
        certificate: served,
        trusted,
        synced,
        drain: switch.signal(),
    };
    let probes = bind(http_listen).await?;
    let (ready, this) = (readiness.clone(), engine.clone());
    tasks.own("probes", probes::serve(probes, ready, metrics, this));
    let https = bind(https_listen).await?;
    info!(https = %https_listen, http = %http_listen, version = env!("CARGO_PKG_VERSION"), "serving");
    let mut serving = tokio::spawn(listener::serve(
        https,
        Arc::new(tls),
        webhook,
        connections,
        switch.signal(),
    ));
    tasks.own(
        "guards",
        guards::report(clients.call, namespace, secret_name, readiness),
    );

    tokio::select! {
        () = stop.requested() => {}
        name = tasks.died() => return Err(Failure::Run(format!("the task `{name}` ended"))),
        _ = &mut serving => return Err(Failure::Run("the listener ended".to_owned())),
    }
    // Whoever leads next need not wait for the drain.
    resign.send_replace(true);
    tokio::select! {
        () = shut_down(&switch, drain_delay, serving, &engine.pull_secrets, &mut tasks) => {}
        () = stop.requested() => info!("asked twice: ending at once"),
    }
    Ok(())
}

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

async fn shut_down(
    switch: &Switch,
    delay: Duration,
    serving: JoinHandle<()>,
    writes: &PullSecrets,
    tasks: &mut Tasks,
) {
    info!(seconds = delay.as_secs(), "draining");
    switch.enter(drain::Phase::Draining);
    sleep(delay).await;
    switch.enter(Phase::Closing);
    let finished = async {
        // A panic of the listener has been logged, and nothing is left to finish then.
        let _ = serving.await;
        writes.settled().await;
        // It ends when the lease has been given back, most likely long ago.
        tasks.ended(ELECTION).await;
    };
    if timeout(FINISH, finished).await.is_err() {
        warn!("some connections or calls did not end in time");
    }
    info!("stopped");
}
