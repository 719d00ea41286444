//! Which keys a replica holds, and which of them makes room for a new one.
//!
//! The configuration chooses identities, and pod authors choose regions. So a thousand roles fit, and
//! regions that one tenant invents take no slot from another: a key with a token that works is never
//! evicted. A new key takes the slot of one that has no such token, or is refused.

use std::collections::HashMap;
use std::time::Duration;

use crate::identity::{Identity, TokenKey};

/// The most keys of a replica. A token takes some 4 KB, so all of them take 8 MiB. A thousand roles
/// with one region each use half of the slots.
pub const MAX_KEYS: usize = 2048;
/// The most keys of one identity, so that no identity takes the slots of all. AWS has some 40 regions
/// with two endpoints each, so no honest identity comes near.
const MAX_KEYS_OF_IDENTITY: usize = MAX_KEYS / 4;
/// The slots that only the first key of an identity may take. Pod authors choose further regions, but
/// only the configuration chooses identities.
const RESERVED_KEYS: usize = MAX_KEYS / 4;
/// The time for which a key without a token that works stays after its last use: twice the longest
/// pause of the schedule, which asks for each key in use.
const IDLE: Duration = Duration::from_secs(10 * 60);
/// The time between two searches for such keys: each goes through all.
const IDLE_INTERVAL: Duration = Duration::from_secs(60);

/// What a key is worth, from the first to go to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyStanding {
    /// AWS never gave a token for it, and neither AWS's documents nor the configuration name its
    /// region: it may be an invention.
    Doubtful,
    /// AWS never gave a token for it.
    Unanswered,
    /// Its token has expired.
    Expired,
    /// Its token works.
    Working,
}

/// Why a new key gets no slot: every key that could make room has a token that works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooManyKeys {
    /// The limit of one identity.
    #[error("the replica holds {MAX_KEYS_OF_IDENTITY} tokens of this AWS identity")]
    OfIdentity,
    /// The limit of all identities, or that of keys which are not the first of theirs.
    #[error(
        "the replica holds {} tokens, and up to {MAX_KEYS} only for identities without one",
        MAX_KEYS - RESERVED_KEYS
    )]
    OfAll,
}

/// The keys of a replica, each with a value. All times are durations since one start.
#[derive(Debug)]
pub struct KeyTable<V> {
    rows: HashMap<TokenKey, KeyRow<V>>,
    of_identities: HashMap<Identity, usize>,
    /// The number of keys that ever entered.
    entered: u64,
    searched_at: Option<Duration>,
}

#[derive(Debug)]
struct KeyRow<V> {
    value: V,
    /// Its place in the order of entries.
    entered: u64,
    asked_at: Duration,
}

impl<V> Default for KeyTable<V> {
    fn default() -> Self {
        Self {
            rows: HashMap::new(),
            of_identities: HashMap::new(),
            entered: 0,
            searched_at: None,
        }
    }
}

impl<V> KeyTable<V> {
    /// The number of keys.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All keys, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&TokenKey, &V)> {
        self.rows.iter().map(|(key, row)| (key, &row.value))
    }

    /// The value of a key.
    pub fn peek(&self, key: &TokenKey) -> Option<&V> {
        self.rows.get(key).map(|row| &row.value)
    }

    /// The same, for a caller that needs the token.
    pub fn ask(&mut self, key: &TokenKey, now: Duration) -> Option<&V> {
        let row = self.rows.get_mut(key)?;
        row.asked_at = now;
        Some(&row.value)
    }

    /// Gives a new key a slot. `standing` says what a key is worth by its value.
    ///
    /// # Errors
    ///
    /// [`TooManyKeys`] when no key can make room.
    pub fn enter(
        &mut self,
        key: &TokenKey,
        value: V,
        now: Duration,
        standing: impl Fn(&V) -> KeyStanding,
    ) -> Result<(), TooManyKeys> {
        self.forget_idle(now, &standing);
        let others = self.of_identities.get(&key.identity).copied().unwrap_or(0);
        let limit = match others {
            0 => MAX_KEYS,
            _ => MAX_KEYS - RESERVED_KEYS,
        };
        if others >= MAX_KEYS_OF_IDENTITY {
            let is_of_identity = |other: &TokenKey| other.identity == key.identity;
            self.make_room(is_of_identity, &standing)
                .ok_or(TooManyKeys::OfIdentity)?;
        } else if self.rows.len() >= limit {
            self.make_room(|_| true, &standing)
                .ok_or(TooManyKeys::OfAll)?;
        }
        self.entered += 1;
        let row = KeyRow {
            value,
            entered: self.entered,
            asked_at: now,
        };
        if self.rows.insert(key.clone(), row).is_none() {
            *self.of_identities.entry(key.identity.clone()).or_default() += 1;
        }
        Ok(())
    }

    /// Removes keys that no caller has asked for in ten minutes and that have no token that works.
    pub fn forget_idle(&mut self, now: Duration, standing: impl Fn(&V) -> KeyStanding) {
        if self
            .searched_at
            .is_some_and(|at| now.saturating_sub(at) < IDLE_INTERVAL)
        {
            return;
        }
        self.searched_at = Some(now);
        let is_idle = |row: &KeyRow<V>| {
            now.saturating_sub(row.asked_at) >= IDLE && standing(&row.value) != KeyStanding::Working
        };
        let idle: Vec<TokenKey> = self
            .rows
            .iter()
            .filter(|(_, row)| is_idle(row))
            .map(|(key, _)| key.clone())
            .collect();
        for key in idle {
            self.remove(&key);
        }
    }

    /// Removes the first of these keys to go, if one may.
    fn make_room(
        &mut self,
        may_go: impl Fn(&TokenKey) -> bool,
        standing: &impl Fn(&V) -> KeyStanding,
    ) -> Option<()> {
        let candidates = self.rows.iter().filter(|(key, _)| may_go(key));
        let (_, first) = candidates
            .map(|(key, row)| ((standing(&row.value), row.entered), key))
            .filter(|((standing, _), _)| *standing != KeyStanding::Working)
            .min_by_key(|(turn, _)| *turn)?;
        let first = first.clone();
        self.remove(&first);
        Some(())
    }

    fn remove(&mut self, key: &TokenKey) {
        if self.rows.remove(key).is_none() {
            return;
        }
        if let Some(count) = self.of_identities.get_mut(&key.identity) {
            *count -= 1;
            if *count == 0 {
                self.of_identities.remove(&key.identity);
            }
        }
    }
}

#[cfg(test)]
mod tests;
