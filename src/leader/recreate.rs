//! `repair.recreatePods`: missed pods that wait are deleted, for their controllers to make them anew.
//!
//! At most once a pod, and only one that a controller owns and of which nothing has ever run. What
//! the controller makes in its place may lack the reference as well, if the API server still does
//! not reach us: that one is left, or deleting would have no end.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::Api;
use kube::api::{DeleteParams, Preconditions};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use super::reports::Claimed;
use super::term::Term;
use crate::clock;
use crate::cluster::client::CALL_TIMEOUT;
use crate::cluster::pods::{Phase, Seen};
use crate::cluster::refusal::chain;

/// From the start of a leadership to the first deletion. Who leads may have started just now, and
/// the API server hears of it a little later.
const SETTLED: Duration = Duration::from_secs(10);
/// The age of the youngest pod that is deleted. The API server tells ages in whole seconds, and what
/// comes after a deletion must be told from what was there before.
const YOUNGEST: SignedDuration = SignedDuration::from_secs(2);
/// Between two looks at the queue.
const TURN: Duration = Duration::from_millis(500);
/// So many may wait; the others are seen again.
const QUEUE: usize = 4096;

/// A pod that may be deleted.
#[derive(Debug)]
pub(super) struct Candidate {
    about: ObjectReference,
    version: Option<String>,
    controller: String,
    created: Timestamp,
}

/// Candidates, in the order in which they were seen.
pub(super) type Candidates = VecDeque<Candidate>;

/// Enters a missed pod, if it is one to delete.
pub(super) fn consider(term: &Term, pod: &Seen) {
    let (Some(controller), Some(created)) = (&pod.controller, pod.created) else {
        return;
    };
    if !term.engine.live.snapshot().repair.recreate_pods
        || pod.phase != Phase::Pending
        || pod.has_started
    {
        return;
    }
    let candidate = Candidate {
        about: pod.reference(),
        version: pod.version(),
        controller: controller.clone(),
        created,
    };
    term.reports.with_candidates(|candidates| {
        if candidates.len() < QUEUE {
            candidates.push_back(candidate);
        }
    });
}

/// Deletes for ever.
pub(super) async fn run(term: &Term) {
    if !term.engine.live.snapshot().repair.recreate_pods {
        return std::future::pending().await;
    }
    sleep_until(Instant::now() + SETTLED).await;
    loop {
        let now = clock::now();
        let is_due = |candidate: &Candidate| now.duration_since(candidate.created) >= YOUNGEST;
        let due = term.reports.with_candidates(|candidates| {
            let due = candidates.iter().position(is_due);
            due.and_then(|index| candidates.remove(index))
        });
        match due {
            Some(candidate) => {
                if recreate(term, &candidate, now).await == Deletion::Unclear {
                    term.reports.with_candidates(|all| all.push_back(candidate));
                    sleep(TURN).await;
                }
            }
            None => sleep(TURN).await,
        }
    }
}

/// What came of it.
#[derive(PartialEq, Eq)]
enum Deletion {
    Over,
    /// The API server is in trouble.
    Unclear,
}

async fn recreate(term: &Term, candidate: &Candidate, now: Timestamp) -> Deletion {
    let Candidate {
        about,
        version,
        controller,
        created,
    } = candidate;
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (namespace, name, uid) = (text(&about.namespace), text(&about.name), text(&about.uid));
    // Admission leaves the reference out where a Secret would break the pod's keyring.
    if term.engine.ledger.is_doubtful(&namespace)
        || !term.reports.may_recreate(controller, *created, now)
    {
        return Deletion::Over;
    }
    let Claimed::Ours(claim) = term.reports.claim(&uid, "recreated") else {
        return Deletion::Over;
    };
    let params = DeleteParams {
        // A pod that starts meanwhile has another version.
        preconditions: Some(Preconditions {
            uid: Some(uid.clone()),
            resource_version: version.clone(),
        }),
        ..DeleteParams::default()
    };
    let api: Api<Pod> = Api::namespaced(term.engine.clients.call.clone(), &namespace);
    match timeout(CALL_TIMEOUT, api.delete(&name, &params)).await {
        Ok(Ok(_)) => {
            claim.done();
            info!(namespace, pod = name, "deleted a pod without its reference");
            let note = "deleted, so that its controller makes it anew, with a reference to the pull Secret";
            term.engine.events.say(about, "PodRecreated", note).await;
        }
        // It changed, and has been entered again; or it is gone.
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => {}
        Ok(Err(kube::Error::Api(status))) if status.code < 500 && status.code != 429 => {
            let error = &status.message;
            warn!(namespace, pod = name, error, "cannot delete a pod");
        }
        Ok(Err(error)) => {
            let error = chain(&error);
            warn!(namespace, pod = name, error, "cannot delete a pod for now");
            return Deletion::Unclear;
        }
        Err(_) => {
            warn!(namespace, pod = name, "cannot delete a pod in time");
            return Deletion::Unclear;
        }
    }
    Deletion::Over
}
