//! Reports about missed pods: an Event for each, or for a burst of them one Event with a count, on their
//! controller. Pods that are older than the installation share one Event on their namespace.
//!
//! Each pod is counted once, also by a leader that comes later: the Event says until when its count holds.

use std::sync::Arc;

use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::selection::Wish;
use ecr_pull_secrets_core::workload::missed::{GroupReport, MissedGroup, is_older};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use tracing::{debug, info, warn};

use super::backlog::PodReport;
use super::pod_reports::{self, is_served};
use super::recreate;
use super::reports::MissedPod;
use super::term::Term;
use crate::clock;
use crate::cluster::lease;
use crate::cluster::pods::ObservedPod;
use crate::config::InForce;
use crate::telemetry::chain::chain;

/// The most Events of groups that are written at a time.
const MAX_WRITES: usize = 4;
/// The note on an Event with a count. Its count says how many pods there are.
const NOTE: &str = "pods were created without a reference to the pull Secret, or before ecr-pull-secrets was installed, \
                    as many as this event was seen; re-create them: kubectl rollout restart";

/// Reports a missed pod, unless that was done before.
pub(super) async fn report(term: &Term, config: &InForce, pod: &ObservedPod) {
    let candidate = recreate::candidate(config, pod);
    let key = term.reports.key_of(pod.uid());
    let namespace: Arc<str> = pod.namespace().into();
    let under_way = term.missed.begin(&namespace, key);
    // Asked after that: the task that ended meanwhile noted the pod before.
    let known = term
        .missed
        .under_way(|all| term.reports.missed_pod(&namespace, key, all));
    let Some(under_way) = under_way.filter(|_| known == MissedPod::New) else {
        if known == MissedPod::Reported {
            candidate
                .into_iter()
                .for_each(|one| term.candidates.add(one));
        }
        return;
    };
    let is_older = is_older(pod.created, installed(term).await);
    let owner = pod.owner.clone().filter(|_| !is_older);
    let wanted = MissedGroup {
        namespace,
        controller: owner
            .as_ref()
            .and_then(|owner| owner.uid.as_deref())
            .map(Into::into),
        opts_in: pod.pod.wish() == Wish::In,
    };
    let Some(group) = term.missed.groups(|groups| groups.place(wanted)) else {
        debug!(
            namespace = pod.namespace(),
            "too many groups of missed pods"
        );
        return;
    };
    let owner = owner.filter(|_| group.controller.is_some());
    let about = owner.unwrap_or_else(|| about_namespace(pod.namespace()));
    let Some(until) = reported_until(term, &group, &about).await else {
        return term.reports.sweep_soon(pod.namespace());
    };
    let is_reported = if pod.created.is_some_and(|created| Some(created) <= until) {
        Some(true)
    } else if is_older || term.missed.is_of_this_term(pod.created) {
        Some(false)
    } else {
        let own = observed(term, &pod.reference()).await;
        own.map(|event| event.is_some())
    };
    match is_reported {
        Some(true) => term.reports.missed.lock().note(pod.namespace(), key),
        Some(false) if !is_older && term.missed.may_stand_alone(pod.namespace()) => {
            let report = PodReport {
                missed: Some((pod.pod.wish(), under_way)),
                candidate: candidate.map(Box::new),
                ..PodReport::of(pod, Cause::PodMissed, "found a pod without its reference")
            };
            return pod_reports::report(term, report).await;
        }
        Some(false) => {
            if !term.missed.add(&group, under_way, pod.created) {
                term.reports.sweep_soon(pod.namespace());
            }
        }
        None => term.reports.sweep_soon(pod.namespace()),
    }
    candidate
        .into_iter()
        .for_each(|one| term.candidates.add(one));
}

/// Until when an earlier leader reported the pods of a group. `None` if the API server does not say.
async fn reported_until(
    term: &Term,
    group: &MissedGroup,
    about: &ObjectReference,
) -> Option<Option<Timestamp>> {
    let known = term.missed.groups(|groups| groups.reported_until(group));
    if known.is_some() {
        return known;
    }
    let before = observed(term, about).await?;
    term.missed.groups(|groups| {
        groups.learn(group, about.clone(), before);
        groups.reported_until(group)
    })
}

/// When an Event about a missed pod or a group was observed last, and how often. The outer `None`: the API
/// server does not say.
async fn observed(term: &Term, about: &ObjectReference) -> Option<Option<(Timestamp, u64)>> {
    match term.engine.events.observed(about, Cause::PodMissed).await {
        Ok(before) => Some(before),
        Err(refusal) if refusal.is_transient() => None,
        // It cannot be an Event of ours.
        Err(_) => Some(None),
    }
}

/// When the installation began. `None` if the API server does not say.
async fn installed(term: &Term) -> Option<Timestamp> {
    let (client, namespace) = (&term.engine.clients.call, &term.engine.namespace);
    let installed = &term.missed.installed;
    let read = installed.get_or_try_init(|| lease::created(client, namespace));
    read.await.ok().copied().flatten()
}

fn about_namespace(name: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Namespace".to_owned()),
        // The API server takes an Event only in the namespace of its object.
        namespace: Some(name.to_owned()),
        name: Some(name.to_owned()),
        ..ObjectReference::default()
    }
}

/// Writes the Events of groups, until it is dropped.
pub(super) async fn run(term: Arc<Term>) {
    let mut writes = FuturesUnordered::new();
    loop {
        let has_room = writes.len() < MAX_WRITES;
        tokio::select! {
            Some(()) = writes.next() => {}
            report = term.missed.next(), if has_room => writes.push(write(&term, report)),
        }
    }
}

async fn write(term: &Term, report: GroupReport<ObjectReference>) {
    let is_done = attempt(term, &report).await;
    term.missed.end_attempt(&report, is_done);
}

/// Counts the waiting pods of a group. Returns false if the API server does not answer.
async fn attempt(term: &Term, report: &GroupReport<ObjectReference>) -> bool {
    let GroupReport {
        group,
        about,
        pods,
        count,
        until,
    } = report;
    let namespace = &*group.namespace;
    let wish = if group.opts_in { Wish::In } else { Wish::None };
    match is_served(term, namespace, wish).await {
        Some(true) => {}
        Some(false) => return true,
        None => return false,
    }
    let events = &term.engine.events;
    let seen = until.unwrap_or_else(clock::now);
    let written = events.report_count(about, Cause::PodMissed, NOTE, *count, seen);
    match written.await {
        Ok(()) => {}
        Err(refusal) if refusal.is_transient() => return false,
        Err(error) => {
            let error = chain(&error);
            warn!(namespace, error, "cannot report missed pods");
        }
    }
    {
        let mut reported = term.reports.missed.lock();
        pods.iter().for_each(|pod| reported.note(namespace, *pod));
    }
    term.engine
        .metrics
        .pods_missing_reference
        .inc_by(pods.len() as u64);
    info!(
        namespace,
        kind = about.kind,
        name = about.name,
        pods = pods.len(),
        cause = Cause::PodMissed.name(),
        "found pods without their reference"
    );
    true
}
