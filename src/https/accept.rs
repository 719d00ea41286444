//! Accepts connections, also while file descriptors are short.

use std::io;
use std::time::Duration;

use ecr_pull_secrets_core::backoff::Backoff;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::telemetry::chain::chain;

/// Pauses after accept(2) failed.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
/// The interval between two log lines about failures.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Failures of accept(2) in a row.
#[derive(Default)]
pub(crate) struct AcceptFailures {
    pause: Duration,
    unlogged: u64,
    logged: Option<Instant>,
}

impl AcceptFailures {
    /// Records a failure, and returns the pause after it.
    fn record(&mut self, error: &io::Error) -> Duration {
        self.unlogged += 1;
        if self.logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            let failures = std::mem::take(&mut self.unlogged);
            warn!(error = chain(&error), failures, "cannot accept connections");
            self.logged = Some(Instant::now());
        }
        self.pause = PAUSES.after(self.pause);
        self.pause
    }
}

/// Accepts the next connection. After a failure, `make_room` closes an open one.
pub(crate) async fn accept(
    listener: &TcpListener,
    failures: &mut AcceptFailures,
    mut make_room: impl FnMut(),
) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                failures.pause = Duration::ZERO;
                return stream;
            }
            // The client gave up while it waited in the queue.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            // The process is out of file descriptors, most likely. Each closed connection frees one.
            Err(error) => {
                let pause = failures.record(&error);
                make_room();
                sleep(pause).await;
            }
        }
    }
}
