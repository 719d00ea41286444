//! Starts an engine and the two ports around it, and waits for the end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use tokio::sync::watch;
use tracing::info;

use super::configuration::{ConfigSource, Follower};
use super::lifecycle::{Stop, Tasks};
use super::shutdown::shut_down;
use super::{guards, heap, listen, tasks};
use crate::admission::handler::Admission;
use crate::admission::http::Webhook;
use crate::certificate::files::Files;
use crate::certificate::self_signed::SelfSigned;
use crate::certificate::served::{Certificate, service};
use crate::cluster::events::EventWriter;
use crate::engine::Engine;
use crate::exit::Failure;
use crate::https::connections::Connections;
use crate::https::drain::DrainSwitch;
use crate::https::listener;
use crate::probes::{self, Readiness};

/// What the two ports are served with.
pub(crate) struct Ports {
    /// Address of the admission endpoint.
    pub(crate) https: SocketAddr,
    /// Address of the probes and metrics.
    pub(crate) http: SocketAddr,
    /// Directory of the certificate's files; without it the replicas manage a self-signed one.
    pub(crate) certificate_dir: Option<PathBuf>,
    /// Lifetime of a self-signed certificate.
    pub(crate) certificate_lifetime: Duration,
    /// The least age at which a connection is closed after an answer.
    pub(crate) connection_age: Duration,
    /// How long connections are still accepted after SIGTERM.
    pub(crate) drain_delay: Duration,
}

/// Serves until the signal to stop, and a drain after that. `guard_rest` says that the installation
/// has the optional guard.
///
/// # Errors
///
/// When a part cannot start, or ended by itself.
pub(crate) async fn serve(
    engine: Arc<Engine>,
    event_writer: EventWriter,
    ports: Ports,
    source: ConfigSource,
    guard_rest: bool,
    mut stop: Stop,
) -> Result<(), Failure> {
    let mut tasks = Tasks::default();
    let provider = CryptoProvider::get_default()
        .cloned()
        .ok_or_else(|| rustls::Error::General("no provider is installed".to_owned()))?;
    let metrics = engine.metrics.clone();

    let certificate = Certificate::new(provider, service(&engine.namespace), metrics.clone());
    let tls = certificate.server_config()?;
    let served = certificate.served();
    tasks.own("certificate-expiry", certificate.clone().report_expiry());
    let trusted = if let Some(directory) = &ports.certificate_dir {
        tasks.own("certificate", Files::new(directory, certificate).run());
        None
    } else {
        let (clients, namespace) = (&engine.clients, &engine.namespace);
        let (managed, trusted) =
            SelfSigned::new(clients, namespace, ports.certificate_lifetime, certificate);
        tasks.own("certificate", managed.run());
        Some(trusted)
    };
    tasks.own("heap", heap::keep_small());

    let (resign, resigning) = watch::channel(false);
    let synced = tasks::start(&engine, event_writer, resigning, &mut tasks);
    let switch = DrainSwitch::default();
    let readiness = Readiness {
        certificate: served,
        trusted,
        synced,
        drain: switch.signal(),
    };
    let http = listen::bind(ports.http).await?;
    let (ready, this) = (readiness.clone(), engine.clone());
    tasks.own("probes", probes::serve(http, ready, metrics.clone(), this));
    let follower = Follower::new(source, engine.clone());
    tasks.own("configuration", follower.run());
    let https = listen::bind(ports.https).await?;
    info!(https = %ports.https, http = %ports.http, version = env!("CARGO_PKG_VERSION"), "serving");
    let mut serving = tokio::spawn(listener::serve(
        https,
        Arc::new(tls),
        Webhook::new(Admission::new(engine.clone()), metrics.clone()),
        Connections::new(ports.connection_age, metrics),
        switch.signal(),
    ));
    tasks.own(
        "guards",
        guards::report(engine.clone(), readiness, guard_rest),
    );

    tokio::select! {
        () = stop.requested() => {}
        name = tasks.ended_first() => return Err(Failure::TaskEnded(name)),
        _ = &mut serving => return Err(Failure::TaskEnded("listener")),
    }
    // The next leader need not wait for the drain.
    resign.send_replace(true);
    let writes = &engine.pull_secrets;
    tokio::select! {
        () = shut_down(&switch, ports.drain_delay, serving, writes, &mut tasks) => {}
        () = stop.requested() => info!("stopping at once: a second signal came"),
    }
    Ok(())
}
