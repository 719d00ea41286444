//! The limit of concurrent writes.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Concurrent writes. With 16, two cores apply some 750 Secrets a second.
const WRITERS: usize = 16;

/// All turns to write.
pub(super) struct WriteTurns(Semaphore);

impl Default for WriteTurns {
    fn default() -> Self {
        Self::new(WRITERS)
    }
}

impl WriteTurns {
    pub(super) fn new(writers: usize) -> Self {
        Self(Semaphore::new(writers))
    }

    /// Waits for a turn.
    pub(super) async fn take(&self) -> WriteTurn<'_> {
        WriteTurn {
            of: Some(self),
            permit: self.0.acquire().await.ok(),
        }
    }
}

/// A turn to write. A writer that waits for something else gives it away meanwhile.
#[derive(Default)]
pub struct WriteTurn<'a> {
    /// `None`: the caller limits its writes itself.
    of: Option<&'a WriteTurns>,
    permit: Option<SemaphorePermit<'a>>,
}

impl WriteTurn<'_> {
    /// Gives the turn away.
    pub(super) fn rest(&mut self) {
        self.permit = None;
    }

    /// Waits for the next turn, after a rest.
    pub(super) async fn resume(&mut self) {
        if let (Some(of), None) = (self.of, &self.permit) {
            self.permit = of.0.acquire().await.ok();
        }
    }
}
