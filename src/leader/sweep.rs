//! All pods, in one list: at take-over, once a day, when the watch of Pending pods had a gap,
//! and a minute after a sweep that could not report every pod.
//!
//! It finds what the watch cannot: pods that run already from an image on their node, and running
//! pods whose Secret is missing or stale. It also finds the Secrets that pods name, for the
//! [clean-up](super::cleanup).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::identity::Access;
use ecr_pull_secrets_core::pull_secret::MAX_REGISTRIES;
use ecr_pull_secrets_core::target::Target;
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

/// The time between two sweeps.
const SWEEP_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);
/// The time after a sweep that could not report every pod.
const UNFINISHED_INTERVAL: Duration = Duration::from_secs(60);
/// The time after a list that failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// The wait for one Secret before the next, so that not all of them start at once.
const REPAIR_TIMEOUT: Duration = Duration::from_secs(2);

/// Registries that are collected of one namespace: a Secret has room for half of them.
const MAX_WANTED: usize = 2 * MAX_REGISTRIES;

/// Runs until it is dropped.
pub(super) async fn run(term: Arc<Term>) {
    loop {
        term.reports.read_registration(&term.engine.clients).await;
        match sweep(&term).await {
            Ok(named) => cleanup::run(&term, &named).await,
            Err(error) => {
                warn!(%error, "cannot list all pods");
                sleep(RETRY_INTERVAL).await;
                continue;
            }
        }
        let is_unfinished = term.reports.take_unfinished();
        tokio::select! {
            () = sleep(if is_unfinished { UNFINISHED_INTERVAL } else { SWEEP_INTERVAL }) => {}
            () = term.reports.gap.notified() => {}
        }
    }
}

/// The registries that Secrets must open and do not.
type Wanting = HashMap<Target, BTreeSet<Access>>;

/// Checks every pod. Returns the pull Secrets that pods name.
async fn sweep(term: &Term) -> Result<HashSet<Target>, Refusal> {
    let start = Instant::now();
    let wanting = Mutex::new(Wanting::new());
    let mut pages = Pages::all(&term.engine.clients);
    let mut count = 0_usize;
    while let Some(pods) = pages.next().await? {
        count = count.saturating_add(pods.len());
        term.engine.wants.note(&pods);
        let config = &term.engine.live.snapshot();
        futures::stream::iter(&pods)
            .for_each_concurrent(MAX_PODS, |pod| {
                let wanting = &wanting;
                async move {
                    if let Some(registries) = attend(term, config, pod).await {
                        let target = config.target(pod.namespace());
                        let mut wanting = wanting.lock();
                        let known = wanting.entry(target).or_default();
                        let room = MAX_WANTED.saturating_sub(known.len());
                        known.extend(registries.into_iter().take(room));
                    }
                }
            })
            .await;
    }
    // After the list: a repair that waits for AWS delays no report of a missed pod.
    let wanting = wanting.into_inner();
    futures::stream::iter(&wanting)
        .for_each_concurrent(MAX_PODS, |(target, registries)| async move {
            let registries: Vec<_> = registries.iter().cloned().collect();
            repair(term, target, &registries, REPAIR_TIMEOUT).await;
        })
        .await;
    let named = term.engine.wants.take_named();
    let seconds = start.elapsed().as_secs_f64();
    info!(
        pods = count,
        namespaces = named.len(),
        seconds,
        "checked all pods"
    );
    Ok(named)
}
