//! The phases of a shutdown, and who may know them.
//!
//! On SIGTERM the process turns unready but goes on accepting, because the API server and
//! kube-proxy learn of it late; every answer then says `Connection: close`, so that connections
//! end between two requests and never under one. After the delay it stops accepting and finishes
//! what it began.

use tokio::sync::watch;

/// How far the process is on its way out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// At work.
    #[default]
    Serving,
    /// Unready, still accepting, closing each connection after its answer.
    Draining,
    /// No longer accepting.
    Closing,
}

/// Tells everybody.
#[derive(Debug, Default)]
pub struct Switch(watch::Sender<Phase>);

/// Hears of it.
#[derive(Clone, Debug)]
pub struct Signal(watch::Receiver<Phase>);

impl Switch {
    /// Somebody who hears of it.
    pub fn signal(&self) -> Signal {
        Signal(self.0.subscribe())
    }

    /// Enters a phase.
    pub(crate) fn enter(&self, phase: Phase) {
        self.0.send_replace(phase);
    }
}

impl Signal {
    /// The phase right now.
    pub(crate) fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Waits for a phase, or a later one.
    pub(crate) async fn reached(&mut self, phase: Phase) {
        // A switch that is gone has nothing more to say: the process is ending.
        let _ = self.0.wait_for(|now| *now >= phase).await;
    }
}
