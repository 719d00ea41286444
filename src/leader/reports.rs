//! What this process has said and done about pods, so that it says and does it once.
//!
//! It outlives a leadership, and it is bounded. What is forgotten, and what another replica said,
//! the API server remembers: Events have deterministic names.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::warn;

use crate::cluster::client::Clients;
use crate::cluster::registration::Exclusions;

/// So many are remembered; the oldest is forgotten for the next.
const REMEMBERED: usize = 16_384;
/// Pods that a controller made after we deleted its first are left for so long.
const RECREATE_AGAIN: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// See above; there is one per process.
#[derive(Default)]
pub(crate) struct Reports {
    hasher: RandomState,
    memory: Mutex<Memory>,
    /// The watch of pods began anew, and what came and went before is not known.
    pub(crate) gap: Notify,
    unfinished: AtomicBool,
}

#[derive(Default)]
struct Memory {
    /// What is being done, or done: then true.
    done: HashMap<u64, bool>,
    order: VecDeque<u64>,
    /// By controller: when we deleted a pod of it first.
    recreated: HashMap<u64, Timestamp>,
    exclusions: Arc<Exclusions>,
}

/// Whether something is to be done.
pub(crate) enum Claimed<'a> {
    /// By whoever holds this.
    Ours(Claim<'a>),
    /// Somebody is at it.
    Busy,
    /// It is done.
    Done,
}

/// The promise to do something that nobody else does meanwhile. Dropped, it is taken back.
pub(crate) struct Claim<'a> {
    reports: &'a Reports,
    key: u64,
}

impl Claim<'_> {
    /// It is done, and is not to be done again.
    pub(crate) fn done(self) {
        if let Some(is_done) = self.reports.lock().done.get_mut(&self.key) {
            *is_done = true;
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut memory = self.reports.lock();
        if memory.done.get(&self.key) == Some(&false) {
            memory.done.remove(&self.key);
            memory.order.retain(|key| *key != self.key);
        }
    }
}

impl Reports {
    /// A pod could not be told of: another sweep has to see it, and soon.
    pub(crate) fn sweep_soon(&self) {
        self.unfinished.store(true, Ordering::Relaxed);
    }

    /// Whether that was asked for since the last time.
    pub(crate) fn take_unfinished(&self) -> bool {
        self.unfinished.swap(false, Ordering::Relaxed)
    }

    /// Claims to do `what` about a pod.
    pub(crate) fn claim(&self, uid: &str, what: &str) -> Claimed<'_> {
        let key = self.key((uid, what));
        let mut memory = self.lock();
        match memory.done.get(&key) {
            Some(true) => return Claimed::Done,
            Some(false) => return Claimed::Busy,
            None => {}
        }
        memory.done.insert(key, false);
        memory.order.push_back(key);
        if memory.order.len() > REMEMBERED
            && let Some(oldest) = memory.order.pop_front()
        {
            memory.done.remove(&oldest);
        }
        Claimed::Ours(Claim { reports: self, key })
    }

    /// Whether a pod of this controller may be deleted, to be made anew: it was made before we deleted
    /// the first. Where what comes after that lacks the reference, too, deleting it helps nobody.
    pub(crate) fn may_recreate(
        &self,
        controller: &str,
        created: Timestamp,
        now: Timestamp,
    ) -> bool {
        let key = self.key(controller);
        let mut memory = self.lock();
        if memory.recreated.len() >= REMEMBERED {
            memory
                .recreated
                .retain(|_, first| now.duration_since(*first) < RECREATE_AGAIN);
        }
        let first = memory.recreated.entry(key).or_insert(now);
        // The API server tells when a pod was made in whole seconds.
        let is_older = |first: &Timestamp| created.as_second() < first.as_second();
        if !is_older(first) && now.duration_since(*first) >= RECREATE_AGAIN {
            *first = now;
        }
        is_older(first)
    }

    /// What the registration leaves out, as it was read last.
    pub(crate) fn exclusions(&self) -> Arc<Exclusions> {
        self.lock().exclusions.clone()
    }

    /// Reads the registration; again and again until the API server answers.
    pub(crate) async fn read_registration(&self, clients: &Clients) {
        loop {
            match Exclusions::read(&clients.call).await {
                Ok(exclusions) => {
                    self.lock().exclusions = Arc::new(exclusions);
                    return;
                }
                Err(error) => warn!(%error, "cannot read our registration"),
            }
            sleep(Duration::from_secs(1)).await;
        }
    }

    fn key(&self, of: impl Hash) -> u64 {
        self.hasher.hash_one(of)
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours<'a>(reports: &'a Reports, uid: &str, what: &str) -> Claim<'a> {
        match reports.claim(uid, what) {
            Claimed::Ours(claim) => claim,
            Claimed::Busy => panic!("{what} {uid}: busy"),
            Claimed::Done => panic!("{what} {uid}: done"),
        }
    }

    #[test]
    fn what_is_done_is_not_done_again_and_what_is_dropped_is() {
        let reports = Reports::default();
        let claim = ours(&reports, "uid", "told");
        assert!(matches!(reports.claim("uid", "told"), Claimed::Busy));
        drop(claim);
        ours(&reports, "uid", "told").done();
        assert!(matches!(reports.claim("uid", "told"), Claimed::Done));
        ours(&reports, "uid", "deleted").done();
        ours(&reports, "other", "told").done();
    }

    #[test]
    fn memory_is_bounded_and_forgets_the_oldest() {
        let reports = Reports::default();
        for number in 0..=REMEMBERED {
            ours(&reports, &number.to_string(), "told").done();
        }
        assert_eq!(reports.lock().done.len(), REMEMBERED);
        assert_eq!(reports.lock().order.len(), REMEMBERED);
        assert!(matches!(reports.claim("1", "told"), Claimed::Done));
        ours(&reports, "0", "told").done();
    }

    #[test]
    fn what_a_controller_made_after_a_deletion_is_left_for_an_hour() {
        let reports = Reports::default();
        let at = |seconds: i64| Timestamp::new(1_000_000 + seconds, 0).unwrap();
        assert!(reports.may_recreate("set", at(0), at(10)));
        assert!(reports.may_recreate("set", at(9), at(11)));
        // In the second of the deletion: what it is cannot be told.
        assert!(!reports.may_recreate("set", at(10), at(12)));
        assert!(!reports.may_recreate("set", at(11), at(12)));
        assert!(reports.may_recreate("other", at(10), at(12)));
        assert!(!reports.may_recreate("set", at(11), at(3609)));
        assert!(reports.may_recreate("set", at(11), at(3610)));
        assert!(!reports.may_recreate("set", at(3610), at(3612)));
    }
}
