//! The decisions of self-signed mode about its two objects: the Secret with CA and leaf, and the
//! `caBundle` of the registration.
//!
//! All replicas share both objects, and another program may change either. So each decision takes
//! what was read last, and nothing else: which copy of the certificates wins, whether a new
//! replica may create a CA, what the API servers trust, and when the next write may be made.
//! Times are durations since some start that is the same in all calls.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::life::{self, CertificateStep, HeldCertificates};
use crate::backoff::{Backoff, jittered};
use crate::cause::Cause;

/// The pause before the next check while something is left to do.
pub const RECHECK_INTERVAL: Duration = Duration::from_millis(250);
/// The longest pause before the next check.
pub const MAX_CHECK_INTERVAL: Duration = Duration::from_secs(60);
/// The shortest pause before the next check of a complete Secret.
const MIN_CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// The time that a new replica leaves to those that remember the lost Secret.
const FOUNDING_DELAY: Duration = Duration::from_secs(5);
/// The time in which a bundle reaches every API server; an overlap, if that is shorter.
const SPREAD: Duration = Duration::from_secs(60);
/// Pauses after writes that failed.
const FAILED_WRITES: Backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(60));

/// The CAs that the registration's `caBundle` names, compared with ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustStanding {
    /// The registration has not been read.
    Unknown,
    /// There is no registration, so no API server calls us.
    Absent,
    /// The `caBundle` is empty.
    Empty,
    /// The `caBundle` differs from the CAs in force.
    Other,
    /// The `caBundle` holds exactly the CAs in force.
    Ours {
        /// The CAs in PEM.
        bundle: Arc<[u8]>,
        /// The time at which this bundle was seen first.
        since: Duration,
    },
}

impl TrustStanding {
    /// Compares a `caBundle` with the CAs in force.
    pub fn of(ca_bundle: &[u8], wanted: Option<&Arc<[u8]>>, now: Duration) -> Self {
        match wanted {
            Some(wanted) if **wanted == *ca_bundle => Self::Ours {
                bundle: wanted.clone(),
                since: now,
            },
            _ if ca_bundle.is_empty() => Self::Empty,
            _ => Self::Other,
        }
    }

    /// Replaces the standing, and says whether it changed. The same bundle keeps its time.
    pub fn replace_with(&mut self, next: Self) -> bool {
        let is_same = match (&*self, &next) {
            (Self::Ours { bundle, .. }, Self::Ours { bundle: other, .. }) => bundle == other,
            (present, next) => present == next,
        };
        if !is_same {
            *self = next;
        }
        !is_same
    }

    /// Whether an API server that calls us trusts us.
    pub fn is_trusted(&self) -> bool {
        matches!(self, Self::Ours { .. } | Self::Absent)
    }

    /// Whether every API server that may call us has had the time to load this bundle.
    pub fn has_spread(&self, wanted: &[u8], lifetime: Duration, now: Duration) -> bool {
        let spread = SPREAD.min(life::overlap(lifetime));
        match self {
            Self::Ours { bundle, since } => {
                **bundle == *wanted && now.saturating_sub(*since) >= spread
            }
            Self::Absent => true,
            Self::Unknown | Self::Empty | Self::Other => false,
        }
    }

    /// Whether a replica that remembers no CA may create one, when the Secret is absent since then.
    /// In a new cluster it may at once. If the API server trusts a CA, another replica may hold it.
    fn may_found(&self, absent_since: Duration, now: Duration) -> bool {
        let is_new = matches!(self, Self::Absent | Self::Empty);
        is_new || now.saturating_sub(absent_since) >= FOUNDING_DELAY
    }
}

/// Writes that another program keeps reverting.
///
/// Two writes within five minutes are free. After them come pauses of 1 s, doubling to a minute.
#[derive(Debug, Default)]
pub struct Contention {
    writes: u32,
    last: Duration,
}

impl Contention {
    const FREE_WRITES: u32 = 2;
    const FORGET_AFTER: Duration = Duration::from_secs(5 * 60);
    const PAUSES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

    /// The time of the next write, if that is later than now.
    pub fn pause_until(&self, now: Duration) -> Option<Duration> {
        let nth = self
            .writes
            .checked_sub(Self::FREE_WRITES - 1)
            .filter(|nth| *nth > 0)?;
        let pause = Self::PAUSES.nth(nth);
        Some(self.last + pause).filter(|until| *until > now)
    }

    /// Records a write, or an attempt.
    pub fn record(&mut self, now: Duration) {
        let is_first = self.writes == 0 || now > self.last + Self::FORGET_AFTER;
        self.writes = if is_first {
            1
        } else {
            self.writes.saturating_add(1)
        };
        self.last = now;
    }

    /// Whether another program keeps reverting our writes.
    pub fn is_contended(&self) -> bool {
        self.writes > Self::FREE_WRITES
    }
}

/// Writes that failed, and the pause after them.
#[derive(Debug, Default)]
pub struct FailedWrites {
    failures: u32,
    until: Duration,
}

impl FailedWrites {
    /// Whether the pause goes on.
    pub fn is_pausing(&self, now: Duration) -> bool {
        now < self.until
    }

    /// Records a failed write. `jitter` from 0 to 1 spreads the pause.
    pub fn record(&mut self, now: Duration, jitter: f64) {
        self.failures = self.failures.saturating_add(1);
        self.until = now + jittered(FAILED_WRITES.nth(self.failures), jitter);
    }

    /// Records a write that succeeded.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

/// The next step for the `caBundle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundleStep {
    /// No write until the registration or the CAs change.
    Keep,
    /// No write, because cert-manager is told to inject a `caBundle`.
    LeaveToInjector,
    /// No write before this time.
    PauseUntil(Duration),
    /// A write of the CAs in force.
    Set,
}

/// The next step for the `caBundle`. `has_wanted` means that the CAs in force are known.
pub fn bundle_step(
    standing: &TrustStanding,
    has_wanted: bool,
    is_injected: bool,
    contention: &Contention,
    now: Duration,
) -> BundleStep {
    if !has_wanted || !matches!(standing, TrustStanding::Empty | TrustStanding::Other) {
        BundleStep::Keep
    } else if is_injected {
        BundleStep::LeaveToInjector
    } else {
        let pause = contention.pause_until(now);
        pause.map_or(BundleStep::Set, BundleStep::PauseUntil)
    }
}

/// The next step for the Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretStep {
    /// No write. Another replica may remember the lost Secret.
    LeaveToOthers,
    /// No write, because the Secret is another program's: the cause to report.
    Leave(Cause),
    /// A write of the certificates that are served, and the cause to report, if any.
    Restore(Option<Cause>),
    /// A step of the renewal. The certificates in the Secret are served if they are usable.
    Renew(CertificateStep),
}

/// The next step when there is no Secret. `remembers` means that certificates are served.
pub fn absent_step(
    remembers: bool,
    standing: &TrustStanding,
    absent_since: Duration,
    now: Duration,
) -> SecretStep {
    if remembers {
        SecretStep::Restore(None)
    } else if standing.may_found(absent_since, now) {
        SecretStep::Renew(CertificateStep::Found)
    } else {
        SecretStep::LeaveToOthers
    }
}

/// The Secret as it was read last.
#[derive(Clone, Copy, Debug)]
pub struct StoredCertificates<'a> {
    /// Its certificates and keys.
    pub held: &'a HeldCertificates,
    /// Whether it has the type that we write, which never changes.
    pub is_of_our_type: bool,
    /// Whether its label names us as the manager.
    pub is_managed: bool,
}

impl StoredCertificates<'_> {
    /// Whether they win over the certificates that are served: complete, and not expired while the
    /// served ones are valid.
    pub fn is_usable(&self, served: Option<&HeldCertificates>, now: Timestamp) -> bool {
        let is_worse =
            !self.held.is_valid(now) && served.is_some_and(|served| served.is_valid(now));
        self.is_of_our_type && self.held.is_complete() && !is_worse
    }

    /// The next step when there is a Secret. `is_trusted` means that the API servers have loaded
    /// its CAs.
    pub fn step(
        &self,
        served: Option<&HeldCertificates>,
        lifetime: Duration,
        now: Timestamp,
        is_trusted: bool,
    ) -> SecretStep {
        if !self.is_of_our_type {
            return SecretStep::Leave(Cause::CertificateForeign);
        }
        if !self.is_usable(served, now) {
            if served.is_some() {
                return SecretStep::Restore(Some(Cause::CertificateUnusable));
            }
            if !self.is_managed {
                return SecretStep::Leave(Cause::CertificateForeign);
            }
        }
        SecretStep::Renew(life::step(self.held, lifetime, now, is_trusted))
    }
}

/// The pause until the next check of a complete Secret.
pub fn check_interval(
    served: Option<&HeldCertificates>,
    lifetime: Duration,
    now: Timestamp,
) -> Duration {
    let leaf = served.and_then(|served| served.leaf);
    let pause = life::pace(leaf.map(|leaf| leaf.validity), lifetime, now);
    pause.clamp(MIN_CHECK_INTERVAL, MAX_CHECK_INTERVAL)
}

#[cfg(test)]
mod tests;
