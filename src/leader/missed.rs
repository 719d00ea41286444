//! The missed pods of one term that are being reported, and the groups that share an Event.

use std::collections::HashSet;

use ecr_pull_secrets_core::workload::missed::{EventPace, GroupReport, MissedGroup, MissedGroups};
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
    /// The pods that are being reported, as hashes of their uids.
    under_way: Mutex<HashSet<u64>>,
    groups: Mutex<MissedGroups<ObjectReference>>,
    changed: Notify,
}

impl Missed {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            began: clock::now(),
            installed: OnceCell::new(),
            pace: Mutex::default(),
            under_way: Mutex::default(),
            groups: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Begins to report a pod, unless another task does. The caller ends it.
    pub(super) fn begin(&self, pod: u64) -> bool {
        self.under_way.lock().insert(pod)
    }

    /// The report of a pod is over.
    pub(super) fn end(&self, pod: u64) {
        self.under_way.lock().remove(&pod);
    }

    /// Whether a pod of a namespace may get an Event of its own now.
    pub(super) fn may_stand_alone(&self, namespace: &str) -> bool {
        self.pace.lock().take(namespace, self.start.elapsed())
    }

    /// Adds a pod to a group: see [`MissedGroups::add`].
    pub(super) fn add(&self, group: &MissedGroup, pod: u64, created: Option<Timestamp>) -> bool {
        let now = self.start.elapsed();
        let is_added = self.groups.lock().add(group, pod, created, now);
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
            report.pods.iter().for_each(|pod| {
                under_way.remove(pod);
            });
        }
        self.changed.notify_one();
    }
}
