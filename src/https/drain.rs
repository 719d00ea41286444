//! The phases of a shutdown.
//!
//! On SIGTERM the process turns unready and goes on accepting, because the API server and
//! kube-proxy notice it late. Every answer then says `Connection: close`, so that connections end
//! between two requests and never during one. After a delay the process stops accepting and
//! finishes the open requests.

use tokio::sync::watch;

/// The progress of the shutdown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DrainPhase {
    /// Normal operation.
    #[default]
    Serving,
    /// Unready, still accepting, closing each connection after its answer.
    Draining,
    /// No longer accepting.
    Closing,
}

/// The sender of the phase.
#[derive(Debug, Default)]
pub struct DrainSwitch(watch::Sender<DrainPhase>);

/// A receiver of the phase.
#[derive(Clone, Debug)]
pub struct DrainSignal(watch::Receiver<DrainPhase>);

impl DrainSwitch {
    /// A new receiver.
    pub fn signal(&self) -> DrainSignal {
        DrainSignal(self.0.subscribe())
    }

    pub(crate) fn enter(&self, phase: DrainPhase) {
        self.0.send_replace(phase);
    }
}

impl DrainSignal {
    pub(crate) fn phase(&self) -> DrainPhase {
        *self.0.borrow()
    }

    /// Waits for this phase, or a later one.
    pub(crate) async fn reached(&mut self, phase: DrainPhase) {
        // Without a switch the process is ending.
        let _ = self.0.wait_for(|now| *now >= phase).await;
    }
}
