//! All pods, in one list: at take-over, every `rotation.maxAge`, when the watch of Pending pods had a
//! gap, and a minute after a pod could not be reported and had no room to wait. That minute doubles, up to
//! an hour, for a namespace that causes it again and again.
//!
//! It finds what the watch cannot: pods that run already from an image on their node, and running
//! pods whose Secret is missing or stale. It also finds what pods want of their Secrets. Rotation
//! renews nothing else, so a namespace without such a pod is renewed for at most one interval more;
//! and the [clean-up](super::cleanup) removes what no pod names.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::identity::Access;
use ecr_pull_secrets_core::pull_secret::flight;
use ecr_pull_secrets_core::target::Target;
use ecr_pull_secrets_core::workload::claim::SecretClaim;
use futures::StreamExt as _;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::attend::{attend, repair};
use super::cleanup;
use super::pods::MAX_PODS;
use super::term::Term;
use crate::cluster::pages::Pages;
use crate::cluster::refusal::Refusal;
use crate::telemetry::chain::chain;

/// The limits of the time between two sweeps, which is `rotation.maxAge`.
const MIN_INTERVAL: Duration = Duration::from_secs(60);
const MAX_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);
/// The time after a list that failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// The wait for one Secret before the next, so that not all of them start at once.
const REPAIR_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs until it is dropped.
pub(super) async fn run(term: Arc<Term>) {
    loop {
        term.reports.begin_sweep();
        match sweep(&term).await {
            Ok(()) => cleanup::run(&term).await,
            Err(error) => {
                warn!(error = chain(&error), "cannot list all pods");
                sleep(RETRY_INTERVAL).await;
                continue;
            }
        }
        let max_age = term.engine.live.snapshot().rotation.max_age;
        let interval = max_age.clamp(MIN_INTERVAL, MAX_INTERVAL);
        term.reports.sweep_is_due(interval).await;
    }
}

/// The registries that Secrets must open and do not, with the claim of the pods that want them.
type Wanting = HashMap<Target, (SecretClaim, BTreeSet<Access>)>;

/// Checks every pod.
async fn sweep(term: &Term) -> Result<(), Refusal> {
    let start = Instant::now();
    let sweep = term.engine.wants.begin_sweep();
    let wanting = Mutex::new(Wanting::new());
    let mut pages = Pages::all(&term.engine.clients);
    let mut count = 0_usize;
    while let Some(pods) = pages.next().await? {
        count = count.saturating_add(pods.len());
        let config = &term.engine.live.snapshot();
        term.engine.wants.note(config, &pods);
        futures::stream::iter(&pods)
            .for_each_concurrent(MAX_PODS, |pod| {
                let wanting = &wanting;
                async move {
                    if let Some(registries) = attend(term, config, pod).await {
                        let target = config.target(pod.namespace());
                        let pods = SecretClaim::Pods(pod.pod.wish());
                        let mut wanting = wanting.lock();
                        let (claim, known) =
                            wanting.entry(target).or_insert((pods, BTreeSet::new()));
                        *claim = claim.or(pods);
                        flight::collect(known, registries);
                    }
                }
            })
            .await;
    }
    term.engine.wants.end_sweep(sweep);
    term.reports.missed.lock().end_sweep();
    // After the list: a repair that waits for AWS delays no report of a missed pod.
    let wanting = wanting.into_inner();
    futures::stream::iter(&wanting)
        .for_each_concurrent(MAX_PODS, |(target, (claim, registries))| async move {
            let registries: Vec<_> = registries.iter().cloned().collect();
            repair(term, target, &registries, *claim, REPAIR_TIMEOUT).await;
        })
        .await;
    let seconds = start.elapsed().as_secs_f64();
    info!(pods = count, seconds, "checked all pods");
    Ok(())
}
