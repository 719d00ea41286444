//! The content of the token store: which token lies under which data key, and what a write changes.
//!
//! The store is one Secret or some: see [`super::shards`]. One data key per [`TokenKey`], one JSON
//! object as its value. Replicas of two versions share one
//! store during a roll-out, and people edit it. A reader skips a value that this build does not
//! understand, and a write leaves it in place. A write changes only the values that it sets and those
//! that have expired.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Token;
use super::lifetime::Lifetime;
use crate::identity::{AssumeRole, Identity, NamedCredentials, TokenKey};
use crate::image::{Endpoint, is_region};

/// The version of the values that this build writes and reads.
pub const FORMAT: u32 = 1;

/// Why a reader skips a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A value of another version, or none of ours.
    #[error("not a value of format {FORMAT}")]
    Format,
    /// A token that cannot work.
    #[error("not a usable token")]
    Token,
    /// A value that belongs under another key.
    #[error("the value belongs under another key")]
    Misplaced,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredToken {
    format: u32,
    identity: StoredIdentity,
    region: String,
    endpoint: StoredEndpoint,
    minted_at: Timestamp,
    expires_at: Timestamp,
    token: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum StoredIdentity {
    Ambient,
    AssumeRole(AssumeRole),
    Credentials(NamedCredentials),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum StoredEndpoint {
    Standard,
    Fips,
    DualStack,
    DualStackFips,
}

/// The data key: the region, for readers, and a hash of the whole [`TokenKey`].
pub fn data_key(key: &TokenKey) -> String {
    let whole = (
        stored_identity(&key.identity),
        &*key.region,
        stored_endpoint(key.endpoint),
    );
    let text = serde_json::to_string(&whole).unwrap_or_default();
    let hash: String = Sha256::digest(text.as_bytes())
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{}.{hash}", key.region)
}

/// The value for a token.
pub fn encode(key: &TokenKey, token: &Token) -> SecretString {
    let value = StoredToken {
        format: FORMAT,
        identity: stored_identity(&key.identity),
        region: key.region.to_string(),
        endpoint: stored_endpoint(key.endpoint),
        minted_at: token.minted_at,
        expires_at: token.expires_at,
        token: token.expose_authorization().to_owned(),
    };
    // All its keys are text, so it always has a JSON form.
    SecretString::from(serde_json::to_string(&value).unwrap_or_default())
}

/// Reads the value of a data key.
///
/// # Errors
///
/// [`Unreadable`] where it holds no usable token of this key.
pub fn decode(data_key: &str, value: &[u8]) -> Result<(TokenKey, Token), Unreadable> {
    let value: StoredToken = serde_json::from_slice(value)
        .ok()
        .filter(|value: &StoredToken| value.format == FORMAT)
        .ok_or(Unreadable::Format)?;
    if !is_region(&value.region) || value.minted_at >= value.expires_at {
        return Err(Unreadable::Token);
    }
    let key = TokenKey {
        identity: match value.identity {
            StoredIdentity::Ambient => Identity::Ambient,
            StoredIdentity::AssumeRole(role) => Identity::Role(Arc::new(role)),
            StoredIdentity::Credentials(named) => Identity::Credentials(Arc::new(named)),
        },
        region: value.region.into(),
        endpoint: match value.endpoint {
            StoredEndpoint::Standard => Endpoint::Standard,
            StoredEndpoint::Fips => Endpoint::Fips,
            StoredEndpoint::DualStack => Endpoint::DualStack,
            StoredEndpoint::DualStackFips => Endpoint::DualStackFips,
        },
    };
    if self::data_key(&key) != data_key {
        return Err(Unreadable::Misplaced);
    }
    let token = Token::new(value.token, value.minted_at, Some(value.expires_at));
    Ok((key, token.map_err(|_| Unreadable::Token)?))
}

/// What a write changes; all other data stays.
#[derive(Debug, Default)]
pub struct StoreChanges {
    /// Data keys with their new values.
    pub set: BTreeMap<String, SecretString>,
    /// Data keys to remove.
    pub remove: Vec<String>,
}

impl StoreChanges {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }
}

/// The room for tokens of keys that a Secret does not hold yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardRoom {
    /// The most keys with a token that works.
    pub max_keys: usize,
    /// The most bytes of all data.
    pub max_bytes: usize,
}

/// How to put tokens into a Secret that holds this data. A token goes in where it supersedes the
/// stored one, or where a new key has room; the keys without room are returned. With a token, expired
/// ones go out, and those with an impossible expiry where room is short. A token that works is never
/// evicted. Without a token that goes in, none goes out: a replica with a wrong clock does not empty
/// the store that others fill.
pub fn changes<'a>(
    data: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    tokens: impl IntoIterator<Item = (&'a TokenKey, &'a Token)>,
    room: ShardRoom,
    now: Timestamp,
) -> (StoreChanges, Vec<TokenKey>) {
    let mut held = BTreeMap::new();
    let mut bytes = 0;
    for (data_key, value) in data {
        bytes += data_key.len() + value.len();
        if let Ok((_, token)) = decode(data_key, value) {
            let size = data_key.len() + value.len();
            held.insert(data_key.to_owned(), (Lifetime::from(&token), size));
        }
    }
    let mut remove: Vec<String> = Vec::new();
    let mut make_room = |held: &mut BTreeMap<String, (Lifetime, usize)>,
                         bytes: &mut usize,
                         goes: fn(Lifetime, Timestamp) -> bool| {
        held.retain(|data_key, (lifetime, size)| {
            let goes = goes(*lifetime, now);
            if goes {
                *bytes -= *size;
                remove.push(data_key.clone());
            }
            !goes
        });
    };
    make_room(&mut held, &mut bytes, |lifetime, now| {
        lifetime.expires_at <= now
    });
    let (mut set, mut refused) = (BTreeMap::new(), Vec::new());
    for (key, token) in tokens {
        let (data_key, lifetime) = (data_key(key), Lifetime::from(token));
        if token.expires_at <= now {
            continue;
        }
        let old = held.get(&data_key).copied();
        if old.is_some_and(|(old, _)| !lifetime.supersedes(old, now)) {
            continue;
        }
        let value = encode(key, token);
        let size = data_key.len() + value.expose_secret().len();
        let old_size = old.map_or(0, |(_, size)| size);
        let fits = |held: &BTreeMap<String, _>, bytes: usize| {
            old.is_some() || held.len() < room.max_keys && bytes + size <= room.max_bytes
        };
        if !fits(&held, bytes) {
            make_room(&mut held, &mut bytes, |lifetime, now| {
                !lifetime.is_plausible(now)
            });
        }
        if !fits(&held, bytes) {
            refused.push(key.clone());
            continue;
        }
        bytes = bytes - old_size.min(bytes) + size;
        held.insert(data_key.clone(), (lifetime, size));
        set.insert(data_key, value);
    }
    if set.is_empty() {
        return (StoreChanges::default(), refused);
    }
    remove.retain(|data_key| !set.contains_key(data_key));
    (StoreChanges { set, remove }, refused)
}

/// The tokens that a replica holds and the store lacks, because another client deleted or edited it.
/// Where the store has a token of the key, only a later expiry counts: otherwise two replicas with
/// different tokens would write by turns.
pub fn lacking(
    stored: &BTreeMap<&TokenKey, Lifetime>,
    held: impl IntoIterator<Item = (TokenKey, Token)>,
    now: Timestamp,
) -> BTreeMap<TokenKey, Token> {
    let is_lacking = |(key, token): &(TokenKey, Token)| {
        let is_better = stored.get(key).is_none_or(|lifetime| {
            !lifetime.is_plausible(now) || token.expires_at > lifetime.expires_at
        });
        is_better && Lifetime::from(token).is_usable(now)
    };
    held.into_iter().filter(is_lacking).collect()
}

fn stored_identity(identity: &Identity) -> StoredIdentity {
    match identity {
        Identity::Ambient => StoredIdentity::Ambient,
        Identity::Role(role) => StoredIdentity::AssumeRole(AssumeRole::clone(role)),
        Identity::Credentials(named) => StoredIdentity::Credentials(named.as_ref().clone()),
    }
}

fn stored_endpoint(endpoint: Endpoint) -> StoredEndpoint {
    match endpoint {
        Endpoint::Standard => StoredEndpoint::Standard,
        Endpoint::Fips => StoredEndpoint::Fips,
        Endpoint::DualStack => StoredEndpoint::DualStack,
        Endpoint::DualStackFips => StoredEndpoint::DualStackFips,
    }
}

#[cfg(test)]
mod tests;
