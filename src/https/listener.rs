//! Accepts connections on the HTTPS port, as long as there are free slots.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use super::accept::{AcceptFailures, accept};
use super::connection::{self, Service};
use super::connections::{ConnectionSlot, Connections};
use super::drain::{DrainPhase, DrainSignal};

/// The interval between two checks for a free slot.
const SLOT_CHECK_INTERVAL: Duration = Duration::from_millis(10);
/// The pause after a connection that took the slot of another. A handshake takes a tenth of it.
const EVICTION_PAUSE: Duration = Duration::from_millis(2);

/// Serves until the drain is over. Returns when the last connection has ended.
pub async fn serve<S: Service>(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    service: Arc<S>,
    connections: Arc<Connections>,
    mut drain: DrainSignal,
) {
    let mut tls = Arc::unwrap_or_clone(tls);
    // An API server resumes no session, so a ticket would only cost work and memory.
    tls.send_tls13_tickets = 0;
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    // Each connection holds a sender. The channel ends with the last of them.
    let (open, mut all_ended) = mpsc::channel::<Infallible>(1);
    let mut closing = drain.clone();
    let accepting = async {
        let mut failures = AcceptFailures::default();
        loop {
            let make_room = || _ = connections.evict_one();
            let stream = accept(&listener, &mut failures, make_room).await;
            let slot = free_slot(&connections).await;
            let was_full = slot.was_full();
            let (acceptor, service) = (acceptor.clone(), service.clone());
            let (drain, open) = (drain.clone(), open.clone());
            tokio::spawn(async move {
                connection::serve(stream, acceptor, service, drain, slot).await;
                drop(open);
            });
            // Under a flood, open connections get their answers in these pauses.
            if was_full {
                sleep(EVICTION_PAUSE).await;
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = connections.clone().enforce_limits() => {}
        () = closing.reached(DrainPhase::Closing) => {}
    }
    drop((listener, open));
    drain.reached(DrainPhase::Closing).await;
    tokio::select! {
        _ = all_ended.recv() => {}
        () = connections.enforce_limits() => {}
    }
}

/// Waits until a connection ends or may be evicted. Meanwhile new ones wait in the kernel's queue.
async fn free_slot(connections: &Arc<Connections>) -> ConnectionSlot {
    loop {
        if let Some(slot) = connections.open() {
            return slot;
        }
        sleep(SLOT_CHECK_INTERVAL).await;
    }
}
