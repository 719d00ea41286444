//! The missed pods of one term that are being reported, and the groups that share an Event.

use std::sync::Arc;

use ecr_pull_secrets_core::workload::missed::{
    EventPace, GroupReport, MissedGroup, MissedGroups, PodsUnderWay,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;
use parking_lot::Mutex;
use tokio::sync::{Notify, OnceCell};
use tokio::time::Instant;

use crate::clock;

/// The most by which the clocks of a replica and of the API server differ.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(5);

/// One for each term.
pub(super) struct Missed {
    start: Instant,
    began: Timestamp,
    /// When the installation began, once it is known.
    pub(super) installed: OnceCell<Option<Timestamp>>,
    pace: Mutex<EventPace>,
    under_way: Arc<Mutex<PodsUnderWay>>,
    groups: Mutex<MissedGroups<ObjectReference>>,
    changed: Notify,
}

/// A missed pod that is being reported. Its report is over when this is dropped.
#[derive(Debug)]
pub(super) struct UnderWay {
    all: Arc<Mutex<PodsUnderWay>>,
    namespace: Arc<str>,
    /// The hash of its uid.
    pub(super) pod: u64,
    /// Whether a group reports it instead.
    is_in_group: bool,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if !self.is_in_group {
            self.all.lock().end(&self.namespace, self.pod);
        }
    }
}

impl Missed {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            began: clock::now(),
            installed: OnceCell::new(),
            pace: Mutex::default(),
            under_way: Arc::default(),
            groups: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Begins to report a pod, unless another task does.
    pub(super) fn begin(&self, namespace: &Arc<str>, pod: u64) -> Option<UnderWay> {
        let is_ours = self.under_way.lock().begin(namespace, pod);
        is_ours.then(|| UnderWay {
            all: self.under_way.clone(),
            namespace: namespace.clone(),
            pod,
            is_in_group: false,
        })
    }

    /// Reads which pods are being reported.
    pub(super) fn under_way<T>(&self, read: impl FnOnce(&PodsUnderWay) -> T) -> T {
        read(&self.under_way.lock())
    }

    /// Whether a pod of a namespace may get an Event of its own now.
    pub(super) fn may_stand_alone(&self, namespace: &str) -> bool {
        self.pace.lock().take(namespace, self.start.elapsed())
    }

    /// Adds a pod to a group: see [`MissedGroups::add`].
    pub(super) fn add(
        &self,
        group: &MissedGroup,
        mut pod: UnderWay,
        created: Option<Timestamp>,
    ) -> bool {
        let now = self.start.elapsed();
        let is_added = self.groups.lock().add(group, pod.pod, created, now);
        pod.is_in_group = is_added;
        self.changed.notify_one();
        is_added
    }

    /// Whether a pod came in this term: no earlier leader reported it.
    pub(super) fn is_of_this_term(&self, created: Option<Timestamp>) -> bool {
        created.is_some_and(|created| created > self.began + CLOCK_TOLERANCE)
    }

    /// Reads or changes the groups.
    pub(super) fn groups<T>(
        &self,
        change: impl FnOnce(&mut MissedGroups<ObjectReference>) -> T,
    ) -> T {
        change(&mut self.groups.lock())
    }

    /// Waits until an Event of a group is due.
    pub(super) async fn next(&self) -> GroupReport<ObjectReference> {
        loop {
            let next = self.groups.lock().next();
            tokio::select! {
                () = clock::at(next.map(|at| self.start + at)) => {}
                () = self.changed.notified() => {}
            }
            if let Some(report) = self.groups.lock().begin(self.start.elapsed()) {
                return report;
            }
        }
    }

    /// Ends an attempt: see [`MissedGroups::end`].
    pub(super) fn end_attempt(&self, report: &GroupReport<ObjectReference>, is_done: bool) {
        let now = self.start.elapsed();
        self.groups.lock().end(report, is_done, now);
        if is_done {
            let mut under_way = self.under_way.lock();
            let pods = report.pods.iter();
            pods.for_each(|pod| under_way.end(&report.group.namespace, *pod));
        }
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> MissedGroup {
        MissedGroup {
            namespace: "team".into(),
            controller: None,
            opts_in: false,
        }
    }

    #[tokio::test]
    async fn report_that_ends_anyhow_frees_its_pod() {
        let (missed, team) = (Missed::new(), Arc::from("team"));
        let first = missed.begin(&team, 1).expect("ours");
        assert!(missed.begin(&team, 1).is_none());
        drop(first);
        // A group that made way does not take it.
        let again = missed.begin(&team, 1).expect("free again");
        assert!(!missed.add(&group(), again, None));
        assert!(missed.begin(&team, 1).is_some());
    }

    #[tokio::test]
    async fn group_frees_its_pods_once_reported() {
        let (missed, team) = (Missed::new(), Arc::from("team"));
        missed.groups(|groups| groups.learn(&group(), ObjectReference::default(), None));
        let pod = missed.begin(&team, 1).expect("ours");
        assert!(missed.add(&group(), pod, None));
        assert!(missed.begin(&team, 1).is_none(), "it waits");
        let report = missed.next().await;
        missed.end_attempt(&report, true);
        assert!(missed.begin(&team, 1).is_some());
    }
}
