//! Removes entries of ours from a pull Secret, and the Secret itself if nothing else is in it.
//!
//! What to remove is decided by [`withdrawal`], after a read. Write and deletion carry the version
//! that was read, as every other write does.

use std::time::Duration;

use ecr_pull_secrets_core::backoff::{Backoff, jittered};
use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::pull_secret::revision::Edit;
use ecr_pull_secrets_core::pull_secret::withdrawal::{Withdrawal, WithdrawalTime, withdrawal};
use ecr_pull_secrets_core::target::Target;
use tokio::time::sleep;
use tracing::{info, warn};

use super::ledger::Ledger;
use super::metadata::secret_metadata;
use crate::clock;
use crate::cluster::optimistic::version_of;
use crate::cluster::pull_secrets::{PullSecretApi, view};
use crate::cluster::refusal::Refusal;

/// Rounds of one withdrawal, each a read and a write.
const ROUNDS: u32 = 4;
/// Pauses between two rounds.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(40), Duration::from_millis(640));

/// Removes the entries of these hosts, if it is time. Returns whether the Secret changed.
///
/// # Errors
///
/// The cause that prevents it; it has been logged.
pub(crate) async fn withdraw(
    api: &PullSecretApi,
    ledger: &Ledger,
    target: &Target,
    time: WithdrawalTime,
    is_withdrawn: impl Fn(&str) -> bool,
) -> Result<bool, Cause> {
    for round in 1..=ROUNDS {
        match one_round(api, ledger, target, time, &is_withdrawn).await {
            Ok(is_changed) => return Ok(is_changed),
            Err(refusal) if refusal.is_conflict() => {
                sleep(jittered(PAUSES.nth(round), fastrand::f64())).await;
            }
            Err(refusal) => {
                let namespace = &*target.namespace;
                let (cause, detail) = refusal.into_parts();
                let cause_name = cause.name();
                warn!(
                    namespace,
                    cause = cause_name,
                    detail,
                    "cannot remove entries of a pull secret"
                );
                return Err(cause);
            }
        }
    }
    Err(Cause::WriteContended)
}

async fn one_round(
    api: &PullSecretApi,
    ledger: &Ledger,
    target: &Target,
    time: WithdrawalTime,
    is_withdrawn: &impl Fn(&str) -> bool,
) -> Result<bool, Refusal> {
    let namespace = &*target.namespace;
    let Some(secret) = api.read(target).await? else {
        ledger.missed(target);
        return Ok(false);
    };
    let metadata = &secret.metadata;
    let edit = if secret_metadata(metadata).is_edited() {
        Edit::Tolerable
    } else {
        Edit::Absent
    };
    let base = version_of(metadata);
    let found = withdrawal(&view(&secret), edit, time, is_withdrawn, clock::now());
    // What it held may be 1 MiB.
    drop(secret);
    match found {
        Withdrawal::Unneeded => return Ok(false),
        Withdrawal::Write(content) => {
            let written = api.apply(target, Some(&base), &content).await?;
            ledger.saw(&written);
            let registries = content.described.0.len();
            info!(namespace, registries, "removed entries of a pull secret");
        }
        Withdrawal::Delete => {
            api.remove(target, &base).await?;
            ledger.missed(target);
            info!(
                namespace,
                "removed a pull secret whose registries are not served any more"
            );
        }
    }
    Ok(true)
}
