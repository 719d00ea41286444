//! One write of one namespace's pull Secret, from grants to a stored object.
//!
//! Read, judge, merge, apply; and again when somebody was quicker. What is there already is never
//! made worse: see [`ecr_pull_secrets_core::pull_secret::content`]. Two callers want two things:
//! a pod wants entries that serve it ([`Writer::write`]), rotation wants the newest tokens in a
//! Secret that is there ([`Writer::renew`]).

use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::config::Adopt;
use ecr_pull_secrets_core::image::Registry;
use ecr_pull_secrets_core::pull_secret::annotation;
use ecr_pull_secrets_core::pull_secret::content::{Described, Grant, Merged, merge};
use ecr_pull_secrets_core::pull_secret::docker_config::DockerConfig;
use ecr_pull_secrets_core::pull_secret::ownership::{Standing, standing};
use ecr_pull_secrets_core::pull_secret::tolerance::tolerated_until;
use ecr_pull_secrets_core::target::Target;
use ecr_pull_secrets_core::version::ObjectVersion;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::ledger::{Ledger, is_edited};
use crate::clock;
use crate::cluster::events::Events;
use crate::cluster::optimistic::version_of;
use crate::cluster::pull_secrets::{PullSecretApi, reference, view};
use crate::cluster::refusal::Refusal;
use crate::telemetry::metrics::{Metrics, Trigger};

/// So often in a row may others be quicker. Each round is a read and a write.
const ROUNDS: u32 = 8;

/// Writes pull Secrets.
pub struct Writer {
    api: PullSecretApi,
    secret: Arc<str>,
    ledger: Arc<Ledger>,
    adopt: Adopt,
    /// How long somebody else's edit is tolerated.
    patience: Duration,
    metrics: Metrics,
    events: Events,
}

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Registries that did not fit into the Secret.
    pub refused: Vec<Registry>,
    /// Something was written; otherwise the Secret was right already, or is not there any more.
    pub applied: bool,
}

/// What is to be written.
#[derive(Clone, Copy)]
struct Order<'a> {
    namespace: &'a str,
    grants: &'a [Grant],
    trigger: Trigger,
    aim: Aim,
}

/// What a Secret has to be like.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aim {
    /// There, with entries that serve a pod that starts now.
    Serving,
    /// With entries that end no sooner than the grants', if it is there.
    Newest,
}

/// What a round starts from.
enum Start {
    /// There is nothing, by the ledger.
    Nothing,
    /// There is this, by the ledger, and the grants replace all of it.
    Replaceable(ObjectVersion),
    /// Whatever a look finds.
    Look,
}

/// What a round found.
enum Round {
    Done(Written),
    /// Somebody was quicker.
    Again,
}

/// What stands in the way, and a word about it for the log.
type Obstacle = (Cause, String);

impl Writer {
    /// Puts the parts together.
    pub fn new(
        api: PullSecretApi,
        secret: &str,
        ledger: Arc<Ledger>,
        adopt: Adopt,
        patience: Duration,
        metrics: Metrics,
        events: Events,
    ) -> Self {
        Self {
            api,
            secret: secret.into(),
            ledger,
            adopt,
            patience,
            metrics,
            events,
        }
    }

    /// Makes the namespace's Secret serve pods with the grants' registries.
    ///
    /// # Errors
    ///
    /// The cause that stands in the way; it has been counted and logged.
    pub async fn write(
        &self,
        namespace: &str,
        grants: &[Grant],
        trigger: Trigger,
    ) -> Result<Written, Cause> {
        let start = if self.ledger.holds(namespace) {
            Start::Look
        } else {
            Start::Nothing
        };
        let aim = Aim::Serving;
        let order = Order {
            namespace,
            grants,
            trigger,
            aim,
        };
        self.rounds(order, start).await
    }

    /// Makes the namespace's Secret, if there is one, hold the grants where they end later. One that
    /// is ours alone costs a single call.
    ///
    /// # Errors
    ///
    /// The cause that stands in the way; it has been counted and logged.
    pub async fn renew(&self, namespace: &str, grants: &[Grant]) -> Result<Written, Cause> {
        let start = match self.ledger.replaceable(namespace, grants, clock::now()) {
            Some(base) => Start::Replaceable(base),
            None => Start::Look,
        };
        let order = Order {
            namespace,
            grants,
            trigger: Trigger::rotation,
            aim: Aim::Newest,
        };
        self.rounds(order, start).await
    }

    async fn rounds(&self, order: Order<'_>, mut start: Start) -> Result<Written, Cause> {
        let Order {
            namespace, trigger, ..
        } = order;
        for round in 0..ROUNDS {
            let is_blind = matches!(start, Start::Replaceable(_));
            match self.round(order, start).await {
                Ok(Round::Done(written)) => return Ok(written),
                Ok(Round::Again) => start = Start::Look,
                // A look may tell what is wrong with it: it may have become immutable.
                Err((Cause::SecretRefused, _)) if is_blind => start = Start::Look,
                Err((cause, detail)) => {
                    return Err(self.failed(namespace, trigger, cause, &detail));
                }
            }
            // Two replicas that collided once must not keep step.
            sleep(jitter(namespace, round)).await;
        }
        Err(self.failed(namespace, trigger, Cause::WriteContended, ""))
    }

    /// Whether somebody else's Secret stands where the namespace's is to be: no token helps then,
    /// and a pod that may not name it must learn so, whether AWS answers or not. Costs a call only
    /// where the ledger has a doubt.
    ///
    /// # Errors
    ///
    /// The cause that stands in the way; it has been counted and logged.
    pub(crate) async fn look(&self, namespace: &str, trigger: Trigger) -> Result<(), Cause> {
        if !self.ledger.is_doubtful(namespace) {
            return Ok(());
        }
        // Trouble with the read is trouble with the write as well, and is told there.
        let Ok(Some(secret)) = self.api.read(&self.target(namespace)).await else {
            return Ok(());
        };
        match standing(&view(&secret), self.adopt) {
            Standing::Foreign(cause) => {
                let (cause, detail) = self.foreign(&secret, cause);
                Err(self.failed(namespace, trigger, cause, &detail))
            }
            Standing::Adopted(_) | Standing::Ours(_) => Ok(()),
        }
    }

    fn target(&self, namespace: &str) -> Target {
        Target::new(namespace, self.secret.clone())
    }

    fn failed(&self, namespace: &str, trigger: Trigger, cause: Cause, detail: &str) -> Cause {
        self.metrics.applied(trigger, cause.name());
        warn!(
            namespace,
            cause = cause.name(),
            detail,
            "pull secret not written"
        );
        cause
    }

    /// Tells the owner of a Secret that it is in the way.
    fn foreign(&self, secret: &Secret, cause: Cause) -> Obstacle {
        self.events.emit(reference(&secret.metadata), cause);
        let secret_type = secret.type_.as_deref().unwrap_or_default();
        (cause, format!("type {secret_type}"))
    }

    async fn round(&self, order: Order<'_>, start: Start) -> Result<Round, Obstacle> {
        let whole = || {
            let (config, described) = <(DockerConfig, Described)>::default();
            merge(config, described, order.grants, clock::now())
        };
        let secret = match start {
            Start::Nothing => None,
            Start::Replaceable(base) => {
                return self.apply(order, Some(&base), whole()).await;
            }
            Start::Look => self
                .api
                .read(&self.target(order.namespace))
                .await
                .map_err(Refusal::into_parts)?,
        };
        match (secret, order.aim) {
            (Some(secret), _) => self.improve(order, &secret).await,
            (None, Aim::Serving) => self.apply(order, None, whole()).await,
            (None, Aim::Newest) => {
                self.ledger.missed(order.namespace);
                Ok(Round::Done(Written::default()))
            }
        }
    }

    /// Writes what the Secret lacks.
    async fn improve(&self, order: Order<'_>, secret: &Secret) -> Result<Round, Obstacle> {
        let Order { namespace, aim, .. } = order;
        let metadata = &secret.metadata;
        let existing = view(secret);
        let now = clock::now();
        let described = Described::read(|name| existing.annotation(name));
        let (config, described) = match standing(&existing, self.adopt) {
            Standing::Foreign(cause) => return Err(self.foreign(secret, cause)),
            Standing::Adopted(config) => {
                info!(namespace, "adopting a pull secret");
                (config, Described::default())
            }
            Standing::Ours(config) if is_edited(metadata) => {
                if aim == Aim::Serving && self.tolerates(order, metadata, &config, &described) {
                    debug!(namespace, "an edit that holds every registry: left for now");
                    return Ok(Round::Done(Written::default()));
                }
                info!(namespace, "mending an edited pull secret");
                (config, Described::default())
            }
            Standing::Ours(config) => (config, described),
        };
        let is_enough = |grant: &&Grant| {
            let host = grant.registry.host();
            let entry = described.0.get(host).map(|entry| entry.lifetime);
            config.has_ecr_credentials(host)
                && entry.is_some_and(|lifetime| match aim {
                    Aim::Serving => lifetime.serves(now),
                    Aim::Newest => !lifetime.yields_to(&grant.token, now),
                })
        };
        let missing = order.grants.iter().filter(|grant| !is_enough(grant));
        let grants: Vec<Grant> = missing.cloned().collect();
        if grants.is_empty() {
            // Another replica was quicker, and its watch event is on its way.
            self.ledger.saw(metadata);
            return Ok(Round::Done(Written::default()));
        }
        let stored = described.clone();
        let merged = merge(config, described, &grants, now);
        // Nothing fits, or AWS gave nothing better than what is there.
        if merged.refused.len() == grants.len() || merged.content.described == stored {
            return Ok(Round::Done(Written {
                refused: merged.refused,
                applied: false,
            }));
        }
        let round = self
            .apply(order, Some(&version_of(metadata)), merged)
            .await?;
        if matches!(round, Round::Done(_))
            && existing.annotation(annotation::LAST_APPLIED).is_some()
        {
            self.drop_last_applied(namespace).await;
        }
        Ok(round)
    }

    /// Whether somebody else's content is left as it is for a while; the ledger is told.
    fn tolerates(
        &self,
        order: Order<'_>,
        metadata: &ObjectMeta,
        config: &DockerConfig,
        described: &Described,
    ) -> bool {
        let now = clock::now();
        if self.ledger.is_toleration_over(metadata, now) {
            return false;
        }
        let until = tolerated_until(config, described, order.grants, self.patience, now);
        if let Some(until) = until {
            self.ledger.tolerate(metadata, order.grants, until);
        }
        until.is_some()
    }

    async fn apply(
        &self,
        order: Order<'_>,
        base: Option<&ObjectVersion>,
        merged: Merged,
    ) -> Result<Round, Obstacle> {
        let Order {
            namespace, trigger, ..
        } = order;
        match self
            .api
            .apply(&self.target(namespace), base, &merged.content)
            .await
        {
            Ok(metadata) => {
                self.ledger.saw(&metadata);
                self.metrics.applied(trigger, "ok");
                let registries = merged.content.described.0.len();
                match order.aim {
                    Aim::Serving => info!(namespace, registries, "pull secret written"),
                    // Rotation tells how it gets on with all of them.
                    Aim::Newest => debug!(namespace, registries, "pull secret renewed"),
                }
                Ok(Round::Done(Written {
                    refused: merged.refused,
                    applied: true,
                }))
            }
            Err(refusal) if refusal.is_conflict() => Ok(Round::Again),
            Err(refusal) => Err(refusal.into_parts()),
        }
    }

    /// The token in that annotation is as good as the one in the data.
    async fn drop_last_applied(&self, namespace: &str) {
        for _ in 0..ROUNDS {
            let target = self.target(namespace);
            let Ok(Some(secret)) = self.api.read(&target).await else {
                break;
            };
            let base = version_of(&secret.metadata);
            match self.api.drop_last_applied(&target, &base).await {
                Ok(metadata) => return self.ledger.saw(&metadata),
                Err(Refusal::Changed) => {}
                Err(_) => break,
            }
        }
        warn!(
            namespace,
            "cannot remove the annotation {}",
            annotation::LAST_APPLIED
        );
    }
}

/// 5 to 40 ms in the first round, twice that in each further one; different in every process.
fn jitter(namespace: &str, round: u32) -> Duration {
    use std::hash::{BuildHasher as _, RandomState};
    let random = RandomState::new().hash_one((namespace, round)) % 36;
    Duration::from_millis((5 + random) << round.min(5))
}
