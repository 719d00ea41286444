//! A look over the ledger: which keys are in use, and which namespaces hold an entry that is older
//! than the token that we hold.

use std::collections::HashMap;
use std::sync::Arc;

use ecr_pull_secrets_core::identity::{IdentityMark, TokenKey};
use ecr_pull_secrets_core::rules::Rules;
use ecr_pull_secrets_core::token::Token;
use ecr_pull_secrets_core::token::lifetime::Lifetime;
use jiff::Timestamp;

use super::schedule::Use;
use crate::pull_secret::ledger::Ledger;
use crate::token::keys::Keys;

/// What was found.
pub(in crate::leader) struct Survey {
    /// By key.
    pub(in crate::leader) uses: HashMap<Arc<TokenKey>, Use>,
    /// In no order.
    pub(in crate::leader) behind: Vec<Behind>,
}

/// A namespace that is to be written.
#[derive(Debug)]
pub(in crate::leader) struct Behind {
    pub(in crate::leader) namespace: Box<str>,
    /// Whose tokens are newer than what it holds.
    pub(in crate::leader) keys: Box<[Arc<TokenKey>]>,
    /// The first end of a token that is to be replaced.
    pub(in crate::leader) ends: Timestamp,
    /// It was tried before.
    pub(in crate::leader) is_retry: bool,
}

impl Behind {
    /// What pods could soon miss comes first, and what has failed already comes last: its tokens
    /// are the oldest of all, and it would keep everybody waiting.
    pub(in crate::leader) fn turn(&self) -> (bool, Timestamp) {
        (self.is_retry, self.ends)
    }
}

/// What nothing is known about.
const UNKNOWN: Lifetime = Lifetime {
    minted_at: Timestamp::MIN,
    expires_at: Timestamp::MIN,
};

/// Looks. `held` is what this process holds. What was minted before `since` for another identity
/// than the rules say is due; later, it is of a replica with other rules, and a rollout will tell
/// whose are newer.
pub(in crate::leader) fn survey(
    ledger: &Ledger,
    rules: &Rules,
    keys: &mut Keys,
    held: impl Fn(&TokenKey) -> Option<Token>,
    since: Timestamp,
    now: Timestamp,
) -> Survey {
    let mut uses: HashMap<Arc<TokenKey>, Use> = HashMap::new();
    let mut behind = Vec::new();
    let mut older: Vec<Arc<TokenKey>> = Vec::new();
    ledger.read().for_each(|_, namespace, owner, holds| {
        let mut ends = Timestamp::MAX;
        for (host, life) in holds {
            let Some((_, key)) = keys.of(rules, host, namespace) else {
                continue;
            };
            let tokens = uses.entry(key.clone()).or_insert_with(|| {
                let held = held(&key);
                let oldest = Lifetime {
                    minted_at: Timestamp::MAX,
                    expires_at: Timestamp::MAX,
                };
                let owner = IdentityMark::of(&key.identity.to_string());
                Use {
                    oldest,
                    held,
                    meanwhile: None,
                    owner,
                }
            });
            let next = match &tokens.held {
                Some(token) if token.expires_at > now && life.yields_to(token, now) => {
                    ends = ends.min(life.expires_at);
                    older.push(key);
                    Lifetime::from(token)
                }
                None if !life.is_plausible(now) => UNKNOWN,
                // The rules were changed, and the new identity has no token yet.
                None if life.minted_at < since
                    && owner.is_some_and(|owner| owner != tokens.owner) =>
                {
                    let end = tokens.meanwhile.unwrap_or(life.expires_at);
                    tokens.meanwhile = Some(end.min(life.expires_at));
                    UNKNOWN
                }
                Some(_) | None => life,
            };
            if next.expires_at < tokens.oldest.expires_at {
                tokens.oldest = next;
            }
        }
        if !older.is_empty() {
            older.sort_unstable();
            older.dedup();
            behind.push(Behind {
                namespace: namespace.into(),
                keys: older.drain(..).collect(),
                ends,
                is_retry: false,
            });
        }
    });
    Survey { uses, behind }
}

#[cfg(test)]
mod tests;
