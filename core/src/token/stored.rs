//! The token store's content: which token lies under which key, and what a write changes.
//!
//! One data key per [`TokenKey`], one JSON object as its value. Replicas of two versions use one
//! store while a new one rolls out, and people edit it: a value that this build does not understand
//! is passed over, never an error, and stays where it is. A write touches only what it sets, and
//! what has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Token, renewal};
use crate::identity::{AssumeRole, Identity, TokenKey};
use crate::image::{Endpoint, is_region};

/// The version of the values that this build writes and reads.
pub const FORMAT: u32 = 1;

/// At most so many tokens are kept; those that end first go.
pub const MAX_TOKENS: usize = 64;

/// Why a value is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Another version's, or nobody's.
    #[error("not a value of format {FORMAT}")]
    Format,
    /// Not a token that could work.
    #[error("not a usable token")]
    Token,
    /// A value that belongs under another key.
    #[error("the value belongs under another key")]
    Misplaced,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Value {
    format: u32,
    identity: Whose,
    region: String,
    endpoint: Which,
    minted_at: Timestamp,
    expires_at: Timestamp,
    token: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Whose {
    Ambient,
    AssumeRole(AssumeRole),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Which {
    Standard,
    Fips,
    DualStack,
    DualStackFips,
}

/// The data key: the region, for people, and a hash of all of the [`TokenKey`].
pub fn data_key(key: &TokenKey) -> String {
    let whole = (whose(&key.identity), &*key.region, which(key.endpoint));
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
    let value = Value {
        format: FORMAT,
        identity: whose(&key.identity),
        region: key.region.to_string(),
        endpoint: which(key.endpoint),
        minted_at: token.minted_at,
        expires_at: token.expires_at,
        token: token.expose_authorization().to_owned(),
    };
    // It has no map with keys that are not text, so it always has a JSON form.
    SecretString::from(serde_json::to_string(&value).unwrap_or_default())
}

/// Reads what lies under a data key.
///
/// # Errors
///
/// [`Unreadable`] says what it is instead.
pub fn decode(data_key: &str, value: &[u8]) -> Result<(TokenKey, Token), Unreadable> {
    let value: Value = serde_json::from_slice(value)
        .ok()
        .filter(|value: &Value| value.format == FORMAT)
        .ok_or(Unreadable::Format)?;
    if !is_region(&value.region) || value.minted_at >= value.expires_at {
        return Err(Unreadable::Token);
    }
    let key = TokenKey {
        identity: match value.identity {
            Whose::Ambient => Identity::Ambient,
            Whose::AssumeRole(role) => Identity::Role(Arc::new(role)),
        },
        region: value.region.into(),
        endpoint: match value.endpoint {
            Which::Standard => Endpoint::Standard,
            Which::Fips => Endpoint::Fips,
            Which::DualStack => Endpoint::DualStack,
            Which::DualStackFips => Endpoint::DualStackFips,
        },
    };
    if self::data_key(&key) != data_key {
        return Err(Unreadable::Misplaced);
    }
    let token = Token::new(value.token, value.minted_at, Some(value.expires_at));
    Ok((key, token.map_err(|_| Unreadable::Token)?))
}

/// What a write does to the data, and to nothing else in it.
#[derive(Debug, Default)]
pub struct Changes {
    /// Data keys with their new values.
    pub set: BTreeMap<String, SecretString>,
    /// Data keys that go.
    pub remove: Vec<String>,
}

impl Changes {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }
}

/// How to put tokens into a store that holds this data. A token goes in where
/// [`renewal::supersedes`] says so; with it, what has ended goes out, and what ends first where
/// there are more than [`MAX_TOKENS`]. Nothing goes out if nothing goes in: of two replicas, the
/// one with the wrong clock does not empty the store behind the other's back.
pub fn changes<'a>(
    data: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    tokens: impl IntoIterator<Item = (&'a TokenKey, &'a Token)>,
    now: Timestamp,
) -> Changes {
    let mut held: BTreeMap<String, (TokenKey, Token)> = data
        .into_iter()
        .filter_map(|(data_key, value)| Some((data_key.to_owned(), decode(data_key, value).ok()?)))
        .collect();
    let before: BTreeSet<String> = held.keys().cloned().collect();
    let mut set = BTreeMap::new();
    for (key, token) in tokens {
        let data_key = data_key(key);
        let wins = held
            .get(&data_key)
            .is_none_or(|(_, old)| renewal::supersedes(token, old.minted_at, old.expires_at, now));
        if wins && token.expires_at > now {
            set.insert(data_key.clone(), encode(key, token));
            held.insert(data_key, (key.clone(), token.clone()));
        }
    }
    let mut by_end: Vec<(bool, Timestamp, String)> = held
        .into_iter()
        .map(|(data_key, (_, token))| {
            let is_believable = renewal::is_believable(token.expires_at, now);
            (is_believable, token.expires_at, data_key)
        })
        .collect();
    by_end.sort();
    let surplus = by_end.len().saturating_sub(MAX_TOKENS);
    let mut remove = Vec::new();
    for (place, (_, expires_at, data_key)) in by_end.into_iter().enumerate() {
        if place < surplus || expires_at <= now {
            set.remove(&data_key);
            if before.contains(&data_key) {
                remove.push(data_key);
            }
        }
    }
    if set.is_empty() {
        return Changes::default();
    }
    Changes { set, remove }
}

fn whose(identity: &Identity) -> Whose {
    match identity {
        Identity::Ambient => Whose::Ambient,
        Identity::Role(role) => Whose::AssumeRole(AssumeRole::clone(role)),
    }
}

fn which(endpoint: Endpoint) -> Which {
    match endpoint {
        Endpoint::Standard => Which::Standard,
        Endpoint::Fips => Which::Fips,
        Endpoint::DualStack => Which::DualStack,
        Endpoint::DualStackFips => Which::DualStackFips,
    }
}

#[cfg(test)]
mod tests;
