//! All pods, in one paged list: at take-over, once a day, and when the watch of Pending pods had a
//! gap.
//!
//! It finds what the watch cannot: pods that run already from an image on their node, and running
//! pods whose Secret is missing or stale. And it learns which namespaces use the pull Secret at
//! all, for the [clean-up](super::cleanup).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ecr_pull_secrets_core::identity::Identity;
use ecr_pull_secrets_core::image::Registry;
use ecr_pull_secrets_core::target::Target;
use futures::StreamExt as _;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::attend::{attend, repair};
use super::cleanup;
use super::pods::AT_A_TIME;
use super::term::Term;
use crate::cluster::pages::Pages;
use crate::cluster::refusal::Refusal;

/// Between two sweeps.
const INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);
/// After one that could not tell of every pod.
const SOON: Duration = Duration::from_secs(60);
/// After a sweep that did not come to its end.
const RETRY: Duration = Duration::from_secs(5);
/// A Secret gets so much time before the next pod's turn, so that not everything starts at once.
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs until it is dropped.
pub(super) async fn run(term: Arc<Term>) {
    loop {
        term.reports.read_registration(&term.engine.clients).await;
        match sweep(&term).await {
            Ok(named) => cleanup::run(&term, &named).await,
            Err(error) => {
                warn!(%error, "cannot list all pods");
                sleep(RETRY).await;
                continue;
            }
        }
        let is_unfinished = term.reports.take_unfinished();
        tokio::select! {
            () = sleep(if is_unfinished { SOON } else { INTERVAL }) => {}
            () = term.reports.gap.notified() => {}
        }
    }
}

/// What the Secrets of some namespaces are to open, and do not.
type Wanting = HashMap<Box<str>, BTreeSet<(Registry, Identity)>>;

/// Checks every pod. Returns the pull Secrets that pods name.
async fn sweep(term: &Term) -> Result<HashSet<Target>, Refusal> {
    let start = Instant::now();
    let wanting = Mutex::new(Wanting::new());
    let mut pages = Pages::all(&term.engine.clients);
    let mut count = 0_usize;
    while let Some(pods) = pages.next().await? {
        count = count.saturating_add(pods.len());
        term.engine.wants.note(&pods);
        futures::stream::iter(&pods)
            .for_each_concurrent(AT_A_TIME, |pod| {
                let wanting = &wanting;
                async move {
                    if let Some(registries) = attend(term, pod).await {
                        let mut wanting = wanting.lock().unwrap_or_else(PoisonError::into_inner);
                        let known = wanting.entry(pod.namespace().into()).or_default();
                        known.extend(registries);
                    }
                }
            })
            .await;
    }
    // After the list: who waits for AWS keeps no missed pod waiting.
    let wanting = wanting.into_inner().unwrap_or_else(PoisonError::into_inner);
    futures::stream::iter(&wanting)
        .for_each_concurrent(AT_A_TIME, |(namespace, registries)| async move {
            let registries: Vec<_> = registries.iter().cloned().collect();
            repair(term, namespace, &registries, PATIENCE).await;
        })
        .await;
    let named = term.engine.wants.take_named();
    let seconds = start.elapsed().as_secs_f64();
    info!(
        pods = count,
        namespaces = named.len(),
        seconds,
        "looked at all pods"
    );
    Ok(named)
}
