//! Accepts connections, and says when there are enough.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsAcceptor;
use tracing::warn;

use super::connection::{self, Service};
use super::connections::{Connections, Open};
use super::drain::{Phase, Signal};

/// After accept(2) failed, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// How often that is said.
const TELL: Duration = Duration::from_secs(60);
/// How often a full house looks whether somebody left.
const FULL: Duration = Duration::from_millis(10);
/// Between two who are let into a full house: a handshake takes a few tenths of it.
const PACE: Duration = Duration::from_millis(2);

/// Serves until the drain is over. Returns when the last connection is gone.
pub async fn serve<S: Service>(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    service: Arc<S>,
    connections: Arc<Connections>,
    mut drain: Signal,
) {
    let mut tls = Arc::unwrap_or_clone(tls);
    // An API server keeps no session to resume; a ticket would be work and memory for nobody.
    tls.send_tls13_tickets = 0;
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    // Each conversation holds a sender: the channel ends with the last of them.
    let (talking, mut silence) = mpsc::channel::<Infallible>(1);
    let mut closing = drain.clone();
    let accepting = async {
        let mut troubles = Troubles::default();
        loop {
            let room = || _ = connections.shrink();
            let stream = accept(&listener, &mut troubles, room).await;
            let open = place(&connections).await;
            let was_full = open.was_full();
            let (acceptor, service) = (acceptor.clone(), service.clone());
            let (drain, talking) = (drain.clone(), talking.clone());
            tokio::spawn(async move {
                connection::serve(stream, acceptor, service, drain, open).await;
                drop(talking);
            });
            // A crowd is let in one by one: those who are here are answered in between.
            if was_full {
                sleep(PACE).await;
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = connections.clone().watch() => {}
        () = closing.reached(Phase::Closing) => {}
    }
    drop((listener, talking));
    drain.reached(Phase::Closing).await;
    tokio::select! {
        _ = silence.recv() => {}
        () = connections.watch() => {}
    }
}

/// A full house lets nobody in until somebody leaves or may be sent away; the kernel keeps those
/// who wait.
async fn place(connections: &Arc<Connections>) -> Open {
    loop {
        if let Some(open) = connections.open() {
            return open;
        }
        sleep(FULL).await;
    }
}

/// The next connection. When there is trouble, one of the open ones is to make room.
pub(crate) async fn accept(
    listener: &TcpListener,
    troubles: &mut Troubles,
    mut make_room: impl FnMut(),
) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                troubles.end();
                return stream;
            }
            // The other side gave up while it waited in the queue.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            // File descriptors, most likely. One connection less is one more.
            Err(error) => {
                let pause = troubles.again(&error);
                make_room();
                sleep(pause).await;
            }
        }
    }
}

/// Failures in a row, and when somebody was told.
#[derive(Default)]
pub(crate) struct Troubles {
    pause: Option<Duration>,
    failures: u64,
    told: Option<Instant>,
}

impl Troubles {
    /// How long to wait after one more.
    fn again(&mut self, error: &io::Error) -> Duration {
        self.failures += 1;
        if self.told.is_none_or(|told| told.elapsed() >= TELL) {
            let failures = std::mem::take(&mut self.failures);
            warn!(%error, failures, "cannot accept connections");
            self.told = Some(Instant::now());
        }
        let (first, most) = PAUSE;
        let pause = self.pause.map_or(first, |pause| (pause * 2).min(most));
        self.pause = Some(pause);
        pause
    }

    fn end(&mut self) {
        self.pause = None;
    }
}
