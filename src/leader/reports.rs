//! What this process has reported and done about pods, so that it happens once.
//!
//! The memory outlives a term, and it is bounded. The API server knows what this process forgets and
//! what other replicas reported: Events have deterministic names.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::time::Duration;

use ecr_pull_secrets_core::shares::NoSlot;
use ecr_pull_secrets_core::workload::early_sweeps::EarlySweeps;
use ecr_pull_secrets_core::workload::missed::{PodsUnderWay, ReportedPods};
use ecr_pull_secrets_core::workload::recreation::RecreatedPods;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::clock;

/// The most entries in memory; the oldest makes way for the next.
const MAX_ENTRIES: usize = 16_384;

/// The memory of one process.
pub(crate) struct Reports {
    start: Instant,
    hasher: RandomState,
    memory: Mutex<ReportMemory>,
    /// Notified when the watch of pods starts again: pods may have come and gone unseen.
    pub(crate) gap: Notify,
    early: Mutex<EarlySweeps>,
    /// Notified when a sweep is asked for.
    asked: Notify,
    /// The missed pods that were reported. A sweep of all pods forgets those that are gone.
    pub(crate) missed: Mutex<ReportedPods>,
    /// The controllers of which a pod was deleted.
    pub(crate) recreated: Mutex<RecreatedPods>,
}

#[derive(Default)]
struct ReportMemory {
    /// False while in progress, true when done.
    done: HashMap<u64, bool>,
    order: VecDeque<u64>,
}

/// What this process knows of a missed pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MissedPod {
    Reported,
    New,
    /// It is not known, and could not be remembered: each sweep would report it again.
    NoRoom,
}

/// The answer to a claim.
pub(crate) enum Claimed<'a> {
    /// The caller does it.
    Ours(ReportClaim<'a>),
    /// Another task does it.
    Busy,
    Done,
}

/// The exclusive right to do one thing about one pod. Dropped, it is free again.
pub(crate) struct ReportClaim<'a> {
    reports: &'a Reports,
    key: u64,
}

impl ReportClaim<'_> {
    /// Marks it as done.
    pub(crate) fn done(self) {
        if let Some(is_done) = self.reports.memory.lock().done.get_mut(&self.key) {
            *is_done = true;
        }
    }
}

impl Drop for ReportClaim<'_> {
    fn drop(&mut self) {
        let mut memory = self.reports.memory.lock();
        if memory.done.get(&self.key) == Some(&false) {
            memory.done.remove(&self.key);
            memory.order.retain(|key| *key != self.key);
        }
    }
}

impl Default for Reports {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            hasher: RandomState::default(),
            memory: Mutex::default(),
            gap: Notify::new(),
            early: Mutex::default(),
            asked: Notify::new(),
            missed: Mutex::default(),
            recreated: Mutex::default(),
        }
    }
}

impl Reports {
    /// A pod of a namespace could not be reported, and there was no room for it to wait: the next sweep
    /// must come soon, see [`EarlySweeps::ask`].
    pub(crate) fn sweep_soon(&self, namespace: &str) {
        self.ask(Some(namespace));
    }

    fn ask(&self, namespace: Option<&str>) {
        self.early.lock().ask(namespace, self.start.elapsed());
        self.asked.notify_one();
    }

    /// A sweep begins. It finds the pods for which [`Reports::sweep_soon`] was called before.
    pub(crate) fn begin_sweep(&self) {
        self.early.lock().begin(self.start.elapsed());
    }

    /// Waits until the next sweep is due: after `interval`, after a gap, or early.
    pub(crate) async fn sweep_is_due(&self, interval: Duration) {
        let early = async {
            loop {
                let next = self.early.lock().next();
                tokio::select! {
                    () = clock::at(next.map(|at| self.start + at)) => break,
                    () = self.asked.notified() => {}
                }
            }
        };
        tokio::select! {
            () = sleep(interval) => {}
            () = self.gap.notified() => {}
            () = early => {}
        }
    }

    /// What is known of a missed pod that is under way. Where other namespaces took the memory, a sweep that
    /// comes soon forgets the pods that are gone.
    pub(crate) fn missed_pod(
        &self,
        namespace: &str,
        pod: u64,
        under_way: &PodsUnderWay,
    ) -> MissedPod {
        let mut missed = self.missed.lock();
        if missed.has(namespace, pod) {
            return MissedPod::Reported;
        }
        match missed.room(namespace, under_way) {
            Ok(()) => MissedPod::New,
            Err(NoSlot::Namespace) => MissedPod::NoRoom,
            Err(NoSlot::Replica) => {
                // The memory is full for all. A sweep brings nothing while the pods in it live.
                self.ask(None);
                MissedPod::NoRoom
            }
        }
    }

    /// Claims to do `what` about a pod.
    pub(crate) fn claim(&self, uid: &str, what: &str) -> Claimed<'_> {
        let key = self.key((uid, what));
        let mut memory = self.memory.lock();
        match memory.done.get(&key) {
            Some(true) => return Claimed::Done,
            Some(false) => return Claimed::Busy,
            None => {}
        }
        memory.done.insert(key, false);
        memory.order.push_back(key);
        if memory.order.len() > MAX_ENTRIES
            && let Some(oldest) = memory.order.pop_front()
        {
            memory.done.remove(&oldest);
        }
        Claimed::Ours(ReportClaim { reports: self, key })
    }

    /// Whether `what` was done about a pod.
    pub(crate) fn is_done(&self, uid: &str, what: &str) -> bool {
        self.memory.lock().done.get(&self.key((uid, what))) == Some(&true)
    }

    /// A pod in [`Reports::missed`].
    pub(crate) fn key_of(&self, uid: &str) -> u64 {
        self.key(uid)
    }

    fn key(&self, of: impl Hash) -> u64 {
        self.hasher.hash_one(of)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::FutureExt as _;
    use tokio::time::timeout;

    use super::*;

    fn ours<'a>(reports: &'a Reports, uid: &str, what: &str) -> ReportClaim<'a> {
        match reports.claim(uid, what) {
            Claimed::Ours(claim) => claim,
            Claimed::Busy => panic!("{what} {uid}: busy"),
            Claimed::Done => panic!("{what} {uid}: done"),
        }
    }

    #[test]
    fn done_report_is_never_claimed_again() {
        let reports = Reports::default();
        let claim = ours(&reports, "uid", "reported");
        assert!(matches!(reports.claim("uid", "reported"), Claimed::Busy));
        drop(claim);
        ours(&reports, "uid", "reported").done();
        assert!(matches!(reports.claim("uid", "reported"), Claimed::Done));
        ours(&reports, "uid", "deleted").done();
        ours(&reports, "other", "reported").done();
    }

    #[test]
    fn full_memory_forgets_the_oldest_entry() {
        let reports = Reports::default();
        for number in 0..=MAX_ENTRIES {
            ours(&reports, &number.to_string(), "reported").done();
        }
        assert_eq!(reports.memory.lock().done.len(), MAX_ENTRIES);
        assert_eq!(reports.memory.lock().order.len(), MAX_ENTRIES);
        assert!(matches!(reports.claim("1", "reported"), Claimed::Done));
        ours(&reports, "0", "reported").done();
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn report_refused_between_sweeps_brings_one_soon() {
        let mut reports = Reports::default();
        {
            let mut due = pin!(reports.sweep_is_due(HOUR));
            for _ in 0..3 {
                reports.sweep_soon("team");
                assert_eq!(due.as_mut().now_or_never(), None, "the pause holds");
            }
            // A gap ends it.
            reports.gap.notify_one();
            assert_eq!(due.now_or_never(), Some(()));
        }
        // The same once the pause is over.
        reports.start = reports.start.checked_sub(HOUR / 2).expect("a time");
        let due = timeout(HOUR / 60, reports.sweep_is_due(HOUR));
        due.await.expect("a sweep");
        // This sweep finds the pods that were refused before it, and not those refused meanwhile.
        reports.begin_sweep();
        assert_eq!(reports.early.lock().next(), None);
        reports.sweep_soon("team");
        assert!(reports.early.lock().next().is_some());
    }

    #[tokio::test]
    async fn request_wakes_a_wait_for_the_next_sweep() {
        let mut reports = Reports::default();
        reports.start = reports.start.checked_sub(HOUR).expect("a time");
        let due = reports.sweep_is_due(HOUR);
        // Asked for an hour ago, after the wait began.
        let asked = async {
            reports.early.lock().ask(Some("team"), Duration::ZERO);
            reports.asked.notify_one();
        };
        let both = async { futures::join!(due, asked) };
        timeout(HOUR / 60, both).await.expect("a sweep");
    }

    #[test]
    fn full_memory_of_missed_pods_brings_sweep() {
        let reports = Reports::default();
        let mut pod = 0;
        let mut fill = |namespace: &str| {
            let known = |pod| {
                let mut under_way = PodsUnderWay::default();
                under_way.begin(namespace, pod);
                reports.missed_pod(namespace, pod, &under_way)
            };
            while known(pod) == MissedPod::New {
                reports.missed.lock().note(namespace, pod);
                assert_eq!(known(pod), MissedPod::Reported);
                pod += 1;
            }
            reports.early.lock().next().is_some()
        };
        assert!(!fill("tenant"), "its share is full");
        for namespace in ["b", "c", "d"] {
            fill(namespace);
        }
        assert!(fill("team"), "the memory is full");
    }
}
