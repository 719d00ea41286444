//! Starts an engine and the two ports around it, and waits for the end.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::info;

use super::configuration::{ConfigSource, Follower};
use super::endpoint::AdmissionEndpoint;
use super::lifecycle::{Stop, Tasks};
use super::ports::Ports;
use super::shutdown::shut_down;
use super::{guards, heap, listen, tasks};
use crate::cluster::events::EventWriter;
use crate::engine::Engine;
use crate::exit::Failure;
use crate::https::drain::DrainSwitch;
use crate::probes::{self, Readiness};

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
    let metrics = engine.metrics.clone();
    let reaches_pods = engine.live.snapshot().injection.reaches_pods();
    let endpoint = reaches_pods
        .then(|| AdmissionEndpoint::new(&engine, &ports, &mut tasks))
        .transpose()?;
    tasks.own("heap", heap::keep_small());

    let (resign, resigning) = watch::channel(false);
    let synced = tasks::start(&engine, event_writer, resigning, &mut tasks);
    let switch = DrainSwitch::default();
    let readiness = Readiness {
        certificate: endpoint.as_ref().map(|endpoint| endpoint.readiness.clone()),
        synced,
        drain: switch.signal(),
    };
    let http = listen::bind(ports.http).await?;
    let (ready, this) = (readiness.clone(), engine.clone());
    tasks.own("probes", probes::serve(http, ready, metrics.clone(), this));
    let follower = Follower::new(source, engine.clone());
    tasks.own("configuration", follower.run());
    info!(http = %ports.http, version = env!("CARGO_PKG_VERSION"), "serving");
    let mut serving = None;
    if let Some(endpoint) = endpoint {
        serving = Some(endpoint.open(&engine, &ports, switch.signal()).await?);
    }
    tasks.own(
        "guards",
        guards::report(engine.clone(), readiness, guard_rest),
    );

    tokio::select! {
        () = stop.requested() => {}
        name = tasks.ended_first() => return Err(Failure::TaskEnded(name)),
        () = ended(serving.as_mut()) => return Err(Failure::TaskEnded("listener")),
    }
    // The next leader need not wait for the drain.
    resign.send_replace(true);
    let writes = &engine.pull_secrets;
    let delay = serving
        .as_ref()
        .map_or(Duration::ZERO, |_| ports.drain_delay);
    tokio::select! {
        () = shut_down(&switch, delay, serving, writes, &mut tasks) => {}
        () = stop.requested() => info!("stopping at once: a second signal came"),
    }
    Ok(())
}

/// Waits for the end of the listener. Never returns where there is none.
async fn ended(listener: Option<&mut JoinHandle<()>>) {
    match listener {
        // A panic has been logged.
        Some(listener) => _ = listener.await,
        None => pending().await,
    }
}
