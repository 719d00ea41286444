//! Pull Secrets that nothing uses: marked, and removed after `secret.cleanupAfter`.
//!
//! The mark is an annotation, set by a merge patch: applies remove only what an apply has set. A
//! Secret is removed only if it is ours, holds nothing but ECR credentials, and a last list of the
//! namespace's pods has none that names it. The next pod re-creates one that is needed after all.

use std::collections::HashSet;

use ecr_pull_secrets_core::pull_secret::content::is_exclusive;
use ecr_pull_secrets_core::pull_secret::usage::{CleanupStep, Usage, next_step};
use ecr_pull_secrets_core::pull_secret::{MANAGED_BY, OWNER, annotation};
use ecr_pull_secrets_core::target::Target;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::core::PartialObjectMeta;
use serde_json::json;
use tracing::{debug, info, warn};

use super::term::Term;
use crate::clock;
use crate::cluster::pull_secrets::within;
use crate::cluster::refusal::Refusal;
use crate::config::InForce;
use crate::pull_secret::ledger::is_edited;
use crate::telemetry::chain::chain;

/// The field manager of the mark.
const MANAGER: &str = "ecr-pull-secrets-cleanup";
/// Secrets in one answer: some 2 KiB of metadata each.
const PAGE: u32 = 250;

/// Runs after a sweep, which found that pods name these Secrets.
pub(super) async fn run(term: &Term, named: &HashSet<Target>) {
    let config = term.engine.live.snapshot();
    let Some(after) = config.secret.cleanup_after else {
        return;
    };
    let cleanup = Cleanup {
        term,
        config: &config,
        name: &config.settings.secret_name,
        named,
        after: SignedDuration::try_from(after).unwrap_or(SignedDuration::MAX),
    };
    match cleanup.all().await {
        Ok(()) => debug!("checked all pull secrets"),
        Err(refusal) => warn!(error = text(refusal), "cannot look for unused pull secrets"),
    }
}

fn text(refusal: Refusal) -> String {
    match refusal {
        Refusal::Changed | Refusal::Owned => "it changed meanwhile".to_owned(),
        Refusal::Because(cause, detail) => format!("{cause}: {detail}"),
    }
}

/// One run.
struct Cleanup<'a> {
    term: &'a Term,
    config: &'a InForce,
    /// The name of every pull Secret.
    name: &'a str,
    /// The Secrets that pods name.
    named: &'a HashSet<Target>,
    /// The time from the mark to the removal.
    after: SignedDuration,
}

impl Cleanup<'_> {
    async fn all(&self) -> Result<(), Refusal> {
        let client = self.term.engine.clients.call.clone();
        let secrets: Api<PartialObjectMeta<Secret>> = Api::all(client);
        let mut params = ListParams::default()
            .fields(&format!("metadata.name={}", self.name))
            .limit(PAGE);
        loop {
            let page = within(|| secrets.list(&params)).await?;
            for secret in &page.items {
                let namespace = secret.metadata.namespace.as_deref().unwrap_or_default();
                let target = self.config.target(namespace);
                match self.one(&target, &secret.metadata).await {
                    // Most likely a rotation wrote it just now; the next run is tomorrow.
                    Err(Refusal::Changed | Refusal::Owned) => {
                        debug!(namespace, "a pull secret changed under the clean-up");
                    }
                    Err(Refusal::Because(cause, detail)) => {
                        let cause = cause.name();
                        warn!(namespace, cause, detail, "cannot clean up a pull secret");
                    }
                    Ok(()) => {}
                }
            }
            match page.metadata.continue_ {
                Some(token) if !token.is_empty() => params.continue_token = Some(token),
                _ => return Ok(()),
            }
        }
    }

    async fn one(&self, target: &Target, metadata: &ObjectMeta) -> Result<(), Refusal> {
        let wants = &self.term.engine.wants;
        // Where the API server does not tell, it counts as in use.
        let is_in_use = self.named.contains(target)
            || wants
                .is_provisioned(self.config, target)
                .await
                .unwrap_or(true);
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
        let since = since.and_then(|since| since.round(jiff::Unit::Second).ok());
        let patch = Patch::Merge(json!({ "metadata": {
            "uid": metadata.uid,
            "resourceVersion": metadata.resource_version,
            "annotations": { annotation::UNUSED_SINCE: since.map(|since| since.to_string()) },
        }}));
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let secrets = self.secrets(target);
        let answer = within(|| secrets.patch_metadata(self.name, &params, &patch)).await?;
        // Rotation writes on top of what the ledger knows.
        self.term.engine.ledger.saw(&answer.metadata);
        Ok(())
    }

    async fn remove(&self, target: &Target, metadata: &ObjectMeta) -> Result<(), Refusal> {
        let namespace = &*target.namespace;
        match self.term.engine.wants.is_named(target).await {
            Ok(true) => return self.mark(target, metadata, None).await,
            Ok(false) => {}
            Err(error) => {
                let error = chain(&error);
                warn!(
                    namespace,
                    error, "cannot tell whether pods use a pull secret"
                );
                return Ok(());
            }
        }
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: metadata.uid.clone(),
                resource_version: metadata.resource_version.clone(),
            }),
            ..DeleteParams::default()
        };
        let secrets = self.secrets(target);
        within(|| secrets.delete(self.name, &params)).await?;
        info!(namespace, "removed a pull secret that no pod uses");
        Ok(())
    }

    fn secrets(&self, target: &Target) -> Api<Secret> {
        Api::namespaced(self.term.engine.clients.call.clone(), &target.namespace)
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
        is_edited: is_edited(metadata),
        is_exclusive: is_exclusive(annotation),
        unused_since: annotation(annotation::UNUSED_SINCE),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

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
