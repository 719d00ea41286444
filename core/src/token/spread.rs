//! How renewals are spread over time, so that a thousand keys whose tokens were minted in the same
//! minute, after a restart or on the first day, do not stay in step forever.
//!
//! Each key has its own point in the interval between two renewals, its *phase*, by a hash. A renewal
//! may come earlier, by up to a fifth of the interval, and moves towards that point. Once a key has
//! reached its phase, its renewals are one whole interval apart again: spreading costs some calls of
//! AWS in the first days, and none later.

use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::lifetime::later;
use super::stored::data_key;
use crate::identity::TokenKey;

/// Shorter intervals are not spread.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(60);
/// The part of the interval by which a renewal may come earlier: one fifth.
const SLACK: u32 = 5;
/// The part of the interval by which a renewal may miss its phase: expiries are a little earlier or
/// later than half a day, because clocks differ.
const TOLERANCE: u32 = 50;
/// The units to which an interval is rounded, so that it is the same for tokens of nearly the same
/// lifetime. In seconds.
const UNITS: [i64; 13] = [3600, 1800, 900, 600, 300, 120, 60, 30, 15, 10, 5, 2, 1];
/// The fewest units in an interval.
const MIN_UNITS: i64 = 32;

/// The phase of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenewalPhase(u32);

impl RenewalPhase {
    /// A phase for tests in which any will do.
    #[cfg(test)]
    pub(crate) const ANY: Self = Self(0x1234_5678);

    /// The phase of a key, the same in every replica.
    pub fn of(key: &TokenKey) -> Self {
        let hash = Sha256::digest(data_key(key).as_bytes());
        let bytes = hash.first_chunk().copied().unwrap_or_default();
        Self(u32::from_be_bytes(bytes))
    }

    /// The time of a renewal that is due after `interval` at the latest.
    pub(super) fn due_at(self, minted_at: Timestamp, interval: Duration) -> Timestamp {
        let latest = later(minted_at, interval);
        if interval < SHORTEST_INTERVAL {
            return latest;
        }
        let (slack, period) = (interval / SLACK, rounded(interval));
        let phase = share(period, self.0);
        // The time since the last point of the phase before `latest`.
        let late = (latest.as_millisecond() - phase).rem_euclid(period);
        let early = if late < millis(slack) {
            late
        } else if period - late < millis(interval / TOLERANCE) {
            0
        } else {
            // Other bits, or keys of one phase would move in step.
            share(millis(slack), self.0.reverse_bits())
        };
        let early = Duration::from_millis(early.unsigned_abs());
        latest.checked_sub(early).unwrap_or(latest)
    }
}

/// The interval, rounded to a unit that fits into it at least [`MIN_UNITS`] times; in ms.
fn rounded(interval: Duration) -> i64 {
    let millis = millis(interval);
    let fits = |unit: &i64| unit * 1000 * MIN_UNITS <= millis;
    let unit = UNITS.into_iter().find(fits).unwrap_or(1) * 1000;
    (millis + unit / 2) / unit * unit
}

/// A share of a length, by a number of 32 bits.
fn share(length: i64, part: u32) -> i64 {
    let product = i128::from(length) * i128::from(part);
    i64::try_from(product >> u32::BITS).unwrap_or(0)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4000)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::moments::{HOUR, noon};
    use super::*;
    use crate::identity::Identity;
    use crate::image::Endpoint;

    const INTERVAL: Duration = Duration::from_secs(6 * 60 * 60);

    fn phase(number: usize) -> RenewalPhase {
        RenewalPhase::of(&TokenKey {
            identity: Identity::Ambient,
            region: format!("land-{number}").into(),
            endpoint: Endpoint::Standard,
        })
    }

    fn after(seconds: f64) -> Timestamp {
        later(noon(), Duration::from_secs_f64(seconds))
    }

    /// The mints of a thousand keys over some intervals, in seconds since the first one. All keys are
    /// minted at five a second at first. `lifetime_error` is in seconds.
    fn mints(intervals: u32, lifetime_error: f64) -> Vec<f64> {
        let end = INTERVAL.as_secs_f64() * f64::from(intervals);
        let mut mints = Vec::new();
        for number in 0..1000 {
            let phase = phase(number);
            let mut at = f64::from(u32::try_from(number).unwrap()) / 5.0;
            while at < end {
                mints.push(at);
                let interval = INTERVAL.as_secs_f64() + lifetime_error;
                let due = phase.due_at(after(at), Duration::from_secs_f64(interval));
                // The leader looks once a second.
                at = due.duration_since(noon()).as_secs_f64() + 0.3;
            }
        }
        mints
    }

    /// The most mints within a time of this length.
    fn most_within(mints: &[f64], length: f64) -> usize {
        let mut buckets: BTreeMap<u64, usize> = BTreeMap::new();
        for at in mints {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "positive"
            )]
            let bucket = (at / length) as u64;
            *buckets.entry(bucket).or_default() += 1;
        }
        buckets.into_values().max().unwrap_or(0)
    }

    #[test]
    fn burst_is_spread_at_its_first_renewal() {
        let mints = mints(2, 0.0);
        let later: Vec<f64> = mints.into_iter().filter(|at| *at > 1000.0).collect();
        // A thousand within 72 minutes, and not within four.
        assert!(
            most_within(&later, 60.0) < 40,
            "{}",
            most_within(&later, 60.0)
        );
    }

    #[test]
    fn spread_keys_are_minted_once_an_interval() {
        for error in [-2.0, -0.01, 0.0, 0.01, 2.0] {
            let mints = mints(40, error);
            let settled = 30.0 * INTERVAL.as_secs_f64();
            let count = mints.iter().filter(|at| **at >= settled).count();
            assert!((9_900..=10_050).contains(&count), "{count} with {error}");
            let all: Vec<f64> = mints.into_iter().filter(|at| *at >= settled).collect();
            assert!(most_within(&all, 60.0) < 15, "{}", most_within(&all, 60.0));
        }
    }

    #[test]
    fn short_interval_is_not_spread() {
        let interval = SHORTEST_INTERVAL - Duration::from_millis(1);
        for number in 0..100 {
            let due = phase(number).due_at(noon(), interval);
            assert_eq!(due, later(noon(), interval));
        }
    }

    proptest! {
        #[test]
        fn renewal_is_at_most_a_fifth_early(number in 0..1000_usize, at in 0..HOUR * 1000, seconds in 1..200_000_u64) {
            let minted_at = after(f64::from(i32::try_from(at).unwrap()));
            let interval = Duration::from_secs(seconds);
            let wait = phase(number).due_at(minted_at, interval).duration_since(minted_at);
            let wait = wait.unsigned_abs();
            prop_assert!(wait <= interval && wait + Duration::from_millis(1) >= interval * 4 / 5, "{wait:?}");
        }
    }
}
