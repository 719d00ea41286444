//! The slots of keys: what a replica keeps for each key, and which keys have one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ecr_pull_secrets_core::config::{Config, RegionEvidence};
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
    /// Whether nothing said that the region exists when a caller last asked for the key: a new
    /// configuration may name it.
    is_doubtful: AtomicBool,
    pub(super) holding: Mutex<Holding<MintFailure>>,
    /// Held during a call of AWS: one at a time.
    pub(super) minting: tokio::sync::Mutex<()>,
}

impl KeySlot {
    /// Whether the region may be an invention, as far as AWS has answered.
    pub(super) fn may_be_invention(&self) -> bool {
        self.is_doubtful() && !self.holding.lock().has_worked()
    }

    fn is_doubtful(&self) -> bool {
        self.is_doubtful.load(Ordering::Relaxed)
    }

    /// Takes what says now that the region exists.
    fn judge(&self, evidence: RegionEvidence) {
        let is_doubtful = evidence == RegionEvidence::Nothing;
        self.is_doubtful.store(is_doubtful, Ordering::Relaxed);
    }

    /// What the key is worth.
    fn standing(&self, now: Timestamp) -> KeyStanding {
        match self.holding.lock().standing(now) {
            KeyStanding::Unanswered if self.is_doubtful() => KeyStanding::Doubtful,
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
        let (now, evidence) = (self.elapsed(), config.evidence(&key.region));
        let mut table = self.table.lock();
        if let Some(slot) = table.ask(key, now) {
            slot.judge(evidence);
            return Ok(slot.clone());
        }
        if let Some(namespace) = namespace
            && evidence != RegionEvidence::Configuration
        {
            let is_listed = evidence == RegionEvidence::Documents;
            self.quota.lock().charge(namespace, key, is_listed, now)?;
        }
        let slot = self.enter(&mut table, key)?;
        slot.judge(evidence);
        Ok(slot)
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
            None => self.enter(&mut table, key),
        }
    }

    /// The slot of a key that has one.
    pub(super) fn peek(&self, key: &TokenKey) -> Option<Arc<KeySlot>> {
        self.table.lock().peek(key).cloned()
    }

    /// The same, for a caller that needs the token.
    pub(super) fn ask(&self, key: &TokenKey, config: &Config) -> Option<Arc<KeySlot>> {
        let slot = self.table.lock().ask(key, self.elapsed()).cloned()?;
        slot.judge(config.evidence(&key.region));
        Some(slot)
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
    ) -> Result<Arc<KeySlot>, TooManyKeys> {
        let wall = clock::now();
        let slot = Arc::new(KeySlot::default());
        let standing = |slot: &Arc<KeySlot>| slot.standing(wall);
        table.enter(key, slot.clone(), self.elapsed(), standing)?;
        self.changed();
        Ok(slot)
    }
}

#[cfg(test)]
mod tests {
    use ecr_pull_secrets_core::identity::Identity;
    use ecr_pull_secrets_core::image::Endpoint;

    use super::*;

    #[test]
    fn region_that_configuration_names_is_not_doubtful() {
        let key = TokenKey {
            identity: Identity::Ambient,
            region: "xx-land-1".into(),
            endpoint: Endpoint::Standard,
        };
        let config = "apiVersion: ecr-pull-secrets.dev/v1\nkind: Config\n\
                      rules: [{ regions: [xx-land-1], ambient: {} }]\n";
        let named = Config::parse(config).unwrap();
        let slots = KeySlots::new();
        let slot = slots.of(&key, Some("team"), &Config::default()).unwrap();
        assert!(slot.may_be_invention());
        assert_eq!(slot.standing(clock::now()), KeyStanding::Doubtful);
        for _ in 0..2 {
            slots.of(&key, Some("team"), &named).unwrap();
            assert!(!slot.may_be_invention());
            assert_eq!(slot.standing(clock::now()), KeyStanding::Unanswered);
            // The next configuration may name it no more.
            slots.ask(&key, &Config::default()).unwrap();
            assert!(slot.may_be_invention());
        }
    }
}
