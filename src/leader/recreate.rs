//! `repair.recreatePods`: deletes missed pods that wait, so that their controllers re-create them.
//!
//! A pod is deleted at most once, and only if its controller is of a kind that replaces it and none
//! of its containers has ever run. [`ecr_pull_secrets_core::workload::recreation`] decides.

use std::time::Duration;

use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::workload::claim::SecretClaim;
use ecr_pull_secrets_core::workload::recreation;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use super::candidates::{Candidate, DeletionPause};
use super::reports::Claimed;
use super::term::Term;
use crate::clock;
use crate::cluster::optimistic;
use crate::cluster::pods::ObservedPod;
use crate::config::InForce;
use crate::telemetry::chain::chain;

/// The time from the begin of a term to the first deletion. The leader may have started just now,
/// and the API server calls it a little later.
const SETTLE_TIME: Duration = Duration::from_secs(10);
/// The time between two checks of the candidates.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// The candidate that a missed pod is, if it may be deleted once it is reported.
pub(super) fn candidate(config: &InForce, pod: &ObservedPod) -> Option<Candidate> {
    let controller = pod.controller.as_deref();
    if !recreation::is_candidate(&config.repair, pod.phase, pod.has_started, controller) {
        return None;
    }
    Some(Candidate {
        about: pod.reference(),
        version: pod.version(),
        wish: pod.pod.wish(),
        controller: controller?.to_owned(),
        created: pod.created?,
        pause: DeletionPause::default(),
    })
}

/// Runs until it is dropped.
pub(super) async fn run(term: &Term) {
    if !term.engine.live.snapshot().repair.recreate_pods {
        return std::future::pending().await;
    }
    sleep_until(Instant::now() + SETTLE_TIME).await;
    loop {
        let (now, moment) = (clock::now(), Instant::now());
        let is_due = |candidate: &Candidate| {
            recreation::is_due(candidate.created, now) && candidate.pause.is_over(moment)
        };
        match term.candidates.take(is_due) {
            Some(mut candidate) => {
                if recreate(term, &candidate, now).await == Deletion::Unclear {
                    candidate.pause.begin(Instant::now());
                    term.candidates.add(candidate);
                }
            }
            None => sleep(CHECK_INTERVAL).await,
        }
    }
}

/// The outcome of a deletion.
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
        wish,
        controller,
        created,
        ..
    } = candidate;
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (namespace, name, uid) = (text(&about.namespace), text(&about.name), text(&about.uid));
    let engine = &term.engine;
    let config = engine.live.snapshot();
    // A namespace that opted out since gets no reference at the second attempt either.
    let fact = engine.namespaces.look_up(&namespace).await;
    let is_served = SecretClaim::Pods(*wish).counts(&config, &namespace, fact);
    // Admission leaves the reference out where the Secret would break the pod's keyring.
    let is_contested = || {
        engine
            .ledger
            .read()
            .is_contested(&config.target(&namespace))
    };
    let may_go = || {
        let mut recreated = term.reports.recreated.lock();
        recreated.may_delete(&namespace, controller, *created, now)
    };
    if !is_served || is_contested() || !may_go() {
        return Deletion::Over;
    }
    let Claimed::Ours(claim) = term.reports.claim(&uid, "recreated") else {
        return Deletion::Over;
    };
    let api: Api<Pod> = Api::namespaced(engine.clients.call.clone(), &namespace);
    // A pod that starts meanwhile has another version.
    match optimistic::delete(&api, &name, version).await {
        Ok(()) => {
            claim.done();
            info!(namespace, pod = name, "deleted a pod without its reference");
            let note =
                "deleted, so that its controller re-creates it with a reference to the pull Secret";
            engine.events.report_as(about, "PodRecreated", note).await;
        }
        // It changed, and the watch brings it again; or it is gone.
        Err(refusal) if refusal.is_conflict() || refusal.cause() == Cause::NamespaceMissing => {}
        Err(error) if error.is_transient() => {
            warn!(
                namespace,
                pod = name,
                error = chain(&error),
                "cannot delete a pod for now"
            );
            return Deletion::Unclear;
        }
        Err(error) => warn!(
            namespace,
            pod = name,
            error = chain(&error),
            "cannot delete a pod"
        ),
    }
    Deletion::Over
}
