//! When a token is renewed: at half of its lifetime, with retries that back off.
//!
//! All points in time come from the caller.

use std::time::Duration;

use jiff::Timestamp;

use super::lifetime::{Lifetime, later};
use super::spread::RenewalPhase;
use crate::backoff::{Backoff, jittered};

/// The first pause after a failure, and the lower limit of the longest pause.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest pause while the old token is valid, and for a key of pods that never had one.
const LONGEST_RETRY: Duration = Duration::from_secs(5 * 60);
/// The longest pause after the old token has expired, and for a key of the configuration that never
/// had one: short, because pods wait.
const LONGEST_RETRY_WITHOUT_TOKEN: Duration = Duration::from_secs(15);

/// The shortest time before a token is overdue: enough for the leader and, if it dies, the next.
const MIN_OVERDUE: Duration = Duration::from_secs(30);

/// The stage of a token's lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Valid, and not due yet.
    Fresh,
    /// Valid, and due for renewal.
    Due,
    /// Not valid any more.
    Expired,
}

/// When to renew a token at the latest: at half of its lifetime, or at `max_age` if that comes first.
pub fn due_by(lifetime: Lifetime, max_age: Duration) -> Timestamp {
    later(lifetime.minted_at, interval(lifetime, max_age))
}

/// When to renew a token: by [`due_by`], and earlier by up to a fifth of that time, so that keys do
/// not stay in step.
pub fn due_at(lifetime: Lifetime, max_age: Duration, phase: RenewalPhase) -> Timestamp {
    phase.due_at(lifetime.minted_at, interval(lifetime, max_age))
}

fn interval(lifetime: Lifetime, max_age: Duration) -> Duration {
    (lifetime.length() / 2).min(max_age)
}

/// The stage of a token at a point in time. A token whose age is unknown, because the clock went
/// back, is due.
pub fn stage(lifetime: Lifetime, max_age: Duration, phase: RenewalPhase, now: Timestamp) -> Stage {
    if now >= lifetime.expires_at {
        Stage::Expired
    } else if lifetime.is_from_the_future(now) || now >= due_at(lifetime, max_age, phase) {
        Stage::Due
    } else {
        Stage::Fresh
    }
}

/// Whether a valid token is overdue, so that another replica than the leader renews it. It is overdue
/// a fifth of its lifetime after it was due, or up to three tenths by `jitter` between 0 and 1, and at
/// least half a minute after it was due.
pub fn is_overdue(lifetime: Lifetime, max_age: Duration, now: Timestamp, jitter: f64) -> bool {
    let wait = lifetime
        .length()
        .mul_f64(0.2 + jitter.clamp(0.0, 1.0) / 10.0);
    let overdue_at = later(due_by(lifetime, max_age), wait.max(MIN_OVERDUE));
    (overdue_at..lifetime.expires_at).contains(&now)
}

/// The pause before the next call of AWS, after this number of failures in a row (1 or more);
/// `jitter` is between 0 and 1.
///
/// Pauses double from 1 s to the `longest`. A pause is never below half a second, so that an expired
/// token or a wrong clock causes no tight loop.
pub fn retry_in(longest: Duration, failures: u32, jitter: f64) -> Duration {
    jittered(Backoff::new(FIRST_RETRY, longest).nth(failures), jitter)
}

/// The longest pause between two attempts to replace a token with this expiry. Before the expiry, it
/// is an eighth of the remaining time.
pub fn longest_retry(expires_at: Timestamp, now: Timestamp) -> Duration {
    an_eighth_of_the_rest(expires_at, now).map_or(LONGEST_RETRY_WITHOUT_TOKEN, |eighth| {
        eighth.clamp(FIRST_RETRY, LONGEST_RETRY)
    })
}

/// The longest pause between two attempts to get the first token of a key.
///
/// AWS may not know the region of a key that only pods want: a pod author has invented it. Its
/// attempts are minutes apart, so that they take no turns from other keys. No pod waits for them: the
/// admission of a pod, and the leader for a pod that waits, ask AWS on their own.
///
/// A key of the configuration is tried often, unless pods pull with tokens of another identity
/// `meanwhile`, until this time. A tenant can write that time, so it makes no pause shorter.
pub fn longest_first_retry(
    is_configured: bool,
    meanwhile: Option<Timestamp>,
    now: Timestamp,
) -> Duration {
    if !is_configured {
        return LONGEST_RETRY;
    }
    let eighth = meanwhile.and_then(|expires_at| an_eighth_of_the_rest(expires_at, now));
    eighth.map_or(LONGEST_RETRY_WITHOUT_TOKEN, |eighth| {
        eighth.clamp(LONGEST_RETRY_WITHOUT_TOKEN, LONGEST_RETRY)
    })
}

/// An eighth of the time until an expiry; `None` after it.
fn an_eighth_of_the_rest(expires_at: Timestamp, now: Timestamp) -> Option<Duration> {
    let left = expires_at.duration_since(now);
    left.is_positive().then(|| left.unsigned_abs() / 8)
}

#[cfg(test)]
mod tests;
