//! Pull Secrets that nothing uses: marked, and removed after `secret.cleanupAfter`.
//!
//! A Secret is in use if a pod names it, mounts it or reads it into its environment, if a ServiceAccount
//! lists it, or if the configuration wants it. The mark is an annotation, set by a merge patch: applies
//! remove only what an apply has set. A Secret is removed only if it is ours, holds nothing but ECR
//! credentials, and a last list of the namespace's pods and ServiceAccounts has none that uses it. The
//! next pod re-creates one that is needed after all.

use std::collections::HashSet;

use ecr_pull_secrets_core::pull_secret::content::is_exclusive;
use ecr_pull_secrets_core::pull_secret::usage::{CleanupStep, Usage, next_step};
use ecr_pull_secrets_core::pull_secret::{MANAGED_BY, OWNER, annotation};
use ecr_pull_secrets_core::target::Target;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tracing::{debug, info, warn};

use super::term::Term;
use crate::clock;
use crate::cluster::optimistic::version_of;
use crate::cluster::pull_secrets::PullSecretApi;
use crate::cluster::refusal::Refusal;
use crate::config::InForce;
use crate::pull_secret::metadata::secret_metadata;
use crate::telemetry::chain::chain;

/// Runs after a sweep, which found what pods name.
pub(super) async fn run(term: &Term) {
    let config = term.engine.live.snapshot();
    let Some(after) = config.secret.cleanup_after else {
        return;
    };
    let cleanup = Cleanup {
        term,
        config: &config,
        api: term.engine.secrets.clone(),
        after: SignedDuration::try_from(after).unwrap_or(SignedDuration::MAX),
    };
    match cleanup.all().await {
        Ok(()) => debug!("checked all pull secrets"),
        Err(refusal) => {
            let (cause, detail) = refusal.into_parts();
            let cause = cause.name();
            warn!(cause, detail, "cannot list pull secrets for the clean-up");
        }
    }
}

/// One run.
struct Cleanup<'a> {
    term: &'a Term,
    config: &'a InForce,
    api: PullSecretApi,
    /// The time from the mark to the removal.
    after: SignedDuration,
}

impl Cleanup<'_> {
    async fn all(&self) -> Result<(), Refusal> {
        let mut pages = self.api.pages(&self.config.secret.name);
        let mut listed = None;
        while let Some(secrets) = pages.next().await? {
            for secret in &secrets {
                let namespace = secret.metadata.namespace.as_deref().unwrap_or_default();
                let target = self.config.target(namespace);
                let Some(mut is_in_use) = self.term.engine.wants.is_used(&target) else {
                    continue; // the next run knows
                };
                if !is_in_use {
                    is_in_use = self.listed(&mut listed).await?.contains(namespace);
                }
                match self.one(&target, &secret.metadata, is_in_use).await {
                    // Most likely a rotation wrote it just now; the next run checks it again.
                    Err(refusal) if refusal.is_conflict() => {
                        debug!(namespace, "a pull secret changed under the clean-up");
                    }
                    Err(refusal) => {
                        let (cause, detail) = refusal.into_parts();
                        let cause = cause.name();
                        warn!(namespace, cause, detail, "cannot clean up a pull secret");
                    }
                    Ok(()) => {}
                }
            }
        }
        Ok(())
    }

    /// The namespaces in which a ServiceAccount lists the Secret. They are asked for once in a run, and
    /// only if pods and configuration leave a Secret unused.
    async fn listed<'a>(
        &self,
        known: &'a mut Option<HashSet<String>>,
    ) -> Result<&'a HashSet<String>, Refusal> {
        let listed = match known.take() {
            Some(listed) => listed,
            None => {
                let wants = &self.term.engine.wants;
                wants.listed_by_accounts(&self.config.secret.name).await?
            }
        };
        Ok(known.insert(listed))
    }

    async fn one(
        &self,
        target: &Target,
        metadata: &ObjectMeta,
        is_in_use: bool,
    ) -> Result<(), Refusal> {
        match next_step(usage(metadata), is_in_use, self.after, clock::now()) {
            CleanupStep::Keep => Ok(()),
            CleanupStep::Mark => self.mark(target, metadata, Some(clock::now())).await,
            CleanupStep::Unmark => self.mark(target, metadata, None).await,
            CleanupStep::Remove => self.remove(target, metadata).await,
        }
    }

    /// Writes since when nothing uses the Secret; `None` removes the mark.
    async fn mark(
        &self,
        target: &Target,
        metadata: &ObjectMeta,
        since: Option<Timestamp>,
    ) -> Result<(), Refusal> {
        let base = version_of(metadata);
        let written = self.api.mark_unused(target, &base, since).await?;
        // Rotation writes on top of what the ledger knows.
        self.term.engine.ledger.saw(&written);
        Ok(())
    }

    async fn remove(&self, target: &Target, metadata: &ObjectMeta) -> Result<(), Refusal> {
        let namespace = &*target.namespace;
        match self.term.engine.wants.is_used_now(target).await {
            Ok(true) => return self.mark(target, metadata, None).await,
            Ok(false) => {}
            Err(error) => {
                warn!(
                    namespace,
                    error = chain(&error),
                    "cannot tell whether a pull secret is in use"
                );
                return Ok(());
            }
        }
        self.api.remove(target, &version_of(metadata)).await?;
        info!(namespace, "removed a pull secret that nothing uses");
        Ok(())
    }
}

/// What decides about a Secret with this metadata.
fn usage(metadata: &ObjectMeta) -> Usage<'_> {
    let annotations = metadata.annotations.as_ref();
    let annotation = |name: &str| annotations?.get(name).map(String::as_str);
    let labels = metadata.labels.as_ref();
    let owner = labels.and_then(|labels| labels.get(MANAGED_BY));
    Usage {
        is_ours: owner.is_some_and(|owner| owner == OWNER),
        is_terminating: metadata.deletion_timestamp.is_some(),
        is_edited: secret_metadata(metadata).is_edited(),
        is_exclusive: is_exclusive(annotation),
        unused_since: annotation(annotation::UNUSED_SINCE),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn step(metadata: &Value) -> CleanupStep {
        let metadata: ObjectMeta = serde_json::from_value(metadata.clone()).unwrap();
        let after = SignedDuration::from_hours(24);
        let now = "2027-01-01T00:00:00Z".parse().unwrap();
        next_step(usage(&metadata), false, after, now)
    }

    #[test]
    fn metadata_shows_whether_a_secret_is_ours_alone() {
        let old = || {
            json!({
                "labels": { "app.kubernetes.io/managed-by": "ecr-pull-secrets" },
                "annotations": {
                    "ecr-pull-secrets.dev/format": "1",
                    "ecr-pull-secrets.dev/exclusive": "true",
                    "ecr-pull-secrets.dev/unused-since": "2026-01-01T00:00:00Z",
                },
            })
        };
        assert_eq!(step(&old()), CleanupStep::Remove);
        let mut foreign = old();
        foreign["labels"] = json!({});
        let mut terminating = old();
        terminating["deletionTimestamp"] = "2027-01-01T00:00:00Z".into();
        let mut newer = old();
        newer["annotations"]["ecr-pull-secrets.dev/format"] = "2".into();
        let mut edited = old();
        edited["managedFields"] = json!([{ "manager": "kubectl-edit", "fieldsV1": {
            "f:data": { "f:.dockerconfigjson": {} } } }]);
        let mut shared = old();
        let annotations = shared["annotations"].as_object_mut().unwrap();
        annotations.remove("ecr-pull-secrets.dev/exclusive");
        for kept in [foreign, terminating, newer, edited, shared] {
            assert_eq!(step(&kept), CleanupStep::Keep, "{kept}");
        }
        let mut unmarked = old();
        let annotations = unmarked["annotations"].as_object_mut().unwrap();
        annotations.remove("ecr-pull-secrets.dev/unused-since");
        assert_eq!(step(&unmarked), CleanupStep::Mark);
    }
}
