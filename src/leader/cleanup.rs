//! Pull Secrets that nobody uses any more: marked, and after `secret.cleanupAfter` removed.
//!
//! The mark is an annotation, set by a merge patch: applies remove only what an apply has set.
//! A Secret goes only if it is ours, holds nothing but ECR credentials, and a last look at the
//! namespace finds no pod that names it. One that is needed after all comes back with the next pod.

use std::collections::HashSet;

use ecr_pull_secrets_core::pull_secret::content::is_exclusive;
use ecr_pull_secrets_core::pull_secret::{MANAGED_BY, OWNER};
use ecr_pull_secrets_core::target::Target;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tracing::{debug, info, warn};

use super::repairs::provisioned;
use super::term::Term;
use crate::clock;
use crate::cluster::optimistic::version_of;
use crate::cluster::pages::Pages;
use crate::cluster::pull_secrets::{PullSecretApi, UNUSED_SINCE};
use crate::cluster::refusal::Refusal;
use crate::pull_secret::metadata::secret_metadata;

/// A mark from further ahead comes from a wrong clock.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// Runs after a sweep, which found these namespaces in use.
pub(super) async fn run(term: &Term, in_use: &HashSet<Box<str>>) {
    let Some(after) = term.engine.live.snapshot().secret.cleanup_after else {
        return;
    };
    let after = SignedDuration::try_from(after).unwrap_or(SignedDuration::MAX);
    match each(term, in_use, after).await {
        Ok(()) => debug!("looked at all pull secrets"),
        Err(refusal) => warn!(error = %refusal, "cannot look for unused pull secrets"),
    }
}

async fn each(
    term: &Term,
    in_use: &HashSet<Box<str>>,
    after: SignedDuration,
) -> Result<(), Refusal> {
    let config = term.engine.live.snapshot();
    let name = &config.settings.secret_name;
    let mut pages = api(term).pages(name);
    while let Some(secrets) = pages.next().await? {
        for secret in &secrets {
            let metadata = &secret.metadata;
            let namespace = metadata.namespace.as_deref().unwrap_or_default();
            match tidy(term, metadata, in_use, after).await {
                // Most likely it was rotated just now; tomorrow is another day.
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

/// What is to become of a Secret.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Keep,
    Mark,
    Unmark,
    Remove,
}

fn next(metadata: &ObjectMeta, is_used: bool, after: SignedDuration, now: Timestamp) -> Next {
    let annotations = metadata.annotations.as_ref();
    let annotation = |name: &str| annotations?.get(name).map(String::as_str);
    let label = |name: &str| metadata.labels.as_ref()?.get(name).map(String::as_str);
    if label(MANAGED_BY) != Some(OWNER) || metadata.deletion_timestamp.is_some() {
        return Next::Keep;
    }
    let mark = annotation(UNUSED_SINCE);
    if is_used {
        return mark.map_or(Next::Keep, |_| Next::Unmark);
    }
    let since = mark
        .and_then(|mark| mark.parse::<Timestamp>().ok())
        .filter(|since| since.duration_since(now) < AHEAD);
    match since {
        None => Next::Mark,
        Some(since) if now.duration_since(since) < after => Next::Keep,
        // What else is in it, or who else writes it, may have a use that we do not know of.
        Some(_) if secret_metadata(metadata).is_edited() || !is_exclusive(annotation) => Next::Keep,
        Some(_) => Next::Remove,
    }
}

async fn tidy(
    term: &Term,
    metadata: &ObjectMeta,
    in_use: &HashSet<Box<str>>,
    after: SignedDuration,
) -> Result<(), Refusal> {
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let mut is_used = in_use.contains(namespace);
    if !is_used && !term.engine.live.snapshot().provision.is_empty() {
        // Where that cannot be told, it is.
        is_used = provisioned(term, namespace)
            .await
            .map_or(true, |registries| !registries.is_empty());
    }
    match next(metadata, is_used, after, clock::now()) {
        Next::Keep => Ok(()),
        Next::Mark => mark(term, metadata, Some(clock::now())).await,
        Next::Unmark => mark(term, metadata, None).await,
        Next::Remove => remove(term, namespace, metadata).await,
    }
}

/// Says since when, or that it is used again.
async fn mark(term: &Term, metadata: &ObjectMeta, since: Option<Timestamp>) -> Result<(), Refusal> {
    let answer = api(term)
        .mark_unused(&target(term, metadata), &version_of(metadata), since)
        .await?;
    // Rotation writes on top of what the ledger knows.
    term.engine.ledger.saw(&answer);
    Ok(())
}

async fn remove(term: &Term, namespace: &str, metadata: &ObjectMeta) -> Result<(), Refusal> {
    let mut pages = Pages::namespaced(&term.engine.clients, namespace);
    loop {
        match pages.next().await {
            Ok(Some(pods)) => {
                let config = term.engine.live.snapshot();
                let names = &config.settings.secret_name;
                if pods.iter().any(|pod| pod.pod.names(names)) {
                    return mark(term, metadata, None).await;
                }
            }
            Ok(None) => break,
            Err(error) => {
                warn!(namespace, %error, "cannot list pods");
                return Ok(());
            }
        }
    }
    api(term)
        .remove(&target(term, metadata), &version_of(metadata))
        .await?;
    info!(namespace, "removed a pull secret that no pod uses");
    Ok(())
}

fn api(term: &Term) -> PullSecretApi {
    PullSecretApi::new(term.engine.clients.call.clone())
}

fn target(term: &Term, metadata: &ObjectMeta) -> Target {
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let config = term.engine.live.snapshot();
    Target::new(namespace, config.settings.secret_name.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const DAY: SignedDuration = SignedDuration::from_hours(24);

    fn metadata(mark: Option<&str>) -> Value {
        let mut metadata = json!({
            "labels": { "app.kubernetes.io/managed-by": "ecr-pull-secrets" },
            "annotations": {
                "ecr-pull-secrets.dev/format": "1",
                "ecr-pull-secrets.dev/exclusive": "true",
            },
        });
        if let Some(mark) = mark {
            metadata["annotations"][UNUSED_SINCE] = mark.into();
        }
        metadata
    }

    fn at(metadata: Value, is_used: bool, now: &str) -> Next {
        let metadata = serde_json::from_value(metadata).unwrap();
        next(&metadata, is_used, DAY, now.parse().unwrap())
    }

    #[test]
    fn an_unused_secret_is_marked_and_removed_when_its_time_is_over() {
        let since = Some("2026-01-01T00:00:00Z");
        assert_eq!(at(metadata(None), true, "2026-01-01T00:00:00Z"), Next::Keep);
        assert_eq!(
            at(metadata(None), false, "2026-01-01T00:00:00Z"),
            Next::Mark
        );
        assert_eq!(
            at(metadata(since), false, "2026-01-01T23:59:59Z"),
            Next::Keep
        );
        assert_eq!(
            at(metadata(since), false, "2026-01-02T00:00:00Z"),
            Next::Remove
        );
        assert_eq!(
            at(metadata(since), true, "2026-01-02T00:00:00Z"),
            Next::Unmark
        );
    }

    #[test]
    fn a_mark_that_cannot_be_is_made_anew() {
        for mark in ["", "yesterday", "2026-01-03T00:00:00Z"] {
            let marked = metadata(Some(mark));
            assert_eq!(at(marked, false, "2026-01-01T00:00:00Z"), Next::Mark);
        }
        // Clocks differ a little.
        let marked = metadata(Some("2026-01-01T01:00:00Z"));
        assert_eq!(at(marked, false, "2026-01-01T00:00:00Z"), Next::Keep);
    }

    #[test]
    fn what_is_not_ours_alone_stays() {
        let old = || metadata(Some("2026-01-01T00:00:00Z"));
        let now = "2027-01-01T00:00:00Z";
        assert_eq!(at(old(), false, now), Next::Remove);
        let mut foreign = old();
        foreign["labels"] = json!({});
        let mut going = old();
        going["deletionTimestamp"] = now.into();
        let mut shared = old();
        shared["annotations"]["ecr-pull-secrets.dev/exclusive"] = Value::Null;
        let mut newer = old();
        newer["annotations"]["ecr-pull-secrets.dev/format"] = "2".into();
        let mut edited = old();
        edited["managedFields"] = json!([{ "manager": "kubectl-edit", "fieldsV1": {
            "f:data": { "f:.dockerconfigjson": {} } } }]);
        for kept in [foreign, going, edited, newer] {
            assert_eq!(at(kept.clone(), false, now), Next::Keep, "{kept}");
        }
        shared["annotations"]
            .as_object_mut()
            .unwrap()
            .remove("ecr-pull-secrets.dev/exclusive");
        assert_eq!(at(shared, false, now), Next::Keep);
    }
}
