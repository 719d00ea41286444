//! Reports about pods: an Event for each cause and pod, once.
//!
//! A report is tried once by the work that found the pod. If the API server does not take it, it
//! waits in the [backlog](super::backlog) of its namespace, and the work goes on: Events that are
//! refused in one namespace delay no pod of another one.

use std::sync::Arc;

use ecr_pull_secrets_core::selection::Wish;
use ecr_pull_secrets_core::workload::backlog::Admittance;
use ecr_pull_secrets_core::workload::claim::{NamespaceFact, SecretClaim};
use tracing::{debug, info, warn};

use super::backlog::{PodReport, Queued as _};
use super::reports::Claimed;
use super::term::Term;
use crate::cluster::events::Reported;
use crate::cluster::namespaces;
use crate::telemetry::chain::chain;

/// The most reports that are tried again at a time, each of another namespace.
const MAX_RETRIES: usize = 4;

/// Reports, unless that was done before.
pub(super) async fn report(term: &Term, report: PodReport) {
    if term.reports.is_done(report.uid(), report.cause.name()) {
        return conclude(term, report);
    }
    let late = if term.backlog.has(report.namespace()) {
        Some(report)
    } else {
        attempt(term, report).await
    };
    let Some(late) = late else { return };
    let (namespace, pod, cause) = (
        late.namespace().to_owned(),
        late.pod().to_owned(),
        late.cause.name(),
    );
    match term.backlog.add(late) {
        Admittance::Waits => {}
        // The next sweep of all pods reports it.
        Admittance::FullOfNamespace => {
            debug!(
                namespace,
                pod, cause, "too many reports of a namespace wait"
            );
        }
        Admittance::Full => term.reports.sweep_soon(&namespace),
    }
}

/// Tries again what waits, until it is dropped.
pub(super) async fn run(term: Arc<Term>) {
    let retry = |report| attempt(&term, report);
    term.backlog.work(MAX_RETRIES, retry).await;
}

/// Tries to report. Returns the report if the API server did not take it.
async fn attempt(term: &Term, mut report: PodReport) -> Option<PodReport> {
    let claim = match term.reports.claim(report.uid(), report.cause.name()) {
        Claimed::Ours(claim) => claim,
        Claimed::Busy => return None,
        Claimed::Done => {
            conclude(term, report);
            return None;
        }
    };
    match is_due(term, &report).await {
        Some(true) => {}
        Some(false) => return None,
        None => {
            drop(claim);
            return Some(report);
        }
    }
    let is_first = match term.engine.events.report(&report.about, report.cause).await {
        Reported::First => true,
        Reported::Before => report.may_exist,
        Reported::Unclear(error) => {
            let (namespace, pod) = (report.namespace(), report.pod());
            debug!(
                namespace,
                pod,
                error = chain(&error),
                "a report about a pod has to wait"
            );
            report.may_exist = true;
            drop(claim);
            return Some(report);
        }
        Reported::Refused(error) => {
            let (namespace, pod) = (report.namespace(), report.pod());
            let cause = report.cause.name();
            warn!(
                namespace,
                pod,
                cause,
                error = chain(&error),
                "cannot report a pod"
            );
            true
        }
    };
    claim.done();
    if is_first {
        if report.missed.is_some() {
            term.engine.metrics.pods_missing_reference.inc();
        }
        let (namespace, pod) = (report.namespace(), report.pod());
        info!(
            namespace,
            pod,
            cause = report.cause.name(),
            "{}",
            report.message
        );
    }
    conclude(term, report);
    None
}

/// Whether the report is still true. `None` if the API server does not say.
async fn is_due(term: &Term, report: &PodReport) -> Option<bool> {
    match report.missed {
        Some((wish, _)) => is_served(term, report.namespace(), wish).await,
        None => Some(true),
    }
}

/// Whether pods with this wish are served in a namespace. `None` if the API server does not say.
pub(super) async fn is_served(term: &Term, namespace: &str, wish: Wish) -> Option<bool> {
    // The API server decided by the labels that the namespace has now. Memory may be older.
    let fact = match namespaces::read(&term.engine.clients.call, namespace).await {
        Ok(Some(found)) => namespaces::fact_of(&found),
        Ok(None) => NamespaceFact::Missing,
        Err(_) => return None,
    };
    let config = term.engine.live.snapshot();
    Some(SecretClaim::Pods(wish).counts(&config, namespace, fact))
}

/// Does what follows a report.
fn conclude(term: &Term, report: PodReport) {
    if let Some((_, under_way)) = &report.missed {
        let mut missed = term.reports.missed.lock();
        missed.note(report.namespace(), under_way.pod);
    }
    if let Some(candidate) = report.candidate {
        term.candidates.add(*candidate);
    }
}
