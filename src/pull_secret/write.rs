//! One write of one namespace's pull Secret, from grants to a stored object.
//!
//! Read, judge, merge, apply; and again when somebody was quicker. What is there already is never
//! made worse: see [`ecr_pull_secrets_core::pull_secret::content`].

use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::config::Adopt;
use ecr_pull_secrets_core::image::Registry;
use ecr_pull_secrets_core::pull_secret::content::{Described, Grant, Merged, merge};
use ecr_pull_secrets_core::pull_secret::docker_config::DockerConfig;
use ecr_pull_secrets_core::pull_secret::ownership::{Existing, Standing, standing};
use ecr_pull_secrets_core::pull_secret::{DATA_KEY, annotation};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::ledger::{Ledger, is_edited};
use crate::clock;
use crate::cluster::apply::{Base, PullSecretApi};
use crate::cluster::refusal::Refusal;
use crate::telemetry::events::Events;
use crate::telemetry::metrics::{Metrics, Trigger};

/// So often in a row may others be quicker. Each round is a read and a write.
const ROUNDS: u32 = 8;

/// Writes pull Secrets.
pub struct Writer {
    api: PullSecretApi,
    ledger: Arc<Ledger>,
    adopt: Adopt,
    /// How long somebody else's edit is tolerated.
    patience: Duration,
    metrics: Metrics,
    events: Events,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Written {
    /// Registries that did not fit into the Secret.
    pub refused: Vec<Registry>,
}

/// What a round found.
enum Round {
    Done(Written),
    /// Somebody was quicker.
    Again,
}

impl Writer {
    /// Puts the parts together.
    pub fn new(
        api: PullSecretApi,
        ledger: Arc<Ledger>,
        adopt: Adopt,
        patience: Duration,
        metrics: Metrics,
        events: Events,
    ) -> Self {
        Self {
            api,
            ledger,
            adopt,
            patience,
            metrics,
            events,
        }
    }

    /// Makes the namespace's Secret hold the grants.
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
        let mut must_read = self.ledger.holds(namespace);
        for round in 0..ROUNDS {
            match self.round(namespace, grants, trigger, must_read).await {
                Ok(Round::Done(written)) => return Ok(written),
                Ok(Round::Again) => must_read = true,
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
    pub async fn look(&self, namespace: &str, trigger: Trigger) -> Result<(), Cause> {
        if !self.ledger.is_doubtful(namespace) {
            return Ok(());
        }
        // Trouble with the read is trouble with the write as well, and is told there.
        let Ok(Some(secret)) = self.api.read(namespace).await else {
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
    fn foreign(&self, secret: &Secret, cause: Cause) -> (Cause, String) {
        self.events.emit(reference(&secret.metadata), cause);
        let secret_type = secret.type_.as_deref().unwrap_or_default();
        (cause, format!("type {secret_type}"))
    }

    async fn round(
        &self,
        namespace: &str,
        grants: &[Grant],
        trigger: Trigger,
        must_read: bool,
    ) -> Result<Round, (Cause, String)> {
        let secret = match must_read {
            true => self.api.read(namespace).await.map_err(terminal)?,
            false => None,
        };
        let Some(secret) = secret else {
            let merged = merge(
                DockerConfig::default(),
                Described::default(),
                grants,
                clock::now(),
            );
            return self.apply(namespace, Base::Absent, merged, trigger).await;
        };
        let metadata = &secret.metadata;
        let existing = view(&secret);
        let now = clock::now();
        let described = Described::read(|name| existing.annotation(name));
        let (config, described) = match standing(&existing, self.adopt) {
            Standing::Foreign(cause) => return Err(self.foreign(&secret, cause)),
            Standing::Adopted(config) => {
                info!(namespace, "adopting a pull secret");
                (config, Described::default())
            }
            Standing::Ours(config) if is_edited(metadata) => {
                // A Secret that was restored or copied still says when its tokens end.
                let ends = |host: &str| described.0.get(host).map(|entry| entry.lifetime);
                let is_plausible = |grant: &Grant| {
                    let host = grant.registry.host();
                    config.has_ecr_credentials(host)
                        && ends(host).is_none_or(|lifetime| lifetime.serves(now))
                };
                if grants.iter().all(is_plausible) && !self.ledger.is_toleration_over(metadata, now)
                {
                    debug!(
                        namespace,
                        "somebody else's edit holds every registry: left for now"
                    );
                    let registries: Vec<_> =
                        grants.iter().map(|grant| grant.registry.clone()).collect();
                    let mut until = now.checked_add(self.patience).unwrap_or(Timestamp::MAX);
                    for lifetime in registries
                        .iter()
                        .filter_map(|registry| ends(registry.host()))
                    {
                        until = until.min(lifetime.expires_at);
                    }
                    self.ledger.tolerate(metadata, &registries, until);
                    return Ok(Round::Done(Written {
                        refused: Vec::new(),
                    }));
                }
                info!(namespace, "mending an edited pull secret");
                (config, Described::default())
            }
            Standing::Ours(config) => (config, described),
        };
        let serves = |host| config.has_ecr_credentials(host) && described.serves(host, now);
        let grants: Vec<Grant> = grants
            .iter()
            .filter(|grant| !serves(grant.registry.host()))
            .cloned()
            .collect();
        if grants.is_empty() {
            // Another replica was quicker, and its watch event is on its way.
            self.ledger.saw(metadata);
            return Ok(Round::Done(Written {
                refused: Vec::new(),
            }));
        }
        let stored = described.clone();
        let merged = merge(config, described, &grants, now);
        // Nothing fits, or AWS gave nothing better than what is there.
        if merged.refused.len() == grants.len() || merged.content.described == stored {
            return Ok(Round::Done(Written {
                refused: merged.refused,
            }));
        }
        let round = self
            .apply(namespace, Base::Read(metadata), merged, trigger)
            .await?;
        if matches!(round, Round::Done(_))
            && existing.annotation(annotation::LAST_APPLIED).is_some()
        {
            self.drop_last_applied(namespace).await;
        }
        Ok(round)
    }

    async fn apply(
        &self,
        namespace: &str,
        base: Base<'_>,
        merged: Merged,
        trigger: Trigger,
    ) -> Result<Round, (Cause, String)> {
        match self.api.apply(namespace, base, &merged.content).await {
            Ok(metadata) => {
                self.ledger.saw(&metadata);
                self.metrics.applied(trigger, "ok");
                let registries = merged.content.described.0.len();
                info!(namespace, registries, "pull secret written");
                Ok(Round::Done(Written {
                    refused: merged.refused,
                }))
            }
            Err(Refusal::Changed | Refusal::Owned) => Ok(Round::Again),
            Err(refusal) => Err(terminal(refusal)),
        }
    }

    /// The token in that annotation is as good as the one in the data.
    async fn drop_last_applied(&self, namespace: &str) {
        for _ in 0..ROUNDS {
            let Ok(Some(secret)) = self.api.read(namespace).await else {
                break;
            };
            match self.api.drop_last_applied(&secret.metadata).await {
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

fn terminal(refusal: Refusal) -> (Cause, String) {
    match refusal {
        Refusal::Because(cause, detail) => (cause, detail),
        Refusal::Changed | Refusal::Owned => (Cause::WriteContended, String::new()),
    }
}

/// 5 to 40 ms in the first round, twice that in each further one; different in every process.
fn jitter(namespace: &str, round: u32) -> Duration {
    use std::hash::{BuildHasher as _, RandomState};
    let random = RandomState::new().hash_one((namespace, round)) % 36;
    Duration::from_millis((5 + random) << round.min(5))
}

fn view(secret: &Secret) -> Existing<'_> {
    let data = secret.data.as_ref();
    Existing {
        secret_type: secret.type_.as_deref().unwrap_or("Opaque"),
        immutable: secret.immutable.unwrap_or(false),
        labels: secret.metadata.labels.as_ref(),
        annotations: secret.metadata.annotations.as_ref(),
        keys: data
            .into_iter()
            .flatten()
            .map(|(key, _)| key.as_str())
            .collect(),
        docker_config: data
            .and_then(|data| data.get(DATA_KEY))
            .map(|bytes| &*bytes.0)
            .unwrap_or_default(),
    }
}

fn reference(metadata: &ObjectMeta) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Secret".to_owned()),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        ..ObjectReference::default()
    }
}
