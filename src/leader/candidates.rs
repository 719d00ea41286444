//! Missed pods that may be deleted, so that their controllers re-create them.

use std::collections::VecDeque;

use ecr_pull_secrets_core::selection::Wish;
use ecr_pull_secrets_core::version::ObjectVersion;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use parking_lot::Mutex;

/// Candidates that may wait; the next sweep sees the others again.
const MAX_CANDIDATES: usize = 4096;

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
}

/// The candidates of one term, in the order in which they were seen.
#[derive(Debug, Default)]
pub(super) struct Candidates(Mutex<VecDeque<Candidate>>);

impl Candidates {
    /// Adds one, if there is room.
    pub(super) fn add(&self, candidate: Candidate) {
        let mut all = self.0.lock();
        if all.len() < MAX_CANDIDATES {
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
