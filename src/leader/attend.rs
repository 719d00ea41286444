//! What the leader does about one stored pod: it reports the pod or its failed pull, and finds and
//! repairs what its Secret lacks.

use std::slice;
use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::cause::{Cause, Retry};
use ecr_pull_secrets_core::diagnosis;
use ecr_pull_secrets_core::identity::Access;
use ecr_pull_secrets_core::target::Target;
use ecr_pull_secrets_core::workload::claim::SecretClaim;
use ecr_pull_secrets_core::workload::standing::{PodStanding, standing};
use tokio::time::Instant;

use super::backlog::PodReport;
use super::missed_reports;
use super::pod_reports::report;
use super::term::Term;
use crate::clock;
use crate::cluster::pods::ObservedPod;
use crate::config::InForce;
use crate::facts;
use crate::pull_secret::ensure::{Ensured, Wanted};
use crate::telemetry::metrics::Trigger;

/// The standing of a stored pod, by the plan that admission makes for it.
async fn standing_of(term: &Term, config: &InForce, pod: &ObservedPod) -> PodStanding {
    let workload = pod.workload();
    let mut facts = facts::in_memory(&term.engine, config, &workload);
    loop {
        match standing(&workload, pod.phase, &facts, config) {
            Ok(standing) => return standing,
            Err(fact) => {
                facts::look_up(&term.engine, config, fact, &workload, &mut facts).await;
            }
        }
    }
}

/// Whether a foreign Secret keeps the reference from the pods of its namespace. A pod counts as missed
/// if the API server does not say.
async fn is_withheld(term: &Term, config: &InForce, target: &Target) -> bool {
    let pull_secrets = &term.engine.pull_secrets;
    let cause = pull_secrets.withheld_for(config, target).await;
    cause.is_ok_and(|cause| cause.is_some())
}

/// Reports the pod where necessary. Returns the registries that its Secret must open and does not.
pub(super) async fn attend(
    term: &Term,
    config: &InForce,
    pod: &ObservedPod,
) -> Option<Vec<Access>> {
    match standing_of(term, config, pod).await {
        PodStanding::Fine => None,
        PodStanding::Missed => {
            if !is_withheld(term, config, &config.target(pod.namespace())).await {
                missed_reports::report(term, config, pod).await;
            }
            None
        }
        PodStanding::Served(registries) => {
            if pod.pod.has_too_many_registries() {
                let message = "a pod has more registries than a pull secret";
                report(term, PodReport::of(pod, Cause::TooManyRegistries, message)).await;
            }
            let target = config.target(pod.namespace());
            if !term
                .engine
                .pull_secrets
                .are_fresh(config, &target, &registries)
            {
                return Some(registries);
            }
            diagnose(term, config, pod, &registries).await;
            None
        }
    }
}

/// Notes what the pod wants. Returns by which configuration.
pub(super) fn note(term: &Term, pod: &ObservedPod) -> Arc<InForce> {
    let config = term.engine.live.snapshot();
    term.engine.wants.note(&config, slice::from_ref(pod));
    config
}

/// Notes what the pod wants, and does what it needs. The work on its Secret goes on by itself, once for
/// each namespace.
pub(super) async fn serve(term: &Term, pod: &ObservedPod) {
    let config = note(term, pod);
    if let Some(registries) = attend(term, &config, pod).await {
        let target = config.target(pod.namespace());
        let claim = SecretClaim::Pods(pod.pod.wish());
        let repaired = repair(term, &target, &registries, claim, Duration::ZERO);
        // The pod's owner may have to remove the obstacle.
        if let Ensured::Late(cause) = repaired.await {
            explain(term, pod, cause).await;
        }
    }
}

/// Makes a Secret open registries. The caller waits for at most `limit`; the work goes on.
pub(super) async fn repair(
    term: &Term,
    target: &Target,
    registries: &[Access],
    claim: SecretClaim,
    limit: Duration,
) -> Ensured {
    let done_by = Instant::now() + limit;
    let wanted = Wanted {
        target,
        registries,
        claim,
        mint_by: done_by,
        done_by,
        trigger: Trigger::repair,
    };
    term.engine.pull_secrets.ensure(wanted).await
}

/// Reports why ECR refused a pull of the pod. A token that ECR rejects before its expiry is replaced.
async fn diagnose(term: &Term, config: &InForce, pod: &ObservedPod, registries: &[Access]) {
    for pull in diagnosis::due(&pod.refusals, pod.created, clock::now()) {
        // A key without a token has nothing to replace.
        if let Some(key) = pull.refused_key(registries)
            && term.engine.supply.held(&key).is_some()
        {
            let namespace = pod.namespace();
            term.engine.supply.distrust(key, namespace, config);
        }
        report(term, PodReport::of(pod, pull.cause, "a pull was refused")).await;
    }
}

/// Reports why a pod's Secret cannot be written, if retrying alone does not help.
async fn explain(term: &Term, pod: &ObservedPod, cause: Cause) {
    if cause.retry() != Retry::Soon {
        let message = "a pod waits for its pull secret";
        report(term, PodReport::of(pod, cause, message)).await;
    }
}
