//! Pull Secrets that another writer deleted or changed.
//!
//! A deleted one is re-created where pods name it or the configuration provisions it; an unused one
//! stays away, whether our clean-up or another writer deleted it. A changed one is repaired or left
//! for a while, as [writing](crate::pull_secret::write) decides. The more often a writer changes it,
//! the longer the pauses between checks.

use std::time::Duration;

use ecr_pull_secrets_core::pull_secret::held::SecretChange;
use ecr_pull_secrets_core::pull_secret::repair_schedule::RepairSchedule;
use ecr_pull_secrets_core::target::Target;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::attend::repair;
use super::term::Term;
use crate::clock;
use crate::pull_secret::ledger::Changed;
use crate::telemetry::chain::chain;
use crate::wants::WantedNow;

/// The most checks at a time.
const MAX_CHECKS: usize = 16;
/// The wait for one repair before the next check; the repair goes on.
const REPAIR_TIMEOUT: Duration = Duration::from_secs(2);

/// Reads the changes until it is dropped; acts on them while this replica leads.
pub(super) async fn run(term: &Term, changes: &mut UnboundedReceiver<Changed>, is_leading: bool) {
    let start = Instant::now();
    let mut schedule = RepairSchedule::default();
    let mut checks = FuturesUnordered::new();
    loop {
        let next = schedule.next().filter(|_| checks.len() < MAX_CHECKS);
        tokio::select! {
            change = changes.recv() => match change {
                Some((_, SecretChange::Written)) => {}
                Some((target, SecretChange::Edited | SecretChange::Deleted)) => {
                    if is_leading {
                        schedule.changed(target, start.elapsed());
                    }
                }
                // The ledger's watch has ended, and the process is about to end.
                None => std::future::pending().await,
            },
            Some((target, has_failed)) = checks.next() => {
                schedule.end(target, has_failed, start.elapsed());
            }
            () = clock::at(next.map(|at| start + at)) => {
                if let Some(target) = schedule.begin(start.elapsed()) {
                    checks.push(async move {
                        let has_failed = !check(term, &target).await;
                        (target, has_failed)
                    });
                }
            }
        }
    }
}

/// Makes a Secret open what is wanted of it, if anything. False if that cannot be said now.
async fn check(term: &Term, target: &Target) -> bool {
    let namespace = &*target.namespace;
    let wanted = match term.engine.wants.of(target).await {
        Ok(wanted) => wanted,
        Err(error) => {
            warn!(
                namespace,
                error = chain(&error),
                "cannot tell which registries a changed pull secret shall open"
            );
            return false;
        }
    };
    let Some(WantedNow { claim, registries }) = wanted else {
        match term.engine.wants.unserved(namespace).await {
            Some(unserved) => {
                let reason = unserved.name();
                debug!(
                    namespace,
                    reason, "a pull secret changed where none is to be"
                );
            }
            None => debug!(namespace, "a pull secret changed that nothing needs"),
        }
        return true;
    };
    let result = repair(term, target, &registries, claim, REPAIR_TIMEOUT).await;
    info!(namespace, ?result, "checked a changed pull secret");
    true
}
