//! When the token of each key is renewed, and when again after a failure.
//!
//! A key is due when the oldest token is that the namespaces have, or would have once they hold
//! what this process holds. So a token that another replica minted a moment ago, and that has not
//! arrived here yet, is not minted twice.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::identity::{IdentityMark, TokenKey};
use ecr_pull_secrets_core::token::Token;
use ecr_pull_secrets_core::token::lifetime::Lifetime;
use ecr_pull_secrets_core::token::renewal::{self, Stage};
use jiff::Timestamp;
use tokio::time::Instant;

/// What is known of the tokens of a key that is in use.
#[derive(Clone, Debug)]
pub(in crate::leader) struct Use {
    /// The life of the oldest one after a rotation of what is held.
    pub(in crate::leader) oldest: Lifetime,
    /// What this process holds.
    pub(in crate::leader) held: Option<Token>,
    /// The end of what the namespaces have of another identity, while this one has nothing.
    pub(in crate::leader) meanwhile: Option<Timestamp>,
    /// Of the key's identity.
    pub(in crate::leader) owner: IdentityMark,
}

/// See above.
#[derive(Debug)]
pub(in crate::leader) struct Schedule {
    max_age: Duration,
    keys: HashMap<Arc<TokenKey>, State>,
}

#[derive(Debug)]
struct State {
    tokens: Use,
    failures: u32,
    not_before: Instant,
    is_running: bool,
}

impl Schedule {
    /// Knows of no key yet.
    pub(in crate::leader) fn new(max_age: Duration) -> Self {
        Self {
            max_age,
            keys: HashMap::new(),
        }
    }

    /// These keys are in use, and no others.
    pub(in crate::leader) fn update(
        &mut self,
        mut uses: HashMap<Arc<TokenKey>, Use>,
        now: Instant,
    ) {
        self.keys.retain(|key, state| match uses.remove(key) {
            Some(tokens) => {
                state.tokens = tokens;
                true
            }
            None => state.is_running,
        });
        let new = uses.into_iter().map(|(key, tokens)| {
            let state = State {
                tokens,
                failures: 0,
                not_before: now,
                is_running: false,
            };
            (key, state)
        });
        self.keys.extend(new);
    }

    /// Whether another token is held by now than at the last update.
    pub(in crate::leader) fn is_outdated(&self, held: impl Fn(&TokenKey) -> Option<Token>) -> bool {
        self.keys.iter().any(|(key, state)| {
            let life = |token: &Token| Lifetime::from(token);
            held(key).as_ref().map(life) != state.tokens.held.as_ref().map(life)
        })
    }

    /// The keys to renew now; each is not named again before it was [refreshed](Self::refreshed).
    pub(in crate::leader) fn start_due(
        &mut self,
        wall: Timestamp,
        now: Instant,
    ) -> Vec<Arc<TokenKey>> {
        let max_age = self.max_age;
        let due = self.keys.iter_mut().filter(|(_, state)| {
            !state.is_running && now >= state.not_before && state.due_in(max_age, wall).is_zero()
        });
        due.map(|(key, state)| {
            state.is_running = true;
            key.clone()
        })
        .collect()
    }

    /// How long nothing is due, if no clock is set meanwhile.
    pub(in crate::leader) fn idle(&self, wall: Timestamp, now: Instant) -> Option<Duration> {
        let resting = self.keys.values().filter(|state| !state.is_running);
        resting
            .map(|state| {
                let pause = state.not_before.saturating_duration_since(now);
                pause.max(state.due_in(self.max_age, wall))
            })
            .min()
    }

    /// A renewal ended: with this token, or with a failure.
    pub(in crate::leader) fn refreshed(
        &mut self,
        key: &TokenKey,
        token: Option<&Token>,
        wall: Timestamp,
        now: Instant,
    ) {
        let Some(state) = self.keys.get_mut(key) else {
            return;
        };
        state.is_running = false;
        // One that is due as it comes is no reason to ask in a loop.
        let is_fresh =
            |token: &&Token| renewal::stage((*token).into(), self.max_age, wall) == Stage::Fresh;
        if token.is_some_and(|token| is_fresh(&token)) {
            state.failures = 0;
            return;
        }
        state.failures = state.failures.saturating_add(1);
        let token = token.or(state.tokens.held.as_ref());
        let end = token
            .map(|token| token.expires_at)
            .or(state.tokens.meanwhile);
        state.not_before = now + renewal::retry_in(end, state.failures, wall, jitter());
    }
}

impl State {
    fn due_in(&self, max_age: Duration, wall: Timestamp) -> Duration {
        let stage = |life: Lifetime| renewal::stage(life, max_age, wall);
        // While ours is fresh, there is no better one to be had.
        let held = self.tokens.held.as_ref().map(Lifetime::from);
        let life = held
            .filter(|life| stage(*life) == Stage::Fresh)
            .unwrap_or(self.tokens.oldest);
        match stage(life) {
            Stage::Fresh => {
                let due_at = renewal::due_at(life, max_age);
                due_at.duration_since(wall).unsigned_abs()
            }
            Stage::Due | Stage::Expired => Duration::ZERO,
        }
    }
}

/// Between 0 and 1, different each time.
pub(in crate::leader) fn jitter() -> f64 {
    let random = RandomState::new().hash_one(()) % 1024;
    f64::from(u16::try_from(random).unwrap_or_default()) / 1024.0
}

#[cfg(test)]
mod tests;
