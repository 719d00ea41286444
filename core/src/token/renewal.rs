//! When a token is renewed: at half of its life, and never in a hurry that helps nobody.
//!
//! `expiresAt` of ECR is an upper bound, seldom wrong and never late; an expiry that is missing or
//! not after the minting says nothing, and the documented 12 hours stand in for it. All points in
//! time come from the caller.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Token;

/// How long a token lives by ECR's documentation.
pub const DOCUMENTED_LIFE: Duration = Duration::from_secs(12 * 60 * 60);

/// How far the wall clock may be behind the minting before the token's age counts as unknown.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// How a token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing to do.
    Fresh,
    /// It works, and it is time for the next one.
    Due,
    /// It does not work any more.
    Expired,
}

/// The end of a token's life, from what AWS said about it.
pub fn end_of_life(minted_at: Timestamp, expires_at: Option<Timestamp>) -> Timestamp {
    expires_at
        .filter(|expires_at| *expires_at > minted_at)
        .unwrap_or_else(|| later(minted_at, DOCUMENTED_LIFE))
}

/// When to renew: at half of the life, or at `max_age` if that comes first.
pub fn due_at(token: &Token, max_age: Duration) -> Timestamp {
    let life = token
        .expires_at
        .duration_since(token.minted_at)
        .unsigned_abs();
    later(token.minted_at, (life / 2).min(max_age))
}

/// How a token stands at a point in time.
pub fn stage(token: &Token, max_age: Duration, now: Timestamp) -> Stage {
    if now >= token.expires_at {
        return Stage::Expired;
    }
    let clock_went_back = token.minted_at.duration_since(now) > CLOCK_TOLERANCE;
    if clock_went_back || now >= due_at(token, max_age) {
        Stage::Due
    } else {
        Stage::Fresh
    }
}

/// Whether a token that was minted and ends then still serves a pod that starts now: a tenth of its
/// life is left for the pull, its retries and a late node. The two times may come from annotations,
/// hence in any order.
pub fn serves(minted_at: Timestamp, expires_at: Timestamp, now: Timestamp) -> bool {
    let life = expires_at.duration_since(minted_at);
    now < expires_at && expires_at.duration_since(now) > life / 10
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
