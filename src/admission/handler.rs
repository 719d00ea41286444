//! A review to an answer. The only waiting is for facts that memory does not have, and for
//! [`crate::pull_secret::ensure`], and both end at the deadline: the pod gets its patch in any case.

use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::admission::patch::Patches;
use ecr_pull_secrets_core::admission::pod::{Decision, List, Wish, decide};
use ecr_pull_secrets_core::admission::review::{Answer, Outcome, Review};
use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::image::Registry;
use ecr_pull_secrets_core::rules::Identity;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info};

use crate::cluster::namespaces::Known;
use crate::pull_secret::ensure::{Ensured, Wanted};
use crate::scope::Scope;
use crate::telemetry::metrics::Trigger;
use crate::telemetry::ration::Ration;

/// Of an admission's time, AWS gets so much.
const AWS_PATIENCE: Duration = Duration::from_secs(2);

/// Answers reviews.
pub struct Admission {
    patches: Patches,
    scope: Arc<Scope>,
    ration: Ration,
}

impl Admission {
    /// Makes the patches.
    pub fn new(scope: Arc<Scope>) -> Self {
        let patches = Patches::new(&scope.settings.secret_name);
        Self {
            patches,
            scope,
            ration: Ration::default(),
        }
    }

    /// Answers a review until `deadline`.
    pub async fn admit<'a>(&'a self, review: &'a Review<'_>, deadline: Instant) -> Answer<'a> {
        let uid = &*review.uid;
        let namespace = &*review.namespace;
        let known = match self.scope.namespaces.cached(namespace) {
            Some(known) => known,
            None => {
                // What no wish of the namespace's can change needs no look at it.
                if let Decision::Skip(skip) = decide(&review.pod, Wish::In, &self.scope.settings) {
                    return Answer::skipped(uid, skip.name());
                }
                let look_up = timeout_at(deadline, self.scope.namespaces.look_up(namespace)).await;
                look_up.unwrap_or(Known::Unknown)
            }
        };
        let (list, registries) = match decide(&review.pod, known.wish(), &self.scope.settings) {
            Decision::Skip(skip) => return Answer::skipped(uid, skip.name()),
            Decision::Serve { list, registries } => (list, registries),
        };
        match known {
            // Nobody can create a pod there: somebody made the review up.
            Known::Missing => return Answer::skipped(uid, Cause::NamespaceMissing.name()),
            // Nor here; so what we know of the namespace is old, and the pod is real.
            Known::Terminating(_) => {
                let patch = self.patches.for_list(list).filter(|_| !review.is_running);
                return self.degraded(review, patch, &[Cause::NamespaceTerminating]);
            }
            Known::Active(_) | Known::Unknown => {}
        }
        if review.is_running {
            return self
                .serve_running(review, list, &registries, deadline)
                .await;
        }
        if list != List::Named {
            let account = review.pod.service_account();
            let forbids = self.scope.service_accounts.forbids(namespace, account);
            if timeout_at(deadline, forbids).await.unwrap_or(false) {
                return self.degraded(review, None, &[Cause::ServiceAccountRestricted]);
            }
        }
        let (allowed, is_denied) = self.judge(namespace, &registries);
        let mut causes = Vec::from_iter(is_denied.then_some(Cause::DeniedByRule));
        if allowed.is_empty() {
            return self.degraded(review, None, &causes);
        }
        let patch = self.patches.for_list(list);
        if !review.dry_run
            && let Ensured::Late(cause) = self.ensure(namespace, &allowed, deadline).await
        {
            causes.insert(0, cause);
        }
        if causes.contains(&Cause::ForeignMalformed) {
            return self.degraded(review, None, &causes);
        }
        if !causes.is_empty() {
            return self.degraded(review, patch, &causes);
        }
        let outcome = if list == List::Named {
            Outcome::AlreadyPresent
        } else {
            Outcome::Injected
        };
        debug!(namespace, outcome = outcome.name(), "admitted");
        Answer {
            uid,
            outcome,
            cause: "",
            patch,
            warnings: Vec::new(),
        }
    }

    /// A running pod keeps the references it was made with; the Secret behind them can still learn
    /// a registry.
    async fn serve_running<'a>(
        &'a self,
        review: &'a Review<'_>,
        list: List,
        registries: &[Registry],
        deadline: Instant,
    ) -> Answer<'a> {
        if list != List::Named {
            return self.degraded(review, None, &[Cause::PodLacksReference]);
        }
        let (allowed, is_denied) = self.judge(&review.namespace, registries);
        let mut causes = Vec::from_iter(is_denied.then_some(Cause::DeniedByRule));
        if !review.dry_run
            && !allowed.is_empty()
            && let Ensured::Late(cause) = self.ensure(&review.namespace, &allowed, deadline).await
        {
            causes.insert(0, cause);
        }
        if !causes.is_empty() {
            return self.degraded(review, None, &causes);
        }
        let outcome = Outcome::AlreadyPresent;
        Answer {
            uid: &review.uid,
            outcome,
            cause: "",
            patch: None,
            warnings: Vec::new(),
        }
    }

    async fn ensure(
        &self,
        namespace: &str,
        registries: &[(Registry, Identity)],
        deadline: Instant,
    ) -> Ensured {
        let mint_by = Instant::now() + AWS_PATIENCE;
        let wanted = Wanted {
            namespace,
            registries,
            mint_by,
            done_by: deadline,
            trigger: Trigger::admission,
        };
        self.scope.pull_secrets.ensure(wanted).await
    }

    /// The registries that the rules allow, and whether they deny one.
    fn judge(&self, namespace: &str, registries: &[Registry]) -> (Vec<(Registry, Identity)>, bool) {
        let allowed = self.scope.allowed(namespace, registries);
        let is_denied = allowed.len() < registries.len();
        (allowed, is_denied)
    }

    fn degraded<'a>(
        &self,
        review: &'a Review<'_>,
        patch: Option<&'a str>,
        causes: &[Cause],
    ) -> Answer<'a> {
        if let Some(unsaid) = self.ration.take() {
            let names: Vec<_> = causes.iter().map(|cause| cause.name()).collect();
            info!(
                uid = &*review.uid,
                namespace = &*review.namespace,
                causes = names.join(","),
                reference = patch.is_some(),
                unsaid,
                "admitted with a warning"
            );
        }
        Answer::degraded(&review.uid, patch, causes)
    }
}
