//! The Secrets of the token store, its *shards*: which of them holds the token of which key.
//!
//! A Secret takes 1 MiB, some 240 tokens. A small installation has the first Secret alone, as versions
//! before had. Once it holds 32 keys, each further key has a Secret of its own by
//! the hash in its data key, or the next one with room. A write sends its own Secret only.
//!
//! Where a token lies decides nothing: a reader takes the union, and of two tokens of one key the one
//! that expires later. So two replicas that place one key differently, or two versions during a
//! roll-out, lose nothing. A key that lies in a Secret is renewed there.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Token;
use super::lifetime::Lifetime;
use super::stored::{self, ShardRoom, data_key};
use crate::identity::TokenKey;

/// The names of the Secrets. RBAC and guard name the same.
pub const NAMES: [&str; 8] = [
    "ecr-pull-secrets-tokens",
    "ecr-pull-secrets-tokens-1",
    "ecr-pull-secrets-tokens-2",
    "ecr-pull-secrets-tokens-3",
    "ecr-pull-secrets-tokens-4",
    "ecr-pull-secrets-tokens-5",
    "ecr-pull-secrets-tokens-6",
    "ecr-pull-secrets-tokens-7",
];
/// The annotation of the first Secret that says how many Secrets the store has, once there is more
/// than one. Replicas watch the others only then.
pub const ANNOTATION: &str = "ecr-pull-secrets.dev/shards";
/// The most keys that go to the first Secret: half of what version 0.1 leaves in it. Its replicas
/// remove the tokens beyond 64 that expire first, and add keys of their own during a roll-out.
const MAX_KEYS_OF_FIRST: usize = 32;
/// The most bytes of a Secret to which a new key goes. The API server takes 1,048,576. With tokens of
/// 4 KB and 300 bytes around each, seven Secrets take 7 × 921,600 ÷ 4,396 = 1,467 keys. A thousand
/// take 143 × 4,396 = 629 KB of each, or 180 × 4,396 = 791 KB where the hashes are uneven.
const MAX_SHARD_BYTES: usize = 900 * 1024;

/// Secrets that are not to be asked for a new key, by index.
pub type FullShards = [bool; NAMES.len()];

/// The room that a Secret has for new keys.
pub fn room(shard: usize) -> ShardRoom {
    ShardRoom {
        max_keys: if shard == 0 {
            MAX_KEYS_OF_FIRST
        } else {
            usize::MAX
        },
        max_bytes: MAX_SHARD_BYTES,
    }
}

/// What one Secret holds.
#[derive(Clone, Debug, Default)]
pub struct ShardContent {
    tokens: BTreeMap<TokenKey, Lifetime>,
    /// Bytes of all its data.
    bytes: usize,
}

impl ShardContent {
    /// Adds a token.
    pub fn hold(&mut self, key: &TokenKey, token: &Token) {
        self.tokens.insert(key.clone(), token.into());
    }

    /// Adds bytes of any data.
    pub fn weigh(&mut self, bytes: usize) {
        self.bytes += bytes;
    }
}

/// What all Secrets hold, as far as this replica has seen.
#[derive(Debug, Default)]
pub struct ShardMap([ShardContent; NAMES.len()]);

impl ShardMap {
    /// Takes a new version of a Secret.
    pub fn replace(&mut self, shard: usize, content: ShardContent) {
        if let Some(known) = self.0.get_mut(shard) {
            *known = content;
        }
    }

    /// Whether there are more keys than one write at a time should each pay for.
    pub fn is_large(&self) -> bool {
        self.0.iter().skip(1).any(|shard| !shard.tokens.is_empty())
    }

    /// The tokens that a replica holds and no Secret has: see [`stored::lacking`].
    pub fn lacking(
        &self,
        held: impl IntoIterator<Item = (TokenKey, Token)>,
        now: Timestamp,
    ) -> BTreeMap<TokenKey, Token> {
        let mut lifetimes: BTreeMap<&TokenKey, Lifetime> = BTreeMap::new();
        for (key, lifetime) in self.0.iter().flat_map(|shard| &shard.tokens) {
            let best = lifetimes.entry(key).or_insert(*lifetime);
            if lifetime.supersedes(*best, now) {
                *best = *lifetime;
            }
        }
        stored::lacking(&lifetimes, held, now)
    }

    /// The Secret for a token of a key; none when all are full. `full` are those that have refused a
    /// new key meanwhile.
    pub fn place(&self, key: &TokenKey, full: FullShards) -> Option<usize> {
        let is_open = |shard: &usize| !full.get(*shard).copied().unwrap_or(true);
        let holding = self.0.iter().enumerate().filter_map(|(shard, content)| {
            let lifetime = content.tokens.get(key)?;
            Some((lifetime.expires_at, shard))
        });
        let holding = holding.filter(|(_, shard)| is_open(shard)).max();
        if let Some((_, shard)) = holding {
            return Some(shard);
        }
        let has_room = |shard: &usize| {
            let room = room(*shard);
            self.0.get(*shard).is_some_and(|content| {
                content.tokens.len() < room.max_keys && content.bytes < room.max_bytes
            })
        };
        let others = NAMES.len() - 1;
        let home = home(key);
        let ring = (0..others).map(|step| 1 + (home - 1 + step) % others);
        std::iter::once(0)
            .chain(ring)
            .find(|shard| is_open(shard) && has_room(shard))
    }
}

/// The Secret to which a key belongs that is not in the first one: by the hash in its data key.
fn home(key: &TokenKey) -> usize {
    let data_key = data_key(key);
    let hash = data_key.rsplit('.').next().unwrap_or_default();
    let digits = hash.get(..8).unwrap_or_default();
    let number = usize::from_str_radix(digits, 16).unwrap_or(0);
    1 + number % (NAMES.len() - 1)
}

#[cfg(test)]
mod tests;
