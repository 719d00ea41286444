//! One write of one pull Secret, from grants to a stored object.
//!
//! Read, decide, apply; and again when another replica was quicker. What to write is decided by
//! [`Intent::revision`], which never makes a Secret worse. A pod wants entries that serve it
//! ([`Aim::Serving`]); rotation wants the newest tokens in a Secret that exists ([`Aim::Newest`]). Before
//! each round, the [`Mandate`] says what is still to be written.

mod foreign;
mod last_applied;
mod obstacle;
mod withheld;

use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::backoff::{Backoff, jittered};
use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::image::Registry;
use ecr_pull_secrets_core::pull_secret::annotation;
use ecr_pull_secrets_core::pull_secret::content::Merged;
use ecr_pull_secrets_core::pull_secret::revision::{Aim, Edit, Intent, Revision, RevisionReason};
use ecr_pull_secrets_core::target::Target;
use ecr_pull_secrets_core::version::ObjectVersion;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use self::obstacle::Obstacle;
use self::withheld::Withheld;
use super::ledger::Ledger;
use super::mandate::Mandate;
use super::metadata::secret_metadata;
use super::turn::{WriteTurn, WriteTurns};
use crate::clock;
use crate::cluster::events::{self, Events};
use crate::cluster::optimistic::version_of;
use crate::cluster::pull_secrets::{PullSecretApi, reference, view};
use crate::telemetry::metrics::{Metrics, Trigger};
use crate::telemetry::ration::FailingWrites;

/// Rounds of one write, each a read and an apply. A round fails where another writer was quicker.
const ROUNDS: u32 = 8;
/// Pauses between two rounds.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(40), Duration::from_millis(1280));

/// Writes pull Secrets.
pub struct SecretWriter {
    api: PullSecretApi,
    ledger: Arc<Ledger>,
    metrics: Metrics,
    events: Events,
    failing: FailingWrites,
    turns: WriteTurns,
    withheld: Withheld,
}

/// The result of a write.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Registries that did not fit into the Secret.
    pub refused: Vec<Registry>,
    /// An apply happened. Otherwise the Secret needed none, or does not exist any more.
    pub applied: bool,
}

/// What is to be written, and for which caller.
#[derive(Clone, Copy)]
struct Order<'a> {
    target: &'a Target,
    trigger: Trigger,
    intent: Intent<'a>,
}

/// What a round starts from.
enum Start {
    /// No Secret, by the ledger.
    Nothing,
    /// This version, by the ledger; the grants replace all of its content.
    Replaceable(ObjectVersion),
    /// A live read.
    Read,
}

/// The result of a round.
enum Round {
    Done(Written),
    /// Another writer was quicker.
    Again,
}

impl SecretWriter {
    pub(crate) fn new(
        api: PullSecretApi,
        ledger: Arc<Ledger>,
        metrics: Metrics,
        events: Events,
    ) -> Self {
        Self {
            api,
            ledger,
            metrics,
            events,
            failing: FailingWrites::default(),
            turns: WriteTurns::default(),
            withheld: Withheld::new(),
        }
    }

    /// A writer without an engine around it: its Events go nowhere.
    pub fn alone(client: Client, ledger: Arc<Ledger>) -> Self {
        let api = PullSecretApi::new(client.clone());
        let (events, _) = events::channel(client, "alone");
        Self::new(api, ledger, Metrics::default(), events)
    }

    /// Waits for a turn to write.
    pub async fn turn(&self) -> WriteTurn<'_> {
        self.turns.take().await
    }

    /// Writes what the mandate says: makes the Secret serve pods, or makes it, if it exists, hold better
    /// tokens. The latter costs a single call for a Secret that holds nothing else. Between two rounds,
    /// others have the turn.
    ///
    /// # Errors
    ///
    /// The cause that prevents it. It has been counted and logged, unless the mandate gave it.
    pub async fn write(
        &self,
        target: &Target,
        mandate: &mut impl Mandate,
        trigger: Trigger,
        mut turn: WriteTurn<'_>,
    ) -> Result<Written, Cause> {
        for round in 1..=ROUNDS {
            turn.resume().await;
            let intent = mandate.review().await?;
            let start = if round == 1 {
                self.start(target, intent)
            } else {
                Start::Read
            };
            let is_unread = matches!(start, Start::Replaceable(_));
            let order = Order {
                target,
                trigger,
                intent,
            };
            match self.round(order, start, &mut turn).await {
                Ok(Round::Done(written)) => {
                    self.failing.ended(target);
                    return Ok(written);
                }
                // A read may show the reason of a refusal: the Secret may have become immutable.
                Err(obstacle) if !(is_unread && obstacle.cause == Cause::SecretRefused) => {
                    return Err(self.failed(target, trigger, obstacle));
                }
                Ok(Round::Again) | Err(_) => {}
            }
            turn.rest();
            // Two replicas that collided must not act in step.
            sleep(jittered(PAUSES.nth(round), fastrand::f64())).await;
        }
        Err(self.failed(target, trigger, Cause::WriteContended.into()))
    }

    /// What the first round starts from.
    fn start(&self, target: &Target, intent: Intent<'_>) -> Start {
        let Intent {
            grants, aim, since, ..
        } = intent;
        let book = self.ledger.read();
        match aim {
            Aim::Serving if book.holds(target) => Start::Read,
            Aim::Serving => Start::Nothing,
            Aim::Newest => {
                let replaceable = book.replaceable(target, grants, since, clock::now());
                replaceable.map_or(Start::Read, Start::Replaceable)
            }
        }
    }

    async fn round(
        &self,
        order: Order<'_>,
        start: Start,
        turn: &mut WriteTurn<'_>,
    ) -> Result<Round, Obstacle> {
        let Order { target, intent, .. } = order;
        let whole = || intent.whole(clock::now());
        let secret = match start {
            Start::Nothing => None,
            Start::Replaceable(base) => return self.apply(order, Some(&base), whole()).await,
            Start::Read => self.api.read(target).await?,
        };
        match (secret, intent.aim) {
            (Some(secret), _) => self.revise(order, secret, turn).await,
            (None, Aim::Serving) => self.apply(order, None, whole()).await,
            (None, Aim::Newest) => {
                self.ledger.missed(target);
                Ok(Round::Done(Written::default()))
            }
        }
    }

    /// Writes what a Secret that was read lacks.
    async fn revise(
        &self,
        order: Order<'_>,
        secret: Secret,
        turn: &mut WriteTurn<'_>,
    ) -> Result<Round, Obstacle> {
        let namespace = &*order.target.namespace;
        let (existing, metadata) = (view(&secret), &secret.metadata);
        let now = clock::now();
        let edit = self.edit(order.target, metadata, now);
        let (merged, reason) = match order.intent.revision(&existing, edit, now) {
            Revision::Foreign(cause) => return Err(self.foreign(&secret, cause)),
            Revision::Tolerated(until) => {
                debug!(namespace, "edited pull secret serves all: tolerated");
                self.ledger.tolerate(metadata, order.intent.grants, until);
                return Ok(Round::Done(Written::default()));
            }
            Revision::Unneeded => {
                // Another replica was quicker, and its watch event is on its way.
                self.ledger.saw(metadata);
                return Ok(Round::Done(Written::default()));
            }
            Revision::Futile(refused) => {
                return Ok(Round::Done(Written {
                    refused,
                    applied: false,
                }));
            }
            Revision::Write(merged, reason) => (merged, reason),
        };
        match reason {
            RevisionReason::Adoption => info!(namespace, "adopting a pull secret"),
            RevisionReason::Repair => info!(namespace, "repairing an edited pull secret"),
            RevisionReason::Update => {}
        }
        let has_copy = existing.annotation(annotation::LAST_APPLIED).is_some();
        // What it held may be 1 MiB.
        drop(secret.data);
        let metadata = &secret.metadata;
        let base = version_of(metadata);
        let applied = self.apply(order, Some(&base), merged).await;
        if applied
            .as_ref()
            .is_err_and(|obstacle| obstacle.is_of_secret)
        {
            self.ledger.refuses(metadata);
        }
        let round = applied?;
        if has_copy && matches!(round, Round::Done(_)) {
            turn.rest();
            self.drop_last_applied(order.target).await;
        }
        Ok(round)
    }

    fn edit(&self, target: &Target, metadata: &ObjectMeta, now: Timestamp) -> Edit {
        let metadata = secret_metadata(metadata);
        if !metadata.is_edited() {
            return Edit::Absent;
        }
        let (book, version) = (self.ledger.read(), metadata.version());
        if book.is_toleration_over(target, version, now) {
            Edit::Overdue
        } else {
            Edit::Tolerable
        }
    }

    async fn apply(
        &self,
        order: Order<'_>,
        base: Option<&ObjectVersion>,
        merged: Merged,
    ) -> Result<Round, Obstacle> {
        let namespace = &*order.target.namespace;
        match self.api.apply(order.target, base, &merged.content).await {
            Ok(metadata) => {
                self.ledger.saw(&metadata);
                self.metrics.applied(order.trigger, "ok");
                let registries = merged.content.described.0.len();
                match order.intent.aim {
                    Aim::Serving => info!(namespace, registries, "pull secret written"),
                    // Rotation logs its progress over all Secrets.
                    Aim::Newest => debug!(namespace, registries, "pull secret renewed"),
                }
                Ok(Round::Done(Written {
                    refused: merged.refused,
                    applied: true,
                }))
            }
            Err(refusal) if refusal.is_conflict() => Ok(Round::Again),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Reports to the owner of a Secret that it takes our place.
    fn foreign(&self, secret: &Secret, cause: Cause) -> Obstacle {
        self.ledger.refuses(&secret.metadata);
        self.events.emit(reference(&secret.metadata), cause);
        let secret_type = secret.type_.as_deref().unwrap_or_default();
        Obstacle {
            cause,
            detail: format!("type {secret_type}"),
            is_of_secret: true,
        }
    }

    fn failed(&self, target: &Target, trigger: Trigger, obstacle: Obstacle) -> Cause {
        let Obstacle { cause, detail, .. } = obstacle;
        self.metrics.applied(trigger, cause.name());
        if let Some(unsaid) = self.failing.take(target, cause) {
            let (namespace, cause) = (&*target.namespace, cause.name());
            warn!(namespace, cause, detail, unsaid, "pull secret not written");
        }
        cause
    }
}

#[cfg(test)]
mod tests;
