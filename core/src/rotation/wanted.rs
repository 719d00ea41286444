//! What pods and the configuration want of each pull Secret: the registries, as far as the leader
//! has seen in its term.
//!
//! A *sweep* is a list of all pods. When it ends, what it brought replaces what was known before, but
//! pods that came during the sweep stay. Namespaces and hosts are kept as hashes with a seed of this
//! process, because ten thousand namespaces must fit into a third of a MiB. Without the seed, no tenant
//! can choose two names with the same hash.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, RandomState};

use crate::pull_secret::MAX_REGISTRIES;
use crate::selection::Wish;
use crate::target::Target;
use crate::workload::claim::SecretClaim;

/// The most registries of one Secret that are remembered: one more than the Secret can hold.
const MAX_BY_PODS: usize = MAX_REGISTRIES + 1;
/// Stands for no registry: pods name the Secret, and that is all.
const NAMED: u64 = 0;

/// The hashes of a Secret and of a host.
type Key = (u64, u64);

/// The registries that are wanted of all pull Secrets.
#[derive(Debug, Default)]
pub struct WantedRegistries {
    hasher: RandomState,
    by_pods: BTreeMap<Key, PodWant>,
    by_configuration: BTreeSet<Key>,
    /// The number of sweeps that began.
    sweeps: u64,
    is_swept: bool,
    is_configuration_known: bool,
    edition: u64,
}

/// What pods want of one registry.
#[derive(Clone, Copy, Debug)]
struct PodWant {
    /// A pod opts in by its own label.
    opts_in: bool,
    /// The same, of the pods since the last sweep began.
    opts_in_now: bool,
    /// A pod was seen since the last sweep began.
    is_seen: bool,
}

/// A sweep under way. A sweep that began later, or a new term, makes it void.
#[derive(Debug)]
pub struct Sweep(u64);

impl WantedRegistries {
    /// Forgets everything: a term of leadership begins or ends.
    pub fn forget(&mut self) {
        self.by_pods.clear();
        self.by_configuration.clear();
        self.sweeps += 1;
        self.is_swept = false;
        self.is_configuration_known = false;
        self.edition += 1;
    }

    /// A number that is another one whenever an answer may be another one.
    pub fn edition(&self) -> u64 {
        self.edition
    }

    /// Whether a sweep has ended: pods that were not seen do not exist.
    pub fn is_swept(&self) -> bool {
        self.is_swept
    }

    /// Begins a sweep.
    pub fn begin_sweep(&mut self) -> Sweep {
        self.sweeps += 1;
        for want in self.by_pods.values_mut() {
            (want.is_seen, want.opts_in_now) = (false, false);
        }
        Sweep(self.sweeps)
    }

    /// Ends a sweep that listed every pod: what was not seen since it began is not wanted any more.
    pub fn end_sweep(&mut self, Sweep(number): Sweep) {
        if number != self.sweeps {
            return;
        }
        self.by_pods.retain(|_, want| {
            want.opts_in = want.opts_in_now;
            want.is_seen
        });
        self.is_swept = true;
        self.edition += 1;
    }

    /// Notes that a pod names the Secret, and wants nothing of it.
    pub fn note_name(&mut self, target: &Target) {
        let key = (self.hash(target), NAMED);
        self.note(key, Wish::None);
    }

    /// Notes that a pod which names the Secret wants it to open these hosts; `wish` is that of its
    /// own label.
    pub fn note_pod<'a>(
        &mut self,
        target: &Target,
        wish: Wish,
        hosts: impl IntoIterator<Item = &'a str>,
    ) {
        let secret = self.hash(target);
        let mut hosts = hosts.into_iter().peekable();
        // A registry implies the name: ten thousand namespaces need no second entry each.
        if hosts.peek().is_none() {
            return self.note((secret, NAMED), Wish::None);
        }
        for host in hosts {
            let key = (secret, self.hash_of_host(host));
            let is_full = || self.of_secret(secret).count() >= MAX_BY_PODS;
            if !self.by_pods.contains_key(&key) && is_full() && !self.make_room(secret) {
                return;
            }
            self.note(key, wish);
        }
    }

    /// Replaces the hosts that the configuration wants of a Secret.
    pub fn provision<'a>(&mut self, target: &Target, hosts: impl IntoIterator<Item = &'a str>) {
        let secret = self.hash(target);
        let new: BTreeSet<Key> = hosts
            .into_iter()
            .map(|host| (secret, self.hash_of_host(host)))
            .collect();
        let all = (secret, u64::MIN)..=(secret, u64::MAX);
        let old: BTreeSet<Key> = self.by_configuration.range(all).copied().collect();
        if new != old {
            for key in old {
                self.by_configuration.remove(&key);
            }
            self.by_configuration.extend(new);
            self.edition += 1;
        }
    }

    /// Every namespace has been checked for what the configuration wants in it.
    pub fn provision_is_known(&mut self) {
        if !self.is_configuration_known {
            self.is_configuration_known = true;
            self.edition += 1;
        }
    }

    /// Whether pods name the Secret; `None` before the first sweep has ended.
    pub fn is_named(&self, target: &Target) -> Option<bool> {
        let secret = self.hash(target);
        let all = (secret, u64::MIN)..=(secret, u64::MAX);
        let is_named = self.by_pods.range(all).next().is_some();
        (is_named || self.is_swept).then_some(is_named)
    }

    /// Whether the configuration wants anything of the Secret; `None` until that is known.
    pub fn is_provisioned(&self, target: &Target) -> Option<bool> {
        let secret = self.hash(target);
        let all = (secret, u64::MIN)..=(secret, u64::MAX);
        let is_provisioned = self.by_configuration.range(all).next().is_some();
        (is_provisioned || self.is_configuration_known).then_some(is_provisioned)
    }

    /// What wants a host of a Secret. Pods count only after a sweep has ended.
    pub fn claim(&self, target: &Target, host: &str) -> Option<SecretClaim> {
        let key = (self.hash(target), self.hash_of_host(host));
        if self.by_configuration.contains(&key) {
            return Some(SecretClaim::Configuration);
        }
        let want = self.by_pods.get(&key).filter(|_| self.is_swept)?;
        Some(SecretClaim::Pods(if want.opts_in {
            Wish::In
        } else {
            Wish::None
        }))
    }

    fn note(&mut self, key: Key, wish: Wish) {
        let mut is_news = false;
        let want = self.by_pods.entry(key).or_insert_with(|| {
            is_news = true;
            PodWant {
                opts_in: false,
                opts_in_now: false,
                is_seen: false,
            }
        });
        want.is_seen = true;
        if wish == Wish::In {
            is_news |= !want.opts_in;
            (want.opts_in, want.opts_in_now) = (true, true);
        }
        if is_news {
            self.edition += 1;
        }
    }

    /// Removes a registry of a Secret that no pod was seen to want since the last sweep began, if
    /// there is one: while a sweep is under way, pods that are gone take no room.
    fn make_room(&mut self, secret: u64) -> bool {
        let mut all = self.by_pods.range((secret, NAMED + 1)..=(secret, u64::MAX));
        let unseen = all.find(|(_, want)| !want.is_seen).map(|(key, _)| *key);
        unseen.is_some_and(|key| self.by_pods.remove(&key).is_some())
    }

    /// The hosts that pods want of a Secret, as hashes.
    fn of_secret(&self, secret: u64) -> impl Iterator<Item = u64> {
        let all = (secret, NAMED + 1)..=(secret, u64::MAX);
        self.by_pods.range(all).map(|((_, host), _)| *host)
    }

    fn hash(&self, target: &Target) -> u64 {
        self.hasher.hash_one(target)
    }

    fn hash_of_host(&self, host: &str) -> u64 {
        self.hasher.hash_one(host).max(NAMED + 1)
    }
}

#[cfg(test)]
mod tests;
