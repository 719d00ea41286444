//! Events: what the people who own a namespace see with `kubectl get events`.
//!
//! An Event has a deterministic name, made of what it is about and why. Replicas and restarts
//! therefore meet at one object instead of filling the namespace. Emitting never blocks and never
//! fails anything: Events go through a queue, and what does not fit is dropped.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::pull_secret::OWNER;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tracing::debug;

use crate::clock;

/// The same Event is not repeated within this time.
const QUIET: Duration = Duration::from_secs(10 * 60);
/// Events that may wait; a burst beyond is dropped.
const QUEUE: usize = 256;
/// Different Events that are remembered as emitted.
const REMEMBERED: usize = 4096;

/// Something to tell.
#[derive(Debug)]
pub struct Notice {
    /// What it is about. Its namespace is the Event's.
    pub about: ObjectReference,
    /// Why.
    pub cause: Cause,
}

/// Where Events are handed in.
#[derive(Clone, Debug)]
pub struct Events(mpsc::Sender<Notice>);

/// Where they are written.
pub struct Writer {
    notices: mpsc::Receiver<Notice>,
    client: Client,
    instance: String,
    emitted: HashMap<String, (Instant, i32)>,
}

/// Makes both ends; `instance` is the pod's name.
pub fn channel(client: Client, instance: &str) -> (Events, Writer) {
    let (sender, notices) = mpsc::channel(QUEUE);
    let instance = instance.to_owned();
    (
        Events(sender),
        Writer {
            notices,
            client,
            instance,
            emitted: HashMap::new(),
        },
    )
}

impl Events {
    /// Hands an Event in. It is lost when the queue is full.
    pub fn emit(&self, about: ObjectReference, cause: Cause) {
        if self.0.try_send(Notice { about, cause }).is_err() {
            debug!(cause = cause.name(), "event dropped: the queue is full");
        }
    }
}

impl Writer {
    /// Writes Events until the last sender is gone.
    pub async fn run(mut self) {
        while let Some(notice) = self.notices.recv().await {
            let name = name(&notice);
            let now = Instant::now();
            if self.emitted.len() >= REMEMBERED {
                self.emitted
                    .retain(|_, (at, _)| now.duration_since(*at) < QUIET);
            }
            let (at, count) = self.emitted.get(&name).copied().unzip();
            if at.is_some_and(|at| now.duration_since(at) < QUIET) {
                continue;
            }
            let count = count.unwrap_or(0) + 1;
            let written = timeout(Duration::from_secs(5), self.write(&name, &notice, count)).await;
            match written {
                Ok(Ok(())) => {
                    self.emitted.insert(name, (now, count));
                }
                Ok(Err(error)) => debug!(%error, "cannot write an event"),
                Err(_) => debug!("cannot write an event in time"),
            }
        }
    }

    async fn write(&self, name: &str, notice: &Notice, count: i32) -> kube::Result<()> {
        let namespace = notice.about.namespace.as_deref().unwrap_or("default");
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let event = self.event(name, namespace, notice);
        match api.create(&PostParams::default(), &event).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {
                // Somebody, maybe we before a restart, said it already: it goes on.
                let series = json!({ "series": {
                    "count": count + 1,
                    "lastObservedTime": MicroTime(clock::now()),
                }});
                api.patch(name, &PatchParams::default(), &Patch::Merge(series))
                    .await
                    .map(drop)
            }
            other => other.map(drop),
        }
    }

    fn event(&self, name: &str, namespace: &str, notice: &Notice) -> Event {
        Event {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            action: Some("EnsurePullSecret".to_owned()),
            event_time: Some(MicroTime(clock::now())),
            note: Some(format!(
                "{}; {}",
                notice.cause.sentence(),
                notice.cause.remedy()
            )),
            reason: Some(notice.cause.reason().to_owned()),
            regarding: Some(notice.about.clone()),
            reporting_controller: Some(OWNER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some("Warning".to_owned()),
            ..Event::default()
        }
    }
}

/// The same for the same object and cause, in every replica.
fn name(notice: &Notice) -> String {
    let about = &notice.about;
    let object = about.name.as_deref().unwrap_or_default();
    let mut hasher = DefaultHasher::new();
    (
        &about.kind,
        &about.namespace,
        object,
        &about.uid,
        notice.cause,
    )
        .hash(&mut hasher);
    // 253 characters are allowed; 230 leave room for the hash.
    let stem: String = object.chars().take(230).collect();
    format!(
        "{}.{:016x}",
        stem.trim_end_matches(['.', '-']),
        hasher.finish()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(name: &str, uid: &str, cause: Cause) -> Notice {
        Notice {
            about: ObjectReference {
                kind: Some("Secret".to_owned()),
                namespace: Some("team".to_owned()),
                name: Some(name.to_owned()),
                uid: Some(uid.to_owned()),
                ..ObjectReference::default()
            },
            cause,
        }
    }

    #[test]
    fn the_name_tells_object_and_cause_apart_and_nothing_else() {
        let one = name(&notice("pull", "1", Cause::ForeignType));
        assert_eq!(one, name(&notice("pull", "1", Cause::ForeignType)));
        assert_ne!(one, name(&notice("pull", "2", Cause::ForeignType)));
        assert_ne!(one, name(&notice("pull", "1", Cause::ForeignOwner)));
        assert!(one.starts_with("pull."));
    }

    #[test]
    fn the_longest_object_name_still_gives_a_legal_one() {
        assert!(name(&notice(&"a.".repeat(126), "1", Cause::ForeignType)).len() <= 253);
    }
}
