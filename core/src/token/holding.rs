//! What a replica holds for one key: the token, the last failure to renew it, and whether a registry
//! has refused it.
//!
//! Points in time on the wall clock are compared with what AWS says. All other times are durations
//! since one start, by a clock that is never set.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Token;
use super::lifetime::Lifetime;
use super::table::KeyStanding;
use crate::cause::{Cause, Retry};

/// The age up to which a token is as good as the next one, even where a registry refuses it.
const YOUNG: SignedDuration = SignedDuration::from_mins(10);
/// The time between two replacements of refused tokens of one key for the same namespace.
const DISTRUST_INTERVAL: Duration = Duration::from_secs(6 * 60 * 60);
/// The time between two such replacements of one key, for all namespaces: each is a call of AWS, and
/// a write of each Secret with the key. All namespaces get the next token, so one that is refused
/// meanwhile loses nothing but this time.
const DISTRUST_PAUSE: Duration = Duration::from_secs(30 * 60);

/// The memory of one key; `F` is why no token could be minted.
#[derive(Clone, Debug)]
pub struct Holding<F> {
    token: Option<Token>,
    failure: Option<(Duration, Cause, F)>,
    /// The namespaces for whose pods it was replaced, in the order of time: at most twelve.
    distrusted: Vec<(Duration, Arc<str>)>,
}

/// What a caller that needs a token gets.
#[derive(Clone, Debug)]
pub enum Offer {
    /// The token that is held.
    Held(Token),
    /// The next token, or else the one that is held: it works, and is close to its expiry.
    NextOrHeld(Token),
    /// The next token: none that works is held.
    Next,
}

impl<F> Default for Holding<F> {
    fn default() -> Self {
        Self {
            token: None,
            failure: None,
            distrusted: Vec::new(),
        }
    }
}

impl<F> Holding<F> {
    /// The token, whatever its age.
    pub fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }

    /// What a pod that starts now gets.
    pub fn offer(&self, now: Timestamp) -> Offer {
        match self.token.clone() {
            Some(token) if Lifetime::from(&token).serves(now) => Offer::Held(token),
            Some(token) if now < token.expires_at => Offer::NextOrHeld(token),
            Some(_) | None => Offer::Next,
        }
    }

    /// A failure that stands for the next one: the caller does not ask AWS again so soon.
    pub fn recent_failure(&self, now: Duration) -> Option<&F> {
        let (at, cause, failure) = self.failure.as_ref()?;
        let remembered = match cause.retry() {
            Retry::Soon => Duration::from_secs(3),
            Retry::Slowly | Retry::Never => Duration::from_secs(10),
        };
        (now.saturating_sub(*at) < remembered).then_some(failure)
    }

    /// Whether the last call of AWS failed.
    pub fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Whether there is a token, and no call of AWS has failed since it came.
    pub fn has_worked(&self) -> bool {
        self.token.is_some() && self.failure.is_none()
    }

    /// Takes a token that this process minted.
    pub fn keep(&mut self, token: Token) {
        self.token = Some(token);
        self.failure = None;
    }

    /// Takes a token that another replica minted, if it is better than the one that is held.
    pub fn learn(&mut self, token: Token, now: Timestamp) -> bool {
        let is_better = self
            .token
            .as_ref()
            .is_none_or(|held| Lifetime::from(&token).supersedes(held.into(), now));
        if is_better {
            self.keep(token);
        }
        is_better
    }

    /// Remembers why no token could be minted.
    pub fn fail(&mut self, cause: Cause, failure: F, now: Duration) {
        self.failure = Some((now, cause, failure));
    }

    /// What a table of keys knows of this one, when it looks for room.
    pub fn standing(&self, now: Timestamp) -> KeyStanding {
        match &self.token {
            None => KeyStanding::Unanswered,
            Some(held) if Lifetime::from(held).is_usable(now) => KeyStanding::Working,
            Some(_) => KeyStanding::Expired,
        }
    }

    /// Whether a token that a registry refuses a pod of this namespace is to be replaced before its
    /// time. The answer is yes at most once in six hours for a namespace: where the next token is
    /// refused as well, the token was not to blame. And it is yes at most once in half an hour for all
    /// of them: a tenant can make a registry refuse its pods, in many namespaces.
    pub fn distrust(&mut self, namespace: &str, now: Timestamp, elapsed: Duration) -> bool {
        let is_held_young = self.token.as_ref().is_some_and(|held| is_young(held, now));
        self.distrusted
            .retain(|(at, _)| elapsed.saturating_sub(*at) < DISTRUST_INTERVAL);
        let is_charged = self
            .distrusted
            .iter()
            .any(|(_, other)| **other == *namespace);
        let is_paused = self
            .distrusted
            .last()
            .is_some_and(|(at, _)| elapsed.saturating_sub(*at) < DISTRUST_PAUSE);
        if is_held_young || is_charged || is_paused {
            return false;
        }
        self.distrusted.push((elapsed, namespace.into()));
        true
    }

    /// The replacement for this namespace made no call of AWS: it counts for nothing.
    pub fn undo_distrust(&mut self, namespace: &str) {
        self.distrusted.retain(|(_, other)| **other != *namespace);
    }
}

/// Whether a token was minted a short time ago, by any clock.
pub fn is_young(token: &Token, now: Timestamp) -> bool {
    now.duration_since(token.minted_at).abs() < YOUNG
}

#[cfg(test)]
mod tests;
