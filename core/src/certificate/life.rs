//! The life of a self-signed serving certificate: when it is made, renewed, and by which CA.
//!
//! The API server trusts the CAs in the registration's `caBundle`. So a new CA is announced there
//! first, signs its first leaf an *overlap* later, and the old one goes when that leaf has been
//! served for an overlap. A leaf that would end before its overlap does, because the lifetime was
//! raised, is replaced earlier. Which of these steps comes next follows from what is held and from the
//! time alone; there is nothing to remember, and any replica may take it. One step at a time.
//!
//! A leaf lives for the configured lifetime and is renewed at two thirds of it; a CA lives six
//! times as long and is replaced when two lifetimes are left; an overlap is a sixth of a lifetime.

use std::time::Duration;

use jiff::Timestamp;

/// A CA lives so many lifetimes of a leaf,
const CA_LIVES: u32 = 6;
/// and is replaced when so many are left, so that every leaf can live to its end.
const CA_SPARE: u32 = 2;
/// An overlap is this part of a lifetime.
const OVERLAP: u32 = 6;
/// So many looks in a life.
const LOOKS: u32 = 100;
/// Certificates begin before they are made, for clocks that are late: by this part of their life,
const EARLIER: i64 = 20;
/// but not by more than an hour.
const EARLIEST: i64 = 60 * 60;

/// From when until when a certificate is good, in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub not_before: Timestamp,
    /// The end.
    pub not_after: Timestamp,
}

impl Validity {
    fn new(now: Timestamp, life: Duration) -> Self {
        let seconds = i64::try_from(life.as_secs()).unwrap_or(i64::MAX).max(1);
        let end = now.as_second().saturating_add(seconds);
        Self {
            not_before: at(now.as_second() - (seconds / EARLIER).min(EARLIEST)),
            not_after: at(end),
        }
    }

    /// Of a CA that is made now.
    pub fn of_authority(now: Timestamp, lifetime: Duration) -> Self {
        Self::new(now, lifetime.saturating_mul(CA_LIVES))
    }

    /// Of a leaf that this CA signs now. It does not outlive the CA.
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

    /// Whether it is good now.
    pub fn covers(&self, now: Timestamp) -> bool {
        self.not_before <= now && now < self.not_after
    }

    /// When it was made: later than it begins, see [`EARLIER`].
    fn born(&self) -> Timestamp {
        let begin = self.not_before.as_second();
        let whole = self.not_after.as_second().saturating_sub(begin);
        at(begin + (whole / (EARLIER + 1)).min(EARLIEST))
    }

    fn age(&self, now: Timestamp) -> Duration {
        between(self.born(), now)
    }

    fn left(&self, now: Timestamp) -> Duration {
        between(now, self.not_after)
    }

    fn life(&self) -> Duration {
        between(self.born(), self.not_after)
    }

    /// Whether it is time for another.
    fn is_due(&self, now: Timestamp) -> bool {
        self.age(now) >= self.life() * 2 / 3
    }

    /// Whether another is due by an overlap of its own: longer than any that began before, unless
    /// the lifetime was raised since.
    fn is_overdue(&self, now: Timestamp) -> bool {
        self.age(now) >= self.life() * 2 / 3 + overlap(self.life())
    }
}

/// The certificate that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Its time.
    pub validity: Validity,
    /// Which of the authorities signed it.
    pub signer: usize,
}

/// What the replicas hold in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// None where what is there is none of ours.
    pub leaf: Option<Leaf>,
    /// The CAs of the bundle.
    pub authorities: Vec<Validity>,
    /// The one whose key is held.
    pub signing: Option<usize>,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Keep,
    /// There is nothing that could be served or signed with: a CA and a leaf, at once.
    Found,
    /// A new leaf of the same CA.
    RenewLeaf,
    /// A new CA goes into the bundle, and its key takes the place of the old one's.
    IntroduceCa,
    /// A new leaf of the CA whose key is held.
    SwitchLeafToNewCa,
    /// The bundle holds none but the CA of the leaf from now on.
    DropOldCa,
}

/// How long both CAs are in the bundle before and after the change of the leaf.
pub fn overlap(lifetime: Duration) -> Duration {
    lifetime / OVERLAP
}

/// How soon to look again: often in the shortest life, and when the leaf that is served has ended.
pub fn pace(leaf: Option<Validity>, lifetime: Duration, now: Timestamp) -> Duration {
    let Some(leaf) = leaf else {
        return lifetime / LOOKS;
    };
    let pause = lifetime.min(leaf.life()) / LOOKS;
    match leaf.left(now) {
        Duration::ZERO => pause,
        left => pause.min(left),
    }
}

/// The next step. `is_trusted` says that the API server has been given the present bundle: until
/// then no leaf goes over to a new CA, as long as the one of the old CA is good.
pub fn step(held: &Held, lifetime: Duration, now: Timestamp, is_trusted: bool) -> Step {
    let good = |index: usize| {
        let authority = held.authorities.get(index)?;
        authority.covers(now).then_some((index, *authority))
    };
    let leaf = held
        .leaf
        .filter(|leaf| leaf.validity.covers(now) && good(leaf.signer).is_some());
    match (leaf, held.signing.and_then(good)) {
        (None, None) => Step::Found,
        (None, Some((signing, _))) => match held.leaf {
            Some(leaf) if leaf.signer == signing => Step::RenewLeaf,
            _ => Step::SwitchLeafToNewCa,
        },
        (Some(_), None) => Step::IntroduceCa,
        (Some(Leaf { validity, signer }), Some((signing, authority))) if signer == signing => {
            // One that ends with its CA would be no longer a second time.
            if validity.is_due(now) && validity.not_after < authority.not_after {
                Step::RenewLeaf
            } else if held.authorities.len() > 1 && validity.age(now) >= overlap(lifetime) {
                Step::DropOldCa
            } else if authority.left(now) <= lifetime.saturating_mul(CA_SPARE) {
                Step::IntroduceCa
            } else {
                Step::Keep
            }
        }
        (Some(Leaf { validity, .. }), Some((_, authority))) => {
            let is_known = authority.age(now) >= overlap(lifetime);
            if is_trusted && (is_known || validity.is_overdue(now)) {
                Step::SwitchLeafToNewCa
            } else {
                Step::Keep
            }
        }
    }
}

/// Which of the authorities stay in the bundle with a step, by index. A new one comes after them.
pub fn stay(held: &Held, step: Step) -> Vec<usize> {
    let one = |index: Option<usize>| index.into_iter().collect();
    match step {
        Step::Found => Vec::new(),
        Step::Keep | Step::RenewLeaf | Step::SwitchLeafToNewCa => {
            (0..held.authorities.len()).collect()
        }
        Step::IntroduceCa => one(held.leaf.map(|leaf| leaf.signer)),
        Step::DropOldCa => one(held.signing),
    }
}

fn at(second: i64) -> Timestamp {
    let second = second.clamp(
        Timestamp::MIN.as_second() + 1,
        Timestamp::MAX.as_second() - 1,
    );
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX)
}

/// Nothing where the second is earlier.
fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
