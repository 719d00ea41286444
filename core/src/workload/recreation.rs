//! Which missed pods may be deleted, so that their controllers re-create them.
//!
//! The new pod may lack the reference as well, if the API server still cannot reach a replica. That
//! pod stays for an hour, or the deletions would never end.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};

use jiff::{SignedDuration, Timestamp};

use super::standing::PodPhase;
use crate::config::Repair;

/// The most controllers in memory.
const MAX_CONTROLLERS: usize = 16_384;
/// Those of one namespace.
const MAX_OF_NAMESPACE: usize = 1024;
/// The time for which a controller's new pods stay, after the deletion of its first.
const RECREATE_INTERVAL: SignedDuration = SignedDuration::from_hours(1);
/// The least age of a pod that is deleted. The API server gives ages in whole seconds, and a pod
/// that comes after a deletion must be told from one that was there before.
const MIN_AGE: SignedDuration = SignedDuration::from_secs(2);

/// Whether a missed pod may be deleted as far as it says itself: it waits, and no container of it
/// has run. `controller` is the controller that replaces it, if any.
pub fn is_candidate(
    repair: &Repair,
    phase: PodPhase,
    has_started: bool,
    controller: Option<&str>,
) -> bool {
    repair.recreate_pods && phase == PodPhase::Pending && !has_started && controller.is_some()
}

/// Whether a pod is old enough to be deleted.
pub fn is_due(created: Timestamp, now: Timestamp) -> bool {
    now.duration_since(created) >= MIN_AGE
}

/// The controllers of which a pod was deleted.
#[derive(Debug, Default)]
pub struct RecreatedPods {
    hasher: RandomState,
    /// The time of the first deletion, by the hashes of namespace and controller.
    first: BTreeMap<(u64, u64), Timestamp>,
}

impl RecreatedPods {
    /// Whether a pod of this controller may be deleted: it is older than our first deletion. If newer
    /// pods lack the reference as well, deleting them does not help. A pod names its controller
    /// itself, so a controller counts in each namespace alone.
    pub fn may_delete(
        &mut self,
        namespace: &str,
        controller: &str,
        created: Timestamp,
        now: Timestamp,
    ) -> bool {
        let namespace = self.hasher.hash_one(namespace);
        let key = (namespace, self.hasher.hash_one(controller));
        if !self.first.contains_key(&key) && self.is_full(namespace) {
            self.first
                .retain(|_, first| now.duration_since(*first) < RECREATE_INTERVAL);
            // The next sweep sees the pod again.
            if self.is_full(namespace) {
                return false;
            }
        }
        let first = self.first.entry(key).or_insert(now);
        // The API server gives creation times in whole seconds.
        let is_older = |first: &Timestamp| created.as_second() < first.as_second();
        if !is_older(first) && now.duration_since(*first) >= RECREATE_INTERVAL {
            *first = now;
        }
        is_older(first)
    }

    /// Whether there is no room for another controller of a namespace.
    fn is_full(&self, namespace: u64) -> bool {
        let beside = self
            .first
            .range((namespace, u64::MIN)..=(namespace, u64::MAX));
        self.first.len() >= MAX_CONTROLLERS || beside.count() >= MAX_OF_NAMESPACE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::new(1_000_000 + seconds, 0).unwrap()
    }

    #[test]
    fn only_waiting_pod_of_a_controller_is_candidate() {
        let repair = Repair {
            recreate_pods: true,
        };
        let judge = |phase, has_started, controller| {
            assert!(!is_candidate(
                &Repair::default(),
                phase,
                has_started,
                controller
            ));
            is_candidate(&repair, phase, has_started, controller)
        };
        assert!(judge(PodPhase::Pending, false, Some("set")));
        assert!(!judge(PodPhase::Pending, false, None));
        assert!(!judge(PodPhase::Pending, true, Some("set")));
        for phase in [PodPhase::Running, PodPhase::Ended] {
            assert!(!judge(phase, false, Some("set")), "{phase:?}");
        }
    }

    #[test]
    fn pod_is_due_after_two_seconds() {
        assert!(!is_due(at(0), at(1)) && is_due(at(0), at(2)));
        // The clock of the API server is ahead.
        assert!(!is_due(at(5), at(2)));
    }

    #[test]
    fn pods_after_a_deletion_stay_for_an_hour() {
        let mut pods = RecreatedPods::default();
        assert!(pods.may_delete("team", "set", at(0), at(10)));
        assert!(pods.may_delete("team", "set", at(9), at(11)));
        // In the second of the deletion: what it is cannot be told.
        assert!(!pods.may_delete("team", "set", at(10), at(12)));
        assert!(!pods.may_delete("team", "set", at(11), at(12)));
        assert!(pods.may_delete("team", "other", at(10), at(12)));
        assert!(pods.may_delete("tenant", "set", at(10), at(12)));
        assert!(!pods.may_delete("team", "set", at(11), at(3609)));
        assert!(pods.may_delete("team", "set", at(11), at(3610)));
        assert!(!pods.may_delete("team", "set", at(3610), at(3612)));
    }

    #[test]
    fn controllers_of_one_namespace_are_bounded() {
        let mut pods = RecreatedPods::default();
        for number in 0..MAX_OF_NAMESPACE {
            assert!(pods.may_delete("hostile", &number.to_string(), at(0), at(10)));
        }
        assert!(!pods.may_delete("hostile", "next", at(0), at(11)));
        assert!(pods.may_delete("hostile", "0", at(0), at(11)));
        assert!(pods.may_delete("team", "set", at(0), at(11)));
        assert!(pods.may_delete("hostile", "next", at(0), at(3610)));
    }
}
