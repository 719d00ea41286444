//! What is done about one pod: it is told of, and what its Secret lacks is found.

use std::time::Duration;

use ecr_pull_secrets_core::cause::{Cause, Retry};
use ecr_pull_secrets_core::identity::Identity;
use ecr_pull_secrets_core::identity::TokenKey;
use ecr_pull_secrets_core::image::Registry;
use ecr_pull_secrets_core::workload::plan::Workload;
use ecr_pull_secrets_core::workload::standing::{PodStanding, standing};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::recreate;
use super::reports::Claimed;
use super::term::Term;
use crate::clock;
use crate::cluster::events::Reported;
use crate::cluster::pods::ObservedPod;
use crate::facts;
use crate::pull_secret::ensure::{Ensured, Wanted};
use crate::telemetry::metrics::Trigger;

/// Between two attempts to tell, while the API server is in trouble.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// So long is tried at once; after that another sweep has to see the pod, and no other one waits.
const PATIENCE: Duration = Duration::from_secs(5);
/// A node that had no good credentials at its first attempts may have some at the next.
const GRACE: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);

/// How a stored pod stands, by the plan that admission makes for it.
async fn standing_of(term: &Term, pod: &ObservedPod) -> PodStanding {
    let config = term.engine.live.snapshot();
    let workload = Workload {
        namespace: pod.namespace(),
        pod: &pod.pod,
        is_running: false,
    };
    let mut facts = facts::in_memory(&term.engine, &config, &workload);
    loop {
        match standing(&workload, pod.phase, &facts, &config) {
            Ok(standing) => return standing,
            Err(fact) => {
                facts::look_up(&term.engine, &config, fact, &workload, &mut facts).await;
            }
        }
    }
}

/// Does what there is to do about a pod, except for its Secret: the registries that one must open,
/// and does not, are returned.
pub(crate) async fn attend(term: &Term, pod: &ObservedPod) -> Option<Vec<(Registry, Identity)>> {
    match standing_of(term, pod).await {
        PodStanding::Fine => None,
        PodStanding::Missed => {
            if report(term, pod).await {
                recreate::consider(term, pod);
            }
            None
        }
        PodStanding::Served(registries) => {
            let all = registries.iter().map(|(registry, _)| registry);
            let target = term.engine.target(pod.namespace());
            if !term.engine.ledger.read().serves(&target, all, clock::now()) {
                return Some(registries);
            }
            diagnose(term, pod, &registries).await;
            None
        }
    }
}

/// Has the Secret of a namespace open registries. The caller waits so long; the work goes on.
pub(crate) async fn repair(
    term: &Term,
    namespace: &str,
    registries: &[(Registry, Identity)],
    patience: Duration,
) -> Ensured {
    let done_by = Instant::now() + patience;
    let wanted = Wanted {
        target: &term.engine.target(namespace),
        registries,
        mint_by: done_by,
        done_by,
        trigger: Trigger::repair,
    };
    term.engine.pull_secrets.ensure(wanted).await
}

/// Tells of a missed pod, and counts it. Whether it is one, and told.
async fn report(term: &Term, pod: &ObservedPod) -> bool {
    let (reports, cause) = (&term.reports, Cause::PodMissed);
    let claim = match reports.claim(pod.uid(), cause.name()) {
        Claimed::Ours(claim) => claim,
        Claimed::Busy => return false,
        Claimed::Done => return true,
    };
    let (mut pause, end) = (PAUSES.0, Instant::now() + PATIENCE);
    let excluded = loop {
        let exclusions = reports.exclusions();
        match exclusions
            .exclude(&term.engine.clients.call, pod.namespace())
            .await
        {
            Some(excluded) => break excluded,
            None if Instant::now() >= end => {
                reports.sweep_soon();
                return false;
            }
            None => pause = wait(pause).await,
        }
    };
    if excluded {
        return false;
    }
    let Some(is_first) = tell(term, pod, cause).await else {
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

/// Says what stands between a pod and its image, where the registry refused it. A token that ECR
/// takes for dead before its time is replaced.
async fn diagnose(term: &Term, pod: &ObservedPod, registries: &[(Registry, Identity)]) {
    let is_old = |created| clock::now().duration_since(created) > GRACE;
    for cause in &pod.refusals {
        let is_of_token = matches!(cause, Cause::TokenExpired | Cause::TokenInvalid);
        let is_of_credentials = is_of_token || *cause == Cause::PullUnauthenticated;
        if is_of_credentials && !pod.created.is_some_and(is_old) {
            continue;
        }
        if is_of_token {
            for (registry, identity) in registries {
                let key = TokenKey::new(identity.clone(), registry);
                let config = term.engine.live.snapshot();
                term.engine.supply.distrust(key, &config);
            }
        }
        once(term, pod, *cause, "a pull was refused").await;
    }
}

/// Says why a pod's Secret cannot be made, where somebody has to do something about it.
pub(super) async fn explain(term: &Term, pod: &ObservedPod, cause: Cause) {
    if cause.retry() != Retry::Soon {
        once(term, pod, cause, "a pod waits for its pull secret").await;
    }
}

/// Tells of a cause once for each pod.
async fn once(term: &Term, pod: &ObservedPod, cause: Cause, message: &str) {
    let Claimed::Ours(claim) = term.reports.claim(pod.uid(), cause.name()) else {
        return;
    };
    let Some(is_first) = tell(term, pod, cause).await else {
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

/// Tells. Whether nobody had told it before; nothing where it could not be told for now.
async fn tell(term: &Term, pod: &ObservedPod, cause: Cause) -> Option<bool> {
    let about = pod.reference();
    let (mut pause, mut may_be_ours) = (PAUSES.0, false);
    let end = Instant::now() + PATIENCE;
    loop {
        match term.engine.events.report(&about, cause).await {
            Reported::First => return Some(true),
            // An earlier attempt of ours may have succeeded without our hearing of it.
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
                    "cannot tell of a pod"
                );
                return Some(true);
            }
        }
        pause = wait(pause).await;
    }
}

async fn wait(pause: Duration) -> Duration {
    sleep(pause).await;
    (pause * 2).min(PAUSES.1)
}
