//! When a token is renewed: at half of its lifetime, with retries that back off.
//!
//! ECR's `expiresAt` is an upper bound, seldom wrong and never late. If it is absent or not after
//! the minting, the documented lifetime of 12 hours replaces it. All times come from the caller.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Token;

/// Lifetime of a token by ECR's documentation.
pub const DOCUMENTED_LIFE: Duration = Duration::from_secs(12 * 60 * 60);

/// How far the clock may be behind the minting before the token's age counts as unknown.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// Limit of a believable lifetime. A later expiry is not ECR's, or comes from a wrong clock.
const LONGEST_LIFE: SignedDuration = SignedDuration::from_hours(24);

/// The first pause after a failure, and the shortest limit near the expiry.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest pause while the old token is valid.
const LONGEST_RETRY: Duration = Duration::from_secs(5 * 60);
/// The longest pause without a valid token: short, because pods wait.
const LONGEST_RETRY_WITHOUT: Duration = Duration::from_secs(15);

/// The shortest time before a token is overdue: enough for the leader and, if it dies, the next.
const LEAST_PATIENCE: Duration = Duration::from_secs(30);

/// The stage of a token's lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing to do.
    Fresh,
    /// Valid, and due for renewal.
    Due,
    /// Not valid any more.
    Expired,
}

/// The expiry of a token: AWS's if it is after the minting, otherwise by the documented lifetime.
pub fn end_of_life(minted_at: Timestamp, expires_at: Option<Timestamp>) -> Timestamp {
    expires_at
        .filter(|expires_at| *expires_at > minted_at)
        .unwrap_or_else(|| later(minted_at, DOCUMENTED_LIFE))
}

/// When a token is due: at half of its lifetime, or at `max_age` if that is earlier.
pub fn due_at(token: &Token, max_age: Duration) -> Timestamp {
    life_due_at(token.minted_at, token.expires_at, max_age)
}

/// As [`due_at`], for a token of which only the lifetime is known.
pub fn life_due_at(minted_at: Timestamp, expires_at: Timestamp, max_age: Duration) -> Timestamp {
    let lifetime = expires_at.duration_since(minted_at).unsigned_abs();
    later(minted_at, (lifetime / 2).min(max_age))
}

/// The stage of a token at `now`.
pub fn stage(token: &Token, max_age: Duration, now: Timestamp) -> Stage {
    life_stage(token.minted_at, token.expires_at, max_age, now)
}

/// As [`stage`], for a token of which only the lifetime is known. The two times may come from
/// annotations, and so in any order.
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

/// Whether a valid token is overdue, so that another replica than the leader renews it. It is overdue
/// a fifth of its lifetime after it was due, or up to three tenths by `jitter` between 0 and 1, and at
/// least half a minute after it was due.
pub fn is_overdue(token: &Token, max_age: Duration, now: Timestamp, jitter: f64) -> bool {
    let lifetime = token
        .expires_at
        .duration_since(token.minted_at)
        .unsigned_abs();
    let patience = lifetime.mul_f64(0.2 + jitter.clamp(0.0, 1.0) / 10.0);
    let overdue_at = later(due_at(token, max_age), patience.max(LEAST_PATIENCE));
    (overdue_at..token.expires_at).contains(&now)
}

/// Whether a token with this lifetime still serves a pod that starts now. A tenth of the lifetime
/// must remain, for the pull, its retries and a late node. The two times may come from annotations,
/// and so in any order.
pub fn serves(minted_at: Timestamp, expires_at: Timestamp, now: Timestamp) -> bool {
    let lifetime = expires_at.duration_since(minted_at);
    now < expires_at && expires_at.duration_since(now) > lifetime / 10
}

/// The pause before the next call to AWS, after this number of failures in a row (1 or more).
/// `end` is the expiry of the old token, if there is one; `jitter` is between 0 and 1.
///
/// Pauses double from 1 s. Before the expiry, a pause is at most an eighth of the remaining time. A
/// pause is never below half a second, so that an expired token or a wrong clock causes no tight
/// loop.
pub fn retry_in(end: Option<Timestamp>, failures: u32, now: Timestamp, jitter: f64) -> Duration {
    let left = end
        .map(|end| end.duration_since(now))
        .filter(SignedDuration::is_positive);
    let longest = left.map_or(LONGEST_RETRY_WITHOUT, |left| {
        (left.unsigned_abs() / 8).clamp(FIRST_RETRY, LONGEST_RETRY)
    });
    let doublings = failures.saturating_sub(1).min(16);
    let pause = (FIRST_RETRY * 2_u32.pow(doublings)).min(longest);
    // An invalid jitter counts as the longest one.
    let jitter = Some(jitter)
        .filter(|jitter| (0.0..=1.0).contains(jitter))
        .unwrap_or(1.0);
    pause.mul_f64(0.5 + jitter / 2.0)
}

/// Whether an expiry is believable: no token of ECR has a longer lifetime.
pub fn is_believable(expires_at: Timestamp, now: Timestamp) -> bool {
    expires_at.duration_since(now) <= LONGEST_LIFE
}

/// Whether a token replaces another one with this lifetime. The later expiry wins, unless it is not
/// believable. A token minted in the future comes from a wrong clock and may have a wrong expiry as
/// well, so a token that is not from the future also replaces it.
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
