//! The slots of keys: what a replica keeps for each key, and which keys have one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ecr_pull_secrets_core::aws::regions::is_listed;
use ecr_pull_secrets_core::config::Config;
use ecr_pull_secrets_core::identity::TokenKey;
use ecr_pull_secrets_core::token::Token;
use ecr_pull_secrets_core::token::holding::Holding;
use ecr_pull_secrets_core::token::quota::KeyQuota;
use ecr_pull_secrets_core::token::table::{KeyStanding, KeyTable, TooManyKeys};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::supplied::TokenFailure;
use crate::aws::failure::MintFailure;
use crate::clock;

/// The slot of one key: its token or last failure, and whether a call is under way.
#[derive(Default)]
pub(super) struct KeySlot {
    /// Whether the region may be an invention of a pod author ([`Config::may_be_invention`]).
    is_doubtful: bool,
    pub(super) holding: Mutex<Holding<MintFailure>>,
    /// Held during a call of AWS: one at a time.
    pub(super) minting: tokio::sync::Mutex<()>,
}

impl KeySlot {
    /// Whether the region may be an invention, as far as AWS has answered.
    pub(super) fn may_be_invention(&self) -> bool {
        self.is_doubtful && !self.holding.lock().has_worked()
    }

    /// What the key is worth.
    fn standing(&self, now: Timestamp) -> KeyStanding {
        match self.holding.lock().standing(now) {
            KeyStanding::Unanswered if self.is_doubtful => KeyStanding::Doubtful,
            standing => standing,
        }
    }
}

/// The slots of all keys.
pub(super) struct KeySlots {
    table: Mutex<KeyTable<Arc<KeySlot>>>,
    quota: Mutex<KeyQuota>,
    /// Counts the changes of tokens.
    edition: AtomicU64,
    started: Instant,
}

impl KeySlots {
    pub(super) fn new() -> Self {
        Self {
            table: Mutex::default(),
            quota: Mutex::default(),
            edition: AtomicU64::new(0),
            started: Instant::now(),
        }
    }

    /// The slot of a key. A new one is charged to the namespace, unless the configuration names its
    /// region.
    ///
    /// # Errors
    ///
    /// [`TokenFailure`] where the namespace brought too many new keys, or there are too many in all.
    pub(super) fn of(
        &self,
        key: &TokenKey,
        namespace: Option<&str>,
        config: &Config,
    ) -> Result<Arc<KeySlot>, TokenFailure> {
        let now = self.elapsed();
        let mut table = self.table.lock();
        if let Some(slot) = table.ask(key, now) {
            return Ok(slot.clone());
        }
        if let Some(namespace) = namespace
            && !config.names_region(&key.region)
        {
            let is_listed = is_listed(&key.region);
            self.quota.lock().charge(namespace, key, is_listed, now)?;
        }
        let is_doubtful = config.may_be_invention(&key.region);
        Ok(self.enter(&mut table, key, is_doubtful)?)
    }

    /// The slot of a key that another replica has brought.
    ///
    /// # Errors
    ///
    /// [`TooManyKeys`] where there are too many in all.
    pub(super) fn of_learned(&self, key: &TokenKey) -> Result<Arc<KeySlot>, TooManyKeys> {
        let mut table = self.table.lock();
        match table.peek(key) {
            Some(slot) => Ok(slot.clone()),
            None => self.enter(&mut table, key, false),
        }
    }

    /// The slot of a key that has one.
    pub(super) fn peek(&self, key: &TokenKey) -> Option<Arc<KeySlot>> {
        self.table.lock().peek(key).cloned()
    }

    /// The same, for a caller that needs the token.
    pub(super) fn ask(&self, key: &TokenKey) -> Option<Arc<KeySlot>> {
        self.table.lock().ask(key, self.elapsed()).cloned()
    }

    /// The tokens of all keys in use, however old.
    pub(super) fn tokens(&self) -> Vec<(TokenKey, Token)> {
        let (mut table, wall) = (self.table.lock(), clock::now());
        table.forget_idle(self.elapsed(), |slot| slot.standing(wall));
        let held = table.iter().filter_map(|(key, slot)| {
            let token = slot.holding.lock().token().cloned();
            Some((key.clone(), token?))
        });
        held.collect()
    }

    /// The number of keys.
    pub(super) fn len(&self) -> usize {
        self.table.lock().len()
    }

    /// A number that grows with each change of a token.
    pub(super) fn edition(&self) -> u64 {
        self.edition.load(Ordering::Acquire)
    }

    /// A token changed.
    pub(super) fn changed(&self) {
        self.edition.fetch_add(1, Ordering::AcqRel);
    }

    /// The time since the start, for all that a slot remembers.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn enter(
        &self,
        table: &mut KeyTable<Arc<KeySlot>>,
        key: &TokenKey,
        is_doubtful: bool,
    ) -> Result<Arc<KeySlot>, TooManyKeys> {
        let wall = clock::now();
        let slot = Arc::new(KeySlot {
            is_doubtful,
            ..KeySlot::default()
        });
        let standing = |slot: &Arc<KeySlot>| slot.standing(wall);
        table.enter(key, slot.clone(), self.elapsed(), standing)?;
        self.changed();
        Ok(slot)
    }
}
