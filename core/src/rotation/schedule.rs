//! When the token of each key is renewed, and when it is tried again after a failure.
//!
//! A key is due when its oldest token is: the oldest that Secrets hold, or will hold once they have
//! what this process holds. So a token that another replica minted a moment ago, and that has not
//! arrived here yet, is not minted twice. What a Secret claims can make a key due early, and once: from
//! then on, this process holds its token.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::survey::KeyUse;
use crate::identity::TokenKey;
use crate::token::Token;
use crate::token::lifetime::Lifetime;
use crate::token::renewal::{self, Stage};
use crate::token::spread::RenewalPhase;

/// A point in time by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The wall clock, for ages of tokens. It may be set at any time.
    pub wall: Timestamp,
    /// The monotonic clock, for pauses: time since some start.
    pub elapsed: Duration,
}

/// The keys in use, and when each is renewed.
#[derive(Debug, Default)]
pub struct RenewalSchedule(HashMap<Arc<TokenKey>, KeyRenewal>);

#[derive(Debug)]
struct KeyRenewal {
    tokens: KeyUse,
    phase: RenewalPhase,
    failures: u32,
    not_before: Duration,
    is_running: bool,
}

impl RenewalSchedule {
    /// Replaces the keys in use.
    pub fn update(&mut self, mut uses: HashMap<Arc<TokenKey>, KeyUse>, at: Moment) {
        self.0.retain(|key, renewal| match uses.remove(key) {
            Some(tokens) => {
                renewal.tokens = tokens;
                true
            }
            None => renewal.is_running,
        });
        let new = uses.into_iter().map(|(key, tokens)| {
            let renewal = KeyRenewal {
                tokens,
                phase: RenewalPhase::of(&key),
                failures: 0,
                not_before: at.elapsed,
                is_running: false,
            };
            (key, renewal)
        });
        self.0.extend(new);
    }

    /// The keys to renew now, in their order. Each is returned once, until its renewal
    /// [ended](Self::ended).
    pub fn start_due(&mut self, max_age: Duration, at: Moment) -> Vec<Arc<TokenKey>> {
        let due = self.0.iter_mut().filter(|(_, renewal)| {
            !renewal.is_running
                && at.elapsed >= renewal.not_before
                && renewal.due_in(max_age, at.wall).is_zero()
        });
        let mut due: Vec<_> = due
            .map(|(key, renewal)| {
                renewal.is_running = true;
                (renewal.turn(), key.clone())
            })
            .collect();
        due.sort_unstable();
        due.into_iter().map(|(_, key)| key).collect()
    }

    /// The time until a key is due, if no clock is set meanwhile; `None` without a key that waits.
    pub fn idle(&self, max_age: Duration, at: Moment) -> Option<Duration> {
        let waiting = self.0.values().filter(|renewal| !renewal.is_running);
        waiting
            .map(|renewal| {
                let pause = renewal.not_before.saturating_sub(at.elapsed);
                pause.max(renewal.due_in(max_age, at.wall))
            })
            .min()
    }

    /// A renewal ended: with this token, or with a failure. `jitter` lies between 0 and 1.
    pub fn ended(
        &mut self,
        key: &TokenKey,
        token: Option<&Token>,
        max_age: Duration,
        at: Moment,
        jitter: f64,
    ) {
        let Some(renewal) = self.0.get_mut(key) else {
            return;
        };
        renewal.is_running = false;
        // A token that arrives due counts as a failure, or AWS would be asked in a loop.
        let phase = renewal.phase;
        let is_fresh = |token: &Token| {
            renewal::stage(Lifetime::from(token), max_age, phase, at.wall) == Stage::Fresh
        };
        if token.is_some_and(is_fresh) {
            renewal.failures = 0;
            return;
        }
        renewal.failures = renewal.failures.saturating_add(1);
        let KeyUse {
            held,
            meanwhile,
            is_configured,
            ..
        } = &renewal.tokens;
        let longest = match token.or(held.as_ref()) {
            Some(token) => renewal::longest_retry(token.expires_at, at.wall),
            None => renewal::longest_first_retry(*is_configured, *meanwhile, at.wall),
        };
        let pause = renewal::retry_in(longest, renewal.failures, jitter);
        renewal.not_before = at.elapsed + pause;
    }
}

impl KeyRenewal {
    /// The order of renewals: the earliest expiry first, and after all others the keys that only pods
    /// want and that never had a token. Their regions may be inventions.
    fn turn(&self) -> (bool, Timestamp) {
        let is_unproven = self.tokens.held.is_none() && !self.tokens.is_configured;
        (is_unproven, self.tokens.oldest.expires_at)
    }

    fn due_in(&self, max_age: Duration, wall: Timestamp) -> Duration {
        let stage = |lifetime: Lifetime| renewal::stage(lifetime, max_age, self.phase, wall);
        // While the held token is fresh, AWS has no better one.
        let held = self.tokens.held.as_ref().map(Lifetime::from);
        let lifetime = held
            .filter(|lifetime| stage(*lifetime) == Stage::Fresh)
            .unwrap_or(self.tokens.oldest);
        match stage(lifetime) {
            Stage::Fresh => {
                let due_at = renewal::due_at(lifetime, max_age, self.phase);
                due_at.duration_since(wall).unsigned_abs()
            }
            Stage::Due | Stage::Expired => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests;
