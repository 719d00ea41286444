//! The lifetime of a token: when it was minted, and when it expires.
//!
//! `expiresAt` of ECR is an upper bound, seldom wrong and never late. An expiry that is missing or
//! not after the minting says nothing: the documented 12 hours stand in for it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The lifetime of a token by ECR's documentation.
const DOCUMENTED: Duration = Duration::from_secs(12 * 60 * 60);
/// No token of ECR lives longer. ECR did not state an expiry that is further away, or the clock is
/// wrong.
const LONGEST: SignedDuration = SignedDuration::from_hours(24);
/// How far the clock may be behind the minting before the token's age counts as unknown.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// When a token was minted, and when it expires. The two times may come from annotations, hence in
/// any order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// By the clock of the replica that minted it.
    pub minted_at: Timestamp,
    /// By ECR.
    pub expires_at: Timestamp,
}

impl Lifetime {
    /// The lifetime of a token about whose expiry AWS says this.
    pub(super) fn stated(minted_at: Timestamp, expires_at: Option<Timestamp>) -> Self {
        Self {
            minted_at,
            expires_at: expires_at
                .filter(|expires_at| *expires_at > minted_at)
                .unwrap_or_else(|| later(minted_at, DOCUMENTED)),
        }
    }

    /// Whether the token serves a pod that starts now: a tenth of the lifetime is left for the pull,
    /// its retries and a late node.
    pub fn serves(self, now: Timestamp) -> bool {
        let length = self.expires_at.duration_since(self.minted_at);
        now < self.expires_at && self.expires_at.duration_since(now) > length / 10
    }

    /// Whether the expiry can be true.
    pub fn is_plausible(self, now: Timestamp) -> bool {
        self.expires_at.duration_since(now) <= LONGEST
    }

    /// Whether the token works, as far as its expiry can be true.
    pub fn is_usable(self, now: Timestamp) -> bool {
        self.expires_at > now && self.is_plausible(now)
    }

    /// Whether the token replaces one with the lifetime `held`. The later expiry wins, unless it is
    /// implausible. A token that was minted in the future comes from a wrong clock and may have a
    /// wrong expiry: it gives way to one that was not.
    pub fn supersedes(self, held: Self, now: Timestamp) -> bool {
        let is_plausible = self.is_plausible(now);
        if is_plausible != held.is_plausible(now) {
            return is_plausible;
        }
        self.expires_at > held.expires_at
            || held.is_from_the_future(now) && !self.is_from_the_future(now)
    }

    /// Whether the minting is further ahead than clocks differ.
    pub(super) fn is_from_the_future(self, now: Timestamp) -> bool {
        self.minted_at.duration_since(now) > CLOCK_TOLERANCE
    }

    /// The time between minting and expiry.
    pub(crate) fn length(self) -> Duration {
        self.expires_at
            .duration_since(self.minted_at)
            .unsigned_abs()
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.minted_at, self.expires_at)
    }
}

impl FromStr for Lifetime {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (minted_at, expires_at) = text.split_once('/').unwrap_or((text, text));
        Ok(Self {
            minted_at: minted_at.parse()?,
            expires_at: expires_at.parse()?,
        })
    }
}

/// A point in time that long after another one, or the last one that there is.
pub(super) fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
