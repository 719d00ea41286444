//! A review to an answer: gather facts, ask [`plan`], ensure the pull Secret, answer.
//!
//! Two things take time: a fact that memory does not hold, and [`crate::pull_secret::ensure`]. Both
//! end at the deadline, and the pod gets its patch in any case.

use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::admission::review::{Answer, Outcome, Review};
use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::identity::Access;
use ecr_pull_secrets_core::workload::claim::{NamespaceFact, SecretClaim};
use ecr_pull_secrets_core::workload::plan::{Plan, Workload, plan};
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{debug, info};

use crate::config::InForce;
use crate::engine::Engine;
use crate::facts;
use crate::pull_secret::ensure::{Ensured, Wanted};
use crate::slots::{NoSlot, Slot, Slots};
use crate::telemetry::metrics::Trigger;
use crate::telemetry::ration::Ration;

/// Reviews that wait at the same time. Fewer than connections, because one that waits for AWS
/// waits for 2 s.
const MAX_WAITING: usize = 384;
/// Reviews of one namespace that wait at the same time: if AWS does not serve its registries, the
/// others have slots.
const MAX_OF_NAMESPACE: usize = MAX_WAITING / 4;
/// The longest wait of an admission for AWS.
const AWS_TIMEOUT: Duration = Duration::from_secs(2);
/// The wait after a write for a running pod. Its kubelet receives the container and the Secret by
/// two watches, and pulls at once: the Secret must arrive first.
const HEAD_START: Duration = Duration::from_millis(300);

/// A review needs a fact that it would have to wait for, and the replica has no slot. Nothing was
/// started for it.
#[derive(Debug, thiserror::Error)]
#[error("too many reviews wait")]
pub(crate) struct Overloaded;

/// Answers reviews. Only a review that waits takes a slot, so waiting reviews hold up no others. One
/// that finds none is answered without waiting: what it wants is begun all the same.
pub(crate) struct Admission {
    engine: Arc<Engine>,
    ration: Ration,
    slots: Slots,
}

impl Admission {
    /// Answers with the parts of this engine.
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self {
            engine,
            ration: Ration::default(),
            slots: Slots::new(MAX_WAITING, MAX_OF_NAMESPACE),
        }
    }

    /// The configuration for one review.
    pub(crate) fn snapshot(&self) -> Arc<InForce> {
        self.engine.live.snapshot()
    }

    /// Answers a review until `deadline`.
    ///
    /// # Errors
    ///
    /// [`Overloaded`] if the review would have to wait for a fact, and the replica has no slot.
    pub(crate) async fn admit<'a>(
        &self,
        review: &'a Review<'_>,
        config: &'a InForce,
        deadline: Instant,
    ) -> Result<Answer<'a>, Overloaded> {
        let mut slot = None;
        let workload = review.workload();
        let mut facts = facts::in_memory(&self.engine, config, &workload);
        let planned = loop {
            match plan(&workload, &facts, config) {
                Ok(planned) => break planned,
                Err(fact) => match self.take(&mut slot, workload.namespace) {
                    Ok(()) => {
                        let look_up =
                            facts::look_up(&self.engine, config, fact, &workload, &mut facts);
                        if timeout_at(deadline, look_up).await.is_err() {
                            facts.give_up(fact);
                        }
                    }
                    Err(NoSlot::Namespace) => facts.give_up(fact),
                    // Another replica may have the fact.
                    Err(NoSlot::Replica) => return Err(Overloaded),
                },
            }
        };
        let late = if review.dry_run {
            None
        } else if !planned.grants.is_empty() {
            let is_known = facts.namespace != Some(NamespaceFact::Unknown);
            let deadline = is_known.then_some(deadline);
            self.ensure(config, &workload, &planned.grants, deadline, &mut slot)
                .await
        } else if config.patches.adding(planned.reference).is_some() {
            self.obstacle(config, workload.namespace, deadline, &mut slot)
                .await
        } else {
            None
        };
        let planned = planned.settle(late);
        let answer = Answer::of_plan(&review.uid, &planned, &config.patches);
        self.log(review, &planned, &answer);
        Ok(answer)
    }

    /// Makes the pull Secret open the registries, or says what it is late for. Without a deadline it
    /// begins nothing: a namespace that may not exist costs no token, and if it does, the leader
    /// serves the stored pod.
    async fn ensure<'a>(
        &'a self,
        config: &InForce,
        workload: &Workload<'a>,
        registries: &[Access],
        deadline: Option<Instant>,
        slot: &mut Option<Slot<'a>>,
    ) -> Option<Cause> {
        let (pull_secrets, target) = (
            &self.engine.pull_secrets,
            &config.target(workload.namespace),
        );
        if pull_secrets.are_fresh(config, target, registries) {
            return None;
        }
        let Some(deadline) = deadline else {
            return Some(Cause::StillWorking);
        };
        let has_slot = self.take(slot, workload.namespace).is_ok();
        let now = Instant::now();
        let deadline = if has_slot { deadline } else { now };
        let wanted = Wanted {
            target,
            registries,
            claim: SecretClaim::Pods(workload.pod.wish()),
            mint_by: now + AWS_TIMEOUT,
            done_by: deadline,
            trigger: Trigger::admission,
        };
        match pull_secrets.ensure(wanted).await {
            Ensured::Fresh => None,
            Ensured::Written => {
                if workload.is_running {
                    sleep_until(deadline.min(Instant::now() + HEAD_START)).await;
                }
                None
            }
            // It did not wait for AWS.
            Ensured::Late(Cause::AwsTimeout) if !has_slot => Some(Cause::StillWorking),
            Ensured::Late(cause) => Some(cause),
        }
    }

    /// Why a pod that names no registry does without the reference, as far as that is known in time.
    async fn obstacle<'a>(
        &'a self,
        config: &InForce,
        namespace: &'a str,
        deadline: Instant,
        slot: &mut Option<Slot<'a>>,
    ) -> Option<Cause> {
        let has_slot = self.take(slot, namespace).is_ok();
        let deadline = if has_slot { deadline } else { Instant::now() };
        let target = config.target(namespace);
        let obstacle = self.engine.pull_secrets.withheld_for(config, &target);
        // What needs no call is known at once, also without a slot.
        timeout_at(deadline, obstacle).await.ok()?.ok().flatten()
    }

    /// Takes a slot for a review that has none.
    fn take<'a>(&'a self, slot: &mut Option<Slot<'a>>, namespace: &'a str) -> Result<(), NoSlot> {
        if slot.is_none() {
            *slot = Some(self.slots.take(namespace)?);
        }
        Ok(())
    }

    fn log(&self, review: &Review<'_>, planned: &Plan, answer: &Answer<'_>) {
        let namespace = &*review.namespace;
        if answer.outcome != Outcome::Degraded {
            debug!(namespace, outcome = answer.outcome.name(), "admitted");
            return;
        }
        if let Some(unsaid) = self.ration.take() {
            let names: Vec<_> = planned.causes.iter().map(|cause| cause.name()).collect();
            info!(
                uid = answer.uid,
                namespace,
                causes = names.join(","),
                reference = answer.patch.is_some(),
                unsaid,
                "admitted with a warning"
            );
        }
    }
}
