//! What becomes of an entry of a pull Secret.
//!
//! The Secret says what it holds. Whether an entry is renewed, pods and the configuration say: a
//! tenant can write anything into a Secret.

use super::wanted::WantedRegistries;
use crate::config::Config;
use crate::selection::Wish;
use crate::target::Target;
use crate::workload::claim::{NamespaceFact, SecretClaim};

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryFate {
    /// It is renewed, because this wants it.
    Renew(SecretClaim),
    /// It expires and stays: nothing wants it now, but a pod may.
    Expire,
    /// It expires, and is then removed: the rules deny it, or the namespace is opted out.
    Withdraw,
}

/// What becomes of the entry of a host. `fact` is the namespace's, if it is known; `is_allowed` is
/// the verdict of the rules.
pub fn fate(
    wanted: &WantedRegistries,
    config: &Config,
    target: &Target,
    host: &str,
    fact: Option<NamespaceFact>,
    is_allowed: bool,
) -> EntryFate {
    let Some(fact @ NamespaceFact::Active(_)) = fact else {
        return EntryFate::Expire;
    };
    if !is_allowed {
        return EntryFate::Withdraw;
    }
    let counts = |claim: SecretClaim| claim.counts(config, &target.namespace, fact);
    match wanted.claim(target, host).filter(|claim| counts(*claim)) {
        Some(claim) => EntryFate::Renew(claim),
        None if counts(SecretClaim::Pods(Wish::None)) => EntryFate::Expire,
        // A pod there may opt in by itself, until a sweep has found none.
        None if counts(SecretClaim::Pods(Wish::In)) && !wanted.is_swept() => EntryFate::Expire,
        None => match wanted.is_provisioned(target) {
            Some(false) => EntryFate::Withdraw,
            Some(true) | None => EntryFate::Expire,
        },
    }
}

#[cfg(test)]
mod tests;
