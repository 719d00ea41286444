//! One pass over all pull Secrets of ours: which keys are in use, and which Secrets hold an entry
//! that is older than the token that this process holds. Two replicas may mint at the same moment:
//! such tokens are equally good, and no Secret is written because of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::identity::{IdentityMark, TokenKey};
use crate::pull_secret::incumbent::{Incumbent, Successor};
use crate::target::Target;
use crate::token::Token;
use crate::token::lifetime::Lifetime;
use crate::workload::claim::SecretClaim;

/// What is known of the tokens of a key in use.
#[derive(Clone, Debug)]
pub struct KeyUse {
    /// The earliest minting and the earliest expiry, as they will be once every Secret holds what this
    /// process holds. A tenant can write both times into its Secret, but only for its own entry: so
    /// it postpones the renewal of no other.
    pub oldest: Lifetime,
    /// The token that this process holds.
    pub held: Option<Token>,
    /// The earliest expiry of tokens of another identity, while this key has no token.
    pub meanwhile: Option<Timestamp>,
    /// The identity of the key.
    pub identity: IdentityMark,
    /// Whether the configuration wants it in some namespace, and not pods alone.
    pub is_configured: bool,
}

/// An entry of a Secret that is to be renewed.
#[derive(Clone, Debug)]
pub struct RenewedEntry {
    /// The key of its next token.
    pub key: Arc<TokenKey>,
    /// Its token.
    pub incumbent: Incumbent,
    /// What wants it.
    pub claim: SecretClaim,
}

/// A Secret that is to be written.
#[derive(Debug)]
pub struct StaleSecret {
    /// Which one.
    pub target: Target,
    /// The keys whose held tokens are newer than the Secret's: sorted, each once.
    pub keys: Box<[Arc<TokenKey>]>,
    /// The earliest expiry of the tokens to replace.
    pub expires_at: Timestamp,
    /// Whether it was tried before.
    pub is_retry: bool,
}

impl StaleSecret {
    /// The order of writes: the earliest expiry first, and after all others what failed before.
    /// A Secret that keeps failing has the oldest tokens of all, and would delay the others.
    pub fn turn(&self) -> (bool, Timestamp) {
        (self.is_retry, self.expires_at)
    }
}

/// The lifetime of a token of which nothing is known: it is due.
const UNKNOWN: Lifetime = Lifetime {
    minted_at: Timestamp::MIN,
    expires_at: Timestamp::MIN,
};
/// The start for a minimum.
const LATEST: Lifetime = Lifetime {
    minted_at: Timestamp::MAX,
    expires_at: Timestamp::MAX,
};

/// What a pass found, in no order.
#[derive(Debug, Default)]
pub struct SurveyFindings {
    /// The keys in use.
    pub uses: HashMap<Arc<TokenKey>, KeyUse>,
    /// The Secrets to write.
    pub stale: Vec<StaleSecret>,
}

/// A pass under way.
#[derive(Debug)]
pub struct Survey<H> {
    found: SurveyFindings,
    held: H,
    since: Timestamp,
    now: Timestamp,
    /// Empty between two visits.
    newer: Vec<Arc<TokenKey>>,
}

impl<H: Fn(&TokenKey) -> Option<Token>> Survey<H> {
    /// Begins a pass. `held` gives the tokens of this process.
    ///
    /// An entry of another identity than the rules give is due if it was minted before `since`. A
    /// later one comes from a replica with other rules, and the roll-out decides whose are newer.
    pub fn new(held: H, since: Timestamp, now: Timestamp) -> Self {
        Self {
            found: SurveyFindings::default(),
            held,
            since,
            now,
            newer: Vec::new(),
        }
    }

    /// Takes in one Secret of ours: those of its entries that are to be renewed.
    pub fn visit(&mut self, target: &Target, entries: impl Iterator<Item = RenewedEntry>) {
        let now = self.now;
        let mut expires_at = Timestamp::MAX;
        for RenewedEntry {
            key,
            incumbent,
            claim,
        } in entries
        {
            let lifetime = incumbent.lifetime;
            let held = &self.held;
            let tokens = self.found.uses_of(&key, || held(&key));
            tokens.is_configured |= claim == SecretClaim::Configuration;
            let next = match &tokens.held {
                Some(token)
                    if token.expires_at > now
                        && incumbent.is_below(Successor {
                            identity: tokens.identity,
                            token,
                            since: self.since,
                            now,
                        }) =>
                {
                    if incumbent.identity != tokens.identity || !is_as_good(lifetime, token, now) {
                        expires_at = expires_at.min(lifetime.expires_at);
                        self.newer.push(key);
                    }
                    // Whatever the entry states: a tenant can write it, and the key is not
                    // its alone.
                    Lifetime::from(token)
                }
                Some(token) if lifetime.expires_at == token.expires_at => Lifetime::from(token),
                None if !lifetime.is_plausible(now) => UNKNOWN,
                // The rules have changed, and the new identity has no token yet.
                None if incumbent.is_outdated(tokens.identity, self.since) => {
                    let earliest = tokens.meanwhile.unwrap_or(lifetime.expires_at);
                    tokens.meanwhile = Some(earliest.min(lifetime.expires_at));
                    UNKNOWN
                }
                Some(_) | None => lifetime,
            };
            tokens.take_in(next);
        }
        if self.newer.is_empty() {
            return;
        }
        self.newer.sort_unstable();
        self.newer.dedup();
        self.found.stale.push(StaleSecret {
            target: target.clone(),
            keys: self.newer.drain(..).collect(),
            expires_at,
            is_retry: false,
        });
    }

    /// Takes in an entry that is left to expire. Its key stays in use while this process holds a token
    /// of it that works: so the next pod of the namespace finds a fresh token. The entry brings no key
    /// of its own, because a tenant can write any entry into a Secret.
    pub fn keep(&mut self, key: &Arc<TokenKey>) {
        let held = match self.found.uses.get(key) {
            Some(tokens) => tokens.held.clone(),
            None => (self.held)(key),
        };
        let Some(token) = held.filter(|token| token.expires_at > self.now) else {
            return;
        };
        let lifetime = Lifetime::from(&token);
        let tokens = self.found.uses_of(key, || Some(token));
        tokens.take_in(lifetime);
    }

    /// Ends the pass.
    pub fn finish(self) -> SurveyFindings {
        self.found
    }
}

impl SurveyFindings {
    /// What is known of a key in use. `held` gives the token of one that was not met before.
    fn uses_of(
        &mut self,
        key: &Arc<TokenKey>,
        held: impl FnOnce() -> Option<Token>,
    ) -> &mut KeyUse {
        self.uses.entry(key.clone()).or_insert_with(|| KeyUse {
            oldest: LATEST,
            held: held(),
            meanwhile: None,
            identity: key.identity.mark(),
            is_configured: false,
        })
    }
}

impl KeyUse {
    fn take_in(&mut self, next: Lifetime) {
        let Lifetime {
            minted_at,
            expires_at,
        } = &mut self.oldest;
        *minted_at = next.minted_at.min(*minted_at);
        *expires_at = next.expires_at.min(*expires_at);
    }
}

/// The longest time between two mintings of the same moment.
const MOMENT: Duration = Duration::from_secs(30);

/// Whether an entry's token was minted and expires in the same moment as a held one of its identity:
/// within [`MOMENT`], and a hundredth of the latter's lifetime. A token that replaces one that ECR
/// refused is minted later. Near the expiry each moment counts, and no two are the same.
fn is_as_good(lifetime: Lifetime, held: &Token, now: Timestamp) -> bool {
    let held = Lifetime::from(held);
    let moment = MOMENT.min(held.length() / 100);
    let is_near =
        |one: Timestamp, other: Timestamp| one.duration_since(other).unsigned_abs() <= moment;
    lifetime.is_usable(now)
        && lifetime.serves(now)
        && is_near(lifetime.minted_at, held.minted_at)
        && is_near(lifetime.expires_at, held.expires_at)
}

#[cfg(test)]
mod tests;
