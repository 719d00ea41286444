//! What the leader does about one stored pod: it reports the pod or its failed pull, and finds and
//! repairs what its Secret lacks.

use std::time::Duration;

use ecr_pull_secrets_core::backoff::Backoff;
use ecr_pull_secrets_core::cause::{Cause, Retry};
use ecr_pull_secrets_core::identity::Access;
use ecr_pull_secrets_core::target::Target;
use ecr_pull_secrets_core::workload::claim::{NamespaceFact, SecretClaim};
use ecr_pull_secrets_core::workload::standing::{PodStanding, standing};
use jiff::SignedDuration;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::recreate;
use super::reports::Claimed;
use super::term::Term;
use crate::clock;
use crate::cluster::events::Reported;
use crate::cluster::namespaces;
use crate::cluster::pods::ObservedPod;
use crate::config::InForce;
use crate::facts;
use crate::pull_secret::ensure::{Ensured, Wanted};
use crate::telemetry::metrics::Trigger;

/// Pauses between two attempts to report, while the API server is in trouble.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
/// The time for all attempts. After it, the next sweep reports the pod, and no other pod waits.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// The age from which a pod's missing credentials are reported: its node may have them at the next
/// attempt.
const CREDENTIALS_GRACE: SignedDuration = SignedDuration::from_secs(60);

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

/// Reports the pod where necessary. Returns the registries that its Secret must open and does not.
pub(super) async fn attend(
    term: &Term,
    config: &InForce,
    pod: &ObservedPod,
) -> Option<Vec<Access>> {
    match standing_of(term, config, pod).await {
        PodStanding::Fine => None,
        PodStanding::Missed => {
            if report(term, config, pod).await {
                recreate::consider(term, config, pod);
            }
            None
        }
        PodStanding::Served(registries) => {
            if pod.pod.has_too_many_registries() {
                let message = "a pod has more registries than a pull secret";
                once(term, pod, Cause::TooManyRegistries, message).await;
            }
            let all = registries.iter().map(|access| &access.registry);
            let target = config.target(pod.namespace());
            if !term.engine.ledger.read().serves(&target, all, clock::now()) {
                return Some(registries);
            }
            diagnose(term, config, pod, &registries).await;
            None
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

/// Reports and counts a missed pod. Returns whether it is one, and reported.
async fn report(term: &Term, config: &InForce, pod: &ObservedPod) -> bool {
    let (reports, cause) = (&term.reports, Cause::PodMissed);
    let claim = match reports.claim(pod.uid(), cause.name()) {
        Claimed::Ours(claim) => claim,
        Claimed::Busy => return false,
        Claimed::Done => return true,
    };
    let (mut pause, end) = (Duration::ZERO, Instant::now() + REPORT_TIMEOUT);
    // The API server decided by the labels that the namespace has now. Memory may be older.
    let fact = loop {
        match namespaces::read(&term.engine.clients.call, pod.namespace()).await {
            Ok(Some(found)) => break namespaces::fact_of(&found),
            Ok(None) => break NamespaceFact::Missing,
            Err(_) if Instant::now() >= end => {
                reports.sweep_soon();
                return false;
            }
            Err(_) => pause = wait_after(pause).await,
        }
    };
    if !SecretClaim::Pods(pod.pod.wish()).counts(config, pod.namespace(), fact) {
        return false;
    }
    let Some(is_first) = raise(term, pod, cause).await else {
        return false;
    };
    if is_first {
        term.engine.metrics.pods_missing_reference.inc();
        info!(
            namespace = pod.namespace(),
            pod = pod.name(),
            cause = cause.name(),
            "found a pod without its reference"
        );
    }
    claim.done();
    true
}

/// Reports why ECR refused a pull of the pod. A token that ECR rejects before its expiry is replaced.
async fn diagnose(term: &Term, config: &InForce, pod: &ObservedPod, registries: &[Access]) {
    let is_old = |created| clock::now().duration_since(created) > CREDENTIALS_GRACE;
    for pull in &pod.refusals {
        let is_of_credentials = pull.is_of_token() || pull.cause == Cause::PullUnauthenticated;
        if is_of_credentials && !pod.created.is_some_and(is_old) {
            continue;
        }
        // A key without a token has nothing to replace.
        if let Some(key) = pull.refused_key(registries)
            && term.engine.supply.held(&key).is_some()
        {
            term.engine.supply.distrust(key, pod.namespace(), config);
        }
        once(term, pod, pull.cause, "a pull was refused").await;
    }
}

/// Reports why a pod's Secret cannot be written, if retrying alone does not help.
pub(super) async fn explain(term: &Term, pod: &ObservedPod, cause: Cause) {
    if cause.retry() != Retry::Soon {
        once(term, pod, cause, "a pod waits for its pull secret").await;
    }
}

/// Reports a cause once for each pod.
async fn once(term: &Term, pod: &ObservedPod, cause: Cause, message: &str) {
    let Claimed::Ours(claim) = term.reports.claim(pod.uid(), cause.name()) else {
        return;
    };
    let Some(is_first) = raise(term, pod, cause).await else {
        return;
    };
    if is_first {
        info!(
            namespace = pod.namespace(),
            pod = pod.name(),
            cause = cause.name(),
            "{message}"
        );
    }
    claim.done();
}

/// Raises the Event. Returns whether it is the first one of this cause and pod; `None` if the API
/// server did not take it in time.
async fn raise(term: &Term, pod: &ObservedPod, cause: Cause) -> Option<bool> {
    let about = pod.reference();
    let (mut pause, mut may_be_ours) = (Duration::ZERO, false);
    let end = Instant::now() + REPORT_TIMEOUT;
    loop {
        match term.engine.events.report(&about, cause).await {
            Reported::First => return Some(true),
            // An earlier attempt of ours may have succeeded although its answer got lost.
            Reported::Before => return Some(may_be_ours),
            Reported::Unclear(_) if Instant::now() >= end => {
                term.reports.sweep_soon();
                return None;
            }
            Reported::Unclear(_) => may_be_ours = true,
            Reported::Refused(error) => {
                warn!(
                    namespace = pod.namespace(),
                    pod = pod.name(),
                    cause = cause.name(),
                    %error,
                    "cannot report a pod"
                );
                return Some(true);
            }
        }
        pause = wait_after(pause).await;
    }
}

/// Waits for the pause that follows `last`, and returns it.
async fn wait_after(last: Duration) -> Duration {
    let pause = PAUSES.after(last);
    sleep(pause).await;
    pause
}
