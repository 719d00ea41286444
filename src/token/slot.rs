//! What a replica keeps for one key: its token or last failure, and whether a call is under way.

use ecr_pull_secrets_core::token::holding::Holding;
use ecr_pull_secrets_core::token::table::KeyStanding;
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::aws::failure::MintFailure;

/// The slot of one key.
#[derive(Default)]
pub(super) struct KeySlot {
    /// Whether the region may be an invention of a pod author: neither AWS's documents nor the
    /// configuration name it.
    pub(super) is_doubtful: bool,
    pub(super) holding: Mutex<Holding<MintFailure>>,
    /// Held during a call of AWS: one at a time.
    pub(super) minting: tokio::sync::Mutex<()>,
}

impl KeySlot {
    /// What the key is worth.
    pub(super) fn standing(&self, now: Timestamp) -> KeyStanding {
        match self.holding.lock().standing(now) {
            KeyStanding::Unanswered if self.is_doubtful => KeyStanding::Doubtful,
            standing => standing,
        }
    }
}
