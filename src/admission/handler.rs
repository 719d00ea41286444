//! A review to an answer. The only waiting is for facts that memory does not have, and for
//! [`crate::pull_secret::ensure`], and both end at the deadline: the pod gets its patch in any case.

use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::admission::patch::Patches;
use ecr_pull_secrets_core::admission::review::{Answer, Outcome, Review};
use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::identity::Identity;
use ecr_pull_secrets_core::image::Registry;
use ecr_pull_secrets_core::selection::Wish;
use ecr_pull_secrets_core::workload::pod::{Decision, List, decide};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{debug, info};

use crate::cluster::namespaces::Known;
use crate::engine::Engine;
use crate::pull_secret::ensure::{Ensured, Wanted};
use crate::telemetry::metrics::Trigger;
use crate::telemetry::ration::Ration;

/// Of an admission's time, AWS gets so much.
const AWS_PATIENCE: Duration = Duration::from_secs(2);

/// The node of a running pod hears of the container and of the Secret by two watches, and pulls at
/// once: the Secret goes first.
const HEAD_START: Duration = Duration::from_millis(300);
/// Reviews that wait at a time, fewer than connections. One that waits for AWS does for 2 s.
const PLACES: usize = 384;

/// Why a review is not answered. Nothing was begun for it.
#[derive(Debug, thiserror::Error)]
#[error("too many reviews wait")]
pub(crate) struct Crowded;

/// Answers reviews. Only one that has to wait needs a place: however many do, the others are answered.
pub(crate) struct Admission {
    patches: Patches,
    engine: Arc<Engine>,
    ration: Ration,
    places: Semaphore,
}

impl Admission {
    /// Makes the patches.
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        let patches = Patches::new(&engine.live.snapshot().settings.secret_name);
        Self {
            patches,
            engine,
            ration: Ration::default(),
            places: Semaphore::new(PLACES),
        }
    }

    /// Answers a review until `deadline`.
    ///
    /// # Errors
    ///
    /// [`Crowded`] if it would have to wait, and there is no place.
    pub(crate) async fn admit<'a>(
        &'a self,
        review: &'a Review<'_>,
        deadline: Instant,
    ) -> Result<Answer<'a>, Crowded> {
        let mut place = None;
        let uid = &*review.uid;
        let namespace = &*review.namespace;
        let known = match self.engine.namespaces.cached(namespace) {
            Some(known) => known,
            None => {
                // What no wish of the namespace's can change needs no look at it.
                if let Decision::Skip(skip) =
                    decide(&review.pod, Wish::In, &self.engine.live.snapshot().settings)
                {
                    return Ok(Answer::skipped(uid, skip.name()));
                }
                self.seat(&mut place)?;
                let look_up = timeout_at(deadline, self.engine.namespaces.look_up(namespace)).await;
                look_up.unwrap_or(Known::Unknown)
            }
        };
        let (list, registries) = match decide(
            &review.pod,
            known.wish(),
            &self.engine.live.snapshot().settings,
        ) {
            Decision::Skip(skip) => return Ok(Answer::skipped(uid, skip.name())),
            Decision::Serve { list, registries } => (list, registries),
        };
        match known {
            // Nobody can create a pod there: somebody made the review up.
            Known::Missing => return Ok(Answer::skipped(uid, Cause::NamespaceMissing.name())),
            // Nor here; so what we know of the namespace is old, and the pod is real.
            Known::Terminating(_) => {
                let patch = self.patches.for_list(list).filter(|_| !review.is_running);
                return Ok(self.degraded(review, patch, &[Cause::NamespaceTerminating]));
            }
            Known::Active(_) | Known::Unknown => {}
        }
        if review.is_running {
            return self
                .serve_running(review, list, &registries, deadline, &mut place)
                .await;
        }
        if list != List::Named {
            let account = review.pod.service_account();
            let accounts = &self.engine.service_accounts;
            let config = self.engine.live.snapshot();
            let secret = config.settings.secret_name.as_str();
            let forbids = match accounts.cached(namespace, account, secret) {
                Some(forbids) => forbids,
                None => {
                    self.seat(&mut place)?;
                    let forbids = accounts.forbids(namespace, account, secret);
                    timeout_at(deadline, forbids).await.unwrap_or(false)
                }
            };
            if forbids {
                return Ok(self.degraded(review, None, &[Cause::ServiceAccountRestricted]));
            }
        }
        let (allowed, is_denied) = self.judge(namespace, &registries);
        let mut causes = Vec::from_iter(is_denied.then_some(Cause::DeniedByRule));
        if allowed.is_empty() {
            return Ok(self.degraded(review, None, &causes));
        }
        let patch = self.patches.for_list(list);
        if !review.dry_run
            && let Ensured::Late(cause) = self
                .ensure(namespace, &allowed, deadline, &mut place)
                .await?
        {
            causes.insert(0, cause);
        }
        if causes.contains(&Cause::ForeignMalformed) {
            return Ok(self.degraded(review, None, &causes));
        }
        if !causes.is_empty() {
            return Ok(self.degraded(review, patch, &causes));
        }
        let outcome = if list == List::Named {
            Outcome::AlreadyPresent
        } else {
            Outcome::Injected
        };
        debug!(namespace, outcome = outcome.name(), "admitted");
        Ok(Answer {
            uid,
            outcome,
            cause: "",
            patch,
            warnings: Vec::new(),
        })
    }

    /// A running pod keeps the references it was made with; the Secret behind them can still learn
    /// a registry.
    async fn serve_running<'a>(
        &'a self,
        review: &'a Review<'_>,
        list: List,
        registries: &[Registry],
        deadline: Instant,
        place: &mut Option<SemaphorePermit<'a>>,
    ) -> Result<Answer<'a>, Crowded> {
        if list != List::Named {
            return Ok(self.degraded(review, None, &[Cause::PodLacksReference]));
        }
        let (allowed, is_denied) = self.judge(&review.namespace, registries);
        let mut causes = Vec::from_iter(is_denied.then_some(Cause::DeniedByRule));
        if !review.dry_run && !allowed.is_empty() {
            let ensured = self.ensure(&review.namespace, &allowed, deadline, place);
            match ensured.await? {
                Ensured::Fresh => {}
                Ensured::Written => sleep_until(deadline.min(Instant::now() + HEAD_START)).await,
                Ensured::Late(cause) => causes.insert(0, cause),
            }
        }
        if !causes.is_empty() {
            return Ok(self.degraded(review, None, &causes));
        }
        let outcome = Outcome::AlreadyPresent;
        Ok(Answer {
            uid: &review.uid,
            outcome,
            cause: "",
            patch: None,
            warnings: Vec::new(),
        })
    }

    async fn ensure<'a>(
        &'a self,
        namespace: &str,
        registries: &[(Registry, Identity)],
        deadline: Instant,
        place: &mut Option<SemaphorePermit<'a>>,
    ) -> Result<Ensured, Crowded> {
        let target = self.engine.target(namespace);
        if self.engine.pull_secrets.are_fresh(&target, registries) {
            return Ok(Ensured::Fresh);
        }
        self.seat(place)?;
        let mint_by = Instant::now() + AWS_PATIENCE;
        let wanted = Wanted {
            target: &target,
            registries,
            mint_by,
            done_by: deadline,
            trigger: Trigger::admission,
        };
        Ok(self.engine.pull_secrets.ensure(wanted).await)
    }

    /// A place, if it has none yet.
    fn seat<'a>(&'a self, place: &mut Option<SemaphorePermit<'a>>) -> Result<(), Crowded> {
        if place.is_none() {
            *place = Some(self.places.try_acquire().map_err(|_| Crowded)?);
        }
        Ok(())
    }

    /// The registries that the rules allow, and whether they deny one.
    fn judge(&self, namespace: &str, registries: &[Registry]) -> (Vec<(Registry, Identity)>, bool) {
        let allowed = self.engine.allowed(namespace, registries);
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
