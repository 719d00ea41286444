//! Secrets that somebody deleted or edited.
//!
//! A deleted one comes back where pods name it or the namespace is provisioned; so one that nobody
//! uses stays away, whether we cleaned it up or somebody else did. An edited one is mended or left
//! for a while, as [writing](crate::pull_secret::write) finds right. Whoever keeps changing it is
//! met less and less often.

mod schedule;

use std::collections::BTreeSet;
use std::time::Duration;

use ecr_pull_secrets_core::identity::Identity;
use ecr_pull_secrets_core::image::Registry;
use ecr_pull_secrets_core::pull_secret::held::SecretChange;
use ecr_pull_secrets_core::selection::Wish;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use self::schedule::Schedule;
use super::attend::{Standing, judge, repair};
use super::provision;
use super::term::Term;
use crate::cluster::namespaces::{self, Known};
use crate::cluster::pages::Pages;
use crate::cluster::refusal::Refusal;
use crate::pull_secret::ledger::Changed;

/// Namespaces looked at a time.
const AT_A_TIME: usize = 16;
/// A Secret gets so much time before another namespace's turn.
const PATIENCE: Duration = Duration::from_secs(2);

/// Reads the changes for ever; acts on them while this replica leads.
pub(super) async fn run(term: &Term, changes: &mut UnboundedReceiver<Changed>, is_leading: bool) {
    let mut schedule = Schedule::default();
    let mut looks = FuturesUnordered::new();
    loop {
        let next = schedule.next().filter(|_| looks.len() < AT_A_TIME);
        let due = async {
            match next {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            change = changes.recv() => match change {
                Some((_, SecretChange::Written)) => {}
                Some((target, SecretChange::Edited | SecretChange::Deleted)) => {
                    if is_leading {
                        schedule.heard((*target.namespace).into(), Instant::now());
                    }
                }
                // The ledger's watch is gone, and the process is about to end.
                None => std::future::pending().await,
            },
            Some((namespace, result)) = looks.next() => {
                schedule.end(namespace, result == Looked::Failed, Instant::now());
            }
            () = due => {
                if let Some(namespace) = schedule.begin(Instant::now()) {
                    looks.push(async move {
                        let result = look(term, &namespace).await;
                        (namespace, result)
                    });
                }
            }
        }
    }
}

/// What came of a look.
#[derive(Debug, PartialEq, Eq)]
enum Looked {
    Done,
    Failed,
}

/// Has a namespace's Secret open what its pods and the configuration want, if anything.
async fn look(term: &Term, namespace: &str) -> Looked {
    match term.engine.namespaces.look_up(namespace).await {
        Known::Active(Wish::Out) | Known::Terminating(_) | Known::Missing => {
            debug!(namespace, "a pull secret changed where none is to be");
            return Looked::Done;
        }
        Known::Active(_) | Known::Unknown => {}
    }
    let registries = match wanted(term, namespace).await {
        Ok(registries) => registries,
        Err(error) => {
            warn!(
                namespace,
                %error, "cannot tell what a pull secret is to open"
            );
            return Looked::Failed;
        }
    };
    if registries.is_empty() {
        debug!(namespace, "a pull secret changed that nobody needs");
        return Looked::Done;
    }
    let result = repair(term, namespace, &registries, PATIENCE).await;
    info!(
        namespace,
        ?result,
        "looked at a pull secret that somebody changed"
    );
    Looked::Done
}

/// What the pods that name the Secret, and the configuration, want it to open.
async fn wanted(term: &Term, namespace: &str) -> Result<Vec<(Registry, Identity)>, Refusal> {
    let mut wanted: BTreeSet<(Registry, Identity)> = BTreeSet::new();
    wanted.extend(provisioned(term, namespace).await?);
    let mut pages = Pages::namespaced(&term.engine.clients, namespace);
    while let Some(pods) = pages.next().await? {
        for pod in &pods {
            if let Standing::Served(registries) = judge(term, pod).await {
                wanted.extend(registries);
            }
        }
    }
    Ok(wanted.into_iter().collect())
}

/// What the configuration wants a namespace's Secret to open, pods or no pods.
///
/// # Errors
///
/// [`Refusal`], where the labels of the namespace cannot be read.
pub(crate) async fn provisioned(
    term: &Term,
    namespace: &str,
) -> Result<Vec<(Registry, Identity)>, Refusal> {
    if term.engine.live.snapshot().provision.is_empty() {
        return Ok(Vec::new());
    }
    let found = namespaces::read(&term.engine.clients.call, namespace).await?;
    let Some(found) = found else {
        return Ok(Vec::new());
    };
    Ok(provision::provisioned(&term.engine, &found, |_| ()))
}
