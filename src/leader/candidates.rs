//! Missed pods that may be deleted, so that their controllers re-create them.

use std::collections::VecDeque;
use std::time::Duration;

use ecr_pull_secrets_core::backoff::Backoff;
use ecr_pull_secrets_core::selection::Wish;
use ecr_pull_secrets_core::version::ObjectVersion;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Candidates that may wait; the next sweep sees the others again.
const MAX_CANDIDATES: usize = 4096;
/// Those of one namespace.
const MAX_OF_NAMESPACE: usize = 1024;

/// The pauses of a candidate whose deletion the API server did not answer.
const PAUSES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

/// A pod that may be deleted.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) about: ObjectReference,
    pub(super) version: ObjectVersion,
    /// The wish of its own label.
    pub(super) wish: Wish,
    /// The uid of its controller.
    pub(super) controller: String,
    pub(super) created: Timestamp,
    pub(super) pause: DeletionPause,
}

/// How long a candidate waits after attempts in vain. Others go on meanwhile: the pod itself may be why.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DeletionPause {
    failures: u32,
    until: Option<Instant>,
}

impl DeletionPause {
    pub(super) fn is_over(self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    /// The pause after one more attempt in vain.
    pub(super) fn begin(&mut self, now: Instant) {
        self.failures += 1;
        self.until = Some(now + PAUSES.nth(self.failures));
    }
}

/// The candidates of one term, in the order in which they were seen.
#[derive(Debug, Default)]
pub(super) struct Candidates(Mutex<VecDeque<Candidate>>);

impl Candidates {
    /// Adds one, if there is room. What waits for its pod already is replaced, and the longer pause holds.
    pub(super) fn add(&self, mut candidate: Candidate) {
        let mut all = self.0.lock();
        let about = &candidate.about;
        if let Some(waiting) = all.iter_mut().find(|one| one.about.uid == about.uid) {
            if waiting.pause.until > candidate.pause.until {
                candidate.pause = waiting.pause;
            }
            *waiting = candidate;
            return;
        }
        let is_beside = |one: &&Candidate| one.about.namespace == about.namespace;
        if all.len() < MAX_CANDIDATES && all.iter().filter(is_beside).count() < MAX_OF_NAMESPACE {
            all.push_back(candidate);
        }
    }

    /// Takes out the first one of which this holds.
    pub(super) fn take(&self, is_due: impl Fn(&Candidate) -> bool) -> Option<Candidate> {
        let mut all = self.0.lock();
        let index = all.iter().position(is_due)?;
        all.remove(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(namespace: &str, uid: usize) -> Candidate {
        Candidate {
            about: ObjectReference {
                namespace: Some(namespace.to_owned()),
                uid: Some(uid.to_string()),
                ..ObjectReference::default()
            },
            version: ObjectVersion {
                uid: uid.to_string(),
                version: "1".to_owned(),
            },
            wish: Wish::None,
            controller: "set".to_owned(),
            created: Timestamp::UNIX_EPOCH,
            pause: DeletionPause::default(),
        }
    }

    #[tokio::test]
    async fn paused_candidate_holds_up_no_other() {
        let candidates = Candidates::default();
        let now = Instant::now();
        let take = |at| candidates.take(|one| one.pause.is_over(at));
        candidates.add(candidate("tenant", 1));
        candidates.add(candidate("team", 2));
        let mut stuck = take(now).unwrap();
        stuck.pause.begin(now);
        candidates.add(stuck);
        // The watch shows it again.
        candidates.add(candidate("tenant", 1));
        let honest = take(now).unwrap();
        assert_eq!(honest.about.namespace.as_deref(), Some("team"));
        assert!(take(now).is_none());
        let mut stuck = take(now + Duration::from_secs(1)).unwrap();
        stuck.pause.begin(now);
        assert!(!stuck.pause.is_over(now + Duration::from_secs(1)));
        assert!(stuck.pause.is_over(now + Duration::from_secs(2)));
    }

    #[test]
    fn one_namespace_leaves_room_for_others() {
        let candidates = Candidates::default();
        for uid in 0..2 * MAX_OF_NAMESPACE {
            // The watch shows a pod again with each of its changes.
            candidates.add(candidate("tenant", uid / 2));
            candidates.add(candidate("tenant", MAX_CANDIDATES + uid));
        }
        candidates.add(candidate("team", 2 * MAX_CANDIDATES));
        let mut taken = Vec::new();
        while let Some(one) = candidates.take(|_| true) {
            taken.push(one.about);
        }
        assert_eq!(taken.len(), MAX_OF_NAMESPACE + 1);
        assert_eq!(taken.last().unwrap().namespace.as_deref(), Some("team"));
        let uids: std::collections::HashSet<_> = taken.iter().map(|about| &about.uid).collect();
        assert_eq!(uids.len(), taken.len());
    }
}
