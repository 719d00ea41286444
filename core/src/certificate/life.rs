//! The lifetimes of a self-signed CA and its leaf, and the next step of their renewal.
//!
//! The API server trusts the CAs in the registration's `caBundle`. So a new CA is first added there
//! and signs its first leaf an *overlap* later. The old CA is removed when that leaf has been
//! served for an overlap. If the lifetime was raised, an old leaf may expire before the overlap
//! ends; it is replaced earlier. The next step follows from the stored certificates, the time, and
//! whether the API servers trust the new CA, so any replica may take it. Each call takes one step.
//!
//! A leaf lives for the configured lifetime and is renewed at two thirds of it. A CA lives six
//! times as long and is replaced when two lifetimes are left. An overlap is a sixth of a lifetime.

use std::time::Duration;

use jiff::Timestamp;

/// Lifetimes of a leaf in the lifetime of a CA.
const CA_LIFETIMES: u32 = 6;
/// Lifetimes of a leaf that are left when a CA is replaced, so that each leaf can live in full.
const CA_RESERVE: u32 = 2;
/// Overlaps in a lifetime.
const OVERLAPS: u32 = 6;
/// Checks in a lifetime.
const CHECKS: u32 = 100;
/// A certificate is valid from this part of its lifetime before its creation, for late clocks.
const BACKDATING: i64 = 20;
/// The longest such time, in seconds.
const MAX_BACKDATING: i64 = 60 * 60;

/// The time in which a certificate is valid, in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first valid second.
    pub not_before: Timestamp,
    /// The first second after it.
    pub not_after: Timestamp,
}

impl Validity {
    fn new(now: Timestamp, life: Duration) -> Self {
        let seconds = i64::try_from(life.as_secs()).unwrap_or(i64::MAX).max(1);
        let end = now.as_second().saturating_add(seconds);
        Self {
            not_before: at(now.as_second() - (seconds / BACKDATING).min(MAX_BACKDATING)),
            not_after: at(end),
        }
    }

    /// The validity of a CA that is created now.
    pub fn of_authority(now: Timestamp, lifetime: Duration) -> Self {
        Self::new(now, lifetime.saturating_mul(CA_LIFETIMES))
    }

    /// The validity of a leaf that this CA signs now. The leaf does not outlive the CA.
    pub fn of_leaf(now: Timestamp, lifetime: Duration, signer: Self) -> Self {
        let Self {
            not_before,
            not_after,
        } = Self::new(now, lifetime);
        Self {
            not_before: not_before.max(signer.not_before),
            not_after: not_after.min(signer.not_after),
        }
    }

    /// Whether the certificate is valid now.
    pub fn covers(&self, now: Timestamp) -> bool {
        self.not_before <= now && now < self.not_after
    }

    /// The time of creation, which is later than `not_before` by the backdating.
    fn created(&self) -> Timestamp {
        let begin = self.not_before.as_second();
        let whole = self.not_after.as_second().saturating_sub(begin);
        at(begin + (whole / (BACKDATING + 1)).min(MAX_BACKDATING))
    }

    fn age(&self, now: Timestamp) -> Duration {
        between(self.created(), now)
    }

    fn left(&self, now: Timestamp) -> Duration {
        between(now, self.not_after)
    }

    fn lifetime(&self) -> Duration {
        between(self.created(), self.not_after)
    }

    /// Whether two thirds of the lifetime are over.
    fn is_due(&self, now: Timestamp) -> bool {
        self.age(now) >= self.lifetime() * 2 / 3
    }

    /// Whether the renewal is late by an overlap of this certificate's own lifetime. This happens
    /// only when the configured lifetime was raised after the creation.
    fn is_overdue(&self, now: Timestamp) -> bool {
        self.age(now) >= self.lifetime() * 2 / 3 + overlap(self.lifetime())
    }
}

/// The leaf that all replicas serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The validity of the leaf.
    pub validity: Validity,
    /// The index of the CA that signed the leaf.
    pub signer: usize,
}

/// The certificates and keys that the replicas share, without their bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldCertificates {
    /// The leaf, if one of the CAs signed it for the Service.
    pub leaf: Option<Leaf>,
    /// The CAs of the bundle.
    pub authorities: Vec<Validity>,
    /// The index of the CA whose key is held.
    pub signing: Option<usize>,
}

impl HeldCertificates {
    /// Whether nothing is missing and all parts fit together.
    pub fn is_complete(&self) -> bool {
        self.leaf.is_some() && self.signing.is_some()
    }

    /// Whether the leaf is valid now.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.leaf.is_some_and(|leaf| leaf.validity.covers(now))
    }
}

/// A step of the renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateStep {
    /// No change.
    Keep,
    /// A CA and a leaf at once: nothing can be served, and no CA can sign.
    Found,
    /// A new leaf of the same CA.
    RenewLeaf,
    /// A new CA in the bundle. Its key replaces the key of the old CA.
    IntroduceCa,
    /// A new leaf of the CA whose key is held.
    SwitchLeafToNewCa,
    /// No CA in the bundle but that of the leaf.
    DropOldCa,
}

/// The time for which both CAs are in the bundle, before and again after the new leaf.
pub fn overlap(lifetime: Duration) -> Duration {
    lifetime / OVERLAPS
}

/// The pause until the next check: a part of the shortest lifetime, and not beyond the expiry of
/// the served leaf.
pub fn pace(leaf: Option<Validity>, lifetime: Duration, now: Timestamp) -> Duration {
    let Some(leaf) = leaf else {
        return lifetime / CHECKS;
    };
    let pause = lifetime.min(leaf.lifetime()) / CHECKS;
    match leaf.left(now) {
        Duration::ZERO => pause,
        left => pause.min(left),
    }
}

/// The next step. `is_trusted` means that the API servers have loaded the current bundle. Until
/// then a new CA signs no leaf, as long as the leaf of the old CA is valid.
pub fn step(
    held: &HeldCertificates,
    lifetime: Duration,
    now: Timestamp,
    is_trusted: bool,
) -> CertificateStep {
    use CertificateStep::{DropOldCa, Found, IntroduceCa, Keep, RenewLeaf, SwitchLeafToNewCa};
    let valid = |index: usize| {
        let authority = held.authorities.get(index)?;
        authority.covers(now).then_some((index, *authority))
    };
    let leaf = held
        .leaf
        .filter(|leaf| leaf.validity.covers(now) && valid(leaf.signer).is_some());
    match (leaf, held.signing.and_then(valid)) {
        (None, None) => Found,
        (None, Some((signing, _))) => match held.leaf {
            Some(leaf) if leaf.signer == signing => RenewLeaf,
            _ => SwitchLeafToNewCa,
        },
        (Some(_), None) => IntroduceCa,
        (Some(Leaf { validity, signer }), Some((signing, authority))) if signer == signing => {
            // The next leaf would expire with the CA, too.
            if validity.is_due(now) && validity.not_after < authority.not_after {
                RenewLeaf
            } else if held.authorities.len() > 1 && validity.age(now) >= overlap(lifetime) {
                DropOldCa
            } else if authority.left(now) <= lifetime.saturating_mul(CA_RESERVE) {
                IntroduceCa
            } else {
                Keep
            }
        }
        (Some(Leaf { validity, .. }), Some((_, authority))) => {
            let is_known = authority.age(now) >= overlap(lifetime);
            if is_trusted && (is_known || validity.is_overdue(now)) {
                SwitchLeafToNewCa
            } else {
                Keep
            }
        }
    }
}

/// The indices of the CAs that stay in the bundle with a step. A new CA comes after them.
pub fn stay(held: &HeldCertificates, step: CertificateStep) -> Vec<usize> {
    use CertificateStep::{DropOldCa, Found, IntroduceCa, Keep, RenewLeaf, SwitchLeafToNewCa};
    let one = |index: Option<usize>| index.into_iter().collect();
    match step {
        Found => Vec::new(),
        Keep | RenewLeaf | SwitchLeafToNewCa => (0..held.authorities.len()).collect(),
        IntroduceCa => one(held.leaf.map(|leaf| leaf.signer)),
        DropOldCa => one(held.signing),
    }
}

fn at(second: i64) -> Timestamp {
    let second = second.clamp(
        Timestamp::MIN.as_second() + 1,
        Timestamp::MAX.as_second() - 1,
    );
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX)
}

/// Zero if `later` is the earlier one.
fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
