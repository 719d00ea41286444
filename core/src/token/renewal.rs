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

/// An end that is further away was not said by ECR, or by another clock than ours.
const LONGEST_LIFE: SignedDuration = SignedDuration::from_hours(24);

/// The first pause after a failure, and the shortest that haste allows.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest pause while the old token works.
const LONGEST_RETRY: Duration = Duration::from_secs(5 * 60);
/// The longest pause when there is none that works: pods wait.
const LONGEST_RETRY_WITHOUT: Duration = Duration::from_secs(15);

/// For whoever leads and renews, and for the next one if that one is gone.
const LEAST_PATIENCE: Duration = Duration::from_secs(30);

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
    life_due_at(token.minted_at, token.expires_at, max_age)
}

/// The same for a token of which only the life is known.
pub fn life_due_at(minted_at: Timestamp, expires_at: Timestamp, max_age: Duration) -> Timestamp {
    let life = expires_at.duration_since(minted_at).unsigned_abs();
    later(minted_at, (life / 2).min(max_age))
}

/// How a token stands at a point in time.
pub fn stage(token: &Token, max_age: Duration, now: Timestamp) -> Stage {
    life_stage(token.minted_at, token.expires_at, max_age, now)
}

/// The same for a token of which only the life is known. The two times may come from annotations,
/// hence in any order.
pub fn life_stage(
    minted_at: Timestamp,
    expires_at: Timestamp,
    max_age: Duration,
    now: Timestamp,
) -> Stage {
    if now >= expires_at {
        return Stage::Expired;
    }
    let clock_went_back = minted_at.duration_since(now) > CLOCK_TOLERANCE;
    if clock_went_back || now >= life_due_at(minted_at, expires_at, max_age) {
        Stage::Due
    } else {
        Stage::Fresh
    }
}

/// Whether a token that works was not renewed long after it was due, so that somebody else than
/// whoever is to do it should: a fifth of the life after, or a little more by `jitter` between 0 and
/// 1, and half a minute at the least.
pub fn is_overdue(token: &Token, max_age: Duration, now: Timestamp, jitter: f64) -> bool {
    let life = token
        .expires_at
        .duration_since(token.minted_at)
        .unsigned_abs();
    let patience = life.mul_f64(0.2 + jitter.clamp(0.0, 1.0) / 10.0);
    let overdue_at = later(due_at(token, max_age), patience.max(LEAST_PATIENCE));
    (overdue_at..token.expires_at).contains(&now)
}

/// Whether a token that was minted and ends then still serves a pod that starts now: a tenth of its
/// life is left for the pull, its retries and a late node. The two times may come from annotations,
/// hence in any order.
pub fn serves(minted_at: Timestamp, expires_at: Timestamp, now: Timestamp) -> bool {
    let life = expires_at.duration_since(minted_at);
    now < expires_at && expires_at.duration_since(now) > life / 10
}

/// How long to wait before asking AWS again, after so many failures in a row (the first is 1), while
/// there is a token that works until `end`; `jitter` lies between 0 and 1. Pauses double from 1 s.
/// They get shorter as the old token's end comes near, an eighth of what is left of it, and never
/// shorter than half a second: an end that has passed, or a clock that says so, is no reason to ask
/// in a tight loop.
pub fn retry_in(end: Option<Timestamp>, failures: u32, now: Timestamp, jitter: f64) -> Duration {
    let left = end
        .map(|end| end.duration_since(now))
        .filter(SignedDuration::is_positive);
    let longest = left.map_or(LONGEST_RETRY_WITHOUT, |left| {
        (left.unsigned_abs() / 8).clamp(FIRST_RETRY, LONGEST_RETRY)
    });
    let doublings = failures.saturating_sub(1).min(16);
    let pause = (FIRST_RETRY * 2_u32.pow(doublings)).min(longest);
    // Of a jitter that is none, the most patient is made.
    let jitter = Some(jitter)
        .filter(|jitter| (0.0..=1.0).contains(jitter))
        .unwrap_or(1.0);
    pause.mul_f64(0.5 + jitter / 2.0)
}

/// Whether an end can be true: no token of ECR lives that long.
pub fn is_believable(expires_at: Timestamp, now: Timestamp) -> bool {
    expires_at.duration_since(now) <= LONGEST_LIFE
}

/// Whether a token takes the place of another one with this life. The later end wins, unless it is
/// beyond belief. A token that was minted in the future, by a clock that was wrong, may have a wrong
/// end as well, and gives way to one that was not.
pub fn supersedes(
    token: &Token,
    minted_at: Timestamp,
    expires_at: Timestamp,
    now: Timestamp,
) -> bool {
    let is_believed = is_believable(token.expires_at, now);
    if is_believed != is_believable(expires_at, now) {
        return is_believed;
    }
    let of_the_future = |minted_at: Timestamp| minted_at.duration_since(now) > CLOCK_TOLERANCE;
    token.expires_at > expires_at || of_the_future(minted_at) && !of_the_future(token.minted_at)
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
