//! Times and lengths for the tests of tokens.

use jiff::{SignedDuration, Timestamp};

pub(super) const HOUR: i64 = 3600;
pub(super) const NANOSECOND: SignedDuration = SignedDuration::from_nanos(1);

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Noon on a fixed day.
pub(super) fn noon() -> Timestamp {
    at(1_700_000_000 / (24 * HOUR) * 24 * HOUR + 12 * HOUR)
}

pub(super) fn hours(count: i64) -> SignedDuration {
    SignedDuration::from_hours(count)
}
