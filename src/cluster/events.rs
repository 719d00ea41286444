//! Events: what the people who own a namespace see with `kubectl get events`.
//!
//! An Event has a deterministic name, made of what it is about and why. Replicas and restarts
//! therefore meet at one object instead of filling the namespace. Emitting never blocks and never
//! fails anything: Events go through a queue, and what does not fit is dropped. Telling waits, and
//! says whether it was the first to tell.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
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
use crate::cluster::client::CALL_TIMEOUT;
use crate::telemetry::chain::chain;

/// The same Event is not repeated within this time.
const QUIET: Duration = Duration::from_secs(10 * 60);
/// Events that may wait; a burst beyond is dropped.
const QUEUE: usize = 256;
/// Different Events that are remembered as emitted.
const REMEMBERED: usize = 4096;

/// Something to tell.
#[derive(Debug)]
pub(crate) struct Notice {
    /// What it is about. Its namespace is the Event's.
    pub(crate) about: ObjectReference,
    /// Why.
    pub(crate) cause: Cause,
}

/// What became of telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nobody had told it.
    First,
    /// The Event was there already.
    Before,
    /// The API server did not say, or is in trouble: it may be there now.
    Unclear(String),
    /// It never will be there, for this reason.
    Refused(String),
}

/// Where Events are handed in.
#[derive(Clone)]
pub struct Events {
    queue: mpsc::Sender<Notice>,
    speaker: Arc<Speaker>,
}

/// Where they are written.
pub struct Writer {
    notices: mpsc::Receiver<Notice>,
    speaker: Arc<Speaker>,
    emitted: HashMap<String, (Instant, i32)>,
}

/// Who speaks.
struct Speaker {
    client: Client,
    instance: String,
}

/// Makes both ends; `instance` is the pod's name.
pub fn channel(client: Client, instance: &str) -> (Events, Writer) {
    let (queue, notices) = mpsc::channel(QUEUE);
    let instance = instance.to_owned();
    let speaker = Arc::new(Speaker { client, instance });
    let writer = Writer {
        notices,
        speaker: speaker.clone(),
        emitted: HashMap::new(),
    };
    (Events { queue, speaker }, writer)
}

impl Events {
    /// Hands an Event in. It is lost when the queue is full.
    pub(crate) fn emit(&self, about: ObjectReference, cause: Cause) {
        if self.queue.try_send(Notice { about, cause }).is_err() {
            debug!(cause = cause.name(), "event dropped: the queue is full");
        }
    }

    /// Tells of an object's trouble now, unless somebody did.
    pub(crate) async fn tell(&self, about: &ObjectReference, cause: Cause) -> Told {
        self.say(about, cause.reason(), &note(cause)).await
    }

    /// Tells in words of its own, unless somebody did.
    pub(crate) async fn say(&self, about: &ObjectReference, reason: &str, note: &str) -> Told {
        let name = name(about, reason);
        let event = self.speaker.event(&name, about, reason, note);
        let api = self.speaker.api(about);
        let created = timeout(CALL_TIMEOUT, api.create(&PostParams::default(), &event)).await;
        match created {
            Ok(Ok(_)) => Told::First,
            Ok(Err(kube::Error::Api(status))) => match status.code {
                409 => Told::Before,
                429 | 500.. => Told::Unclear(status.message.clone()),
                _ => Told::Refused(status.message.clone()),
            },
            Ok(Err(error)) => Told::Unclear(chain(&error)),
            Err(_) => Told::Unclear("no answer in time".to_owned()),
        }
    }
}

impl Writer {
    /// Writes Events until the last sender is gone.
    pub(crate) async fn run(mut self) {
        while let Some(notice) = self.notices.recv().await {
            let name = name(&notice.about, notice.cause.reason());
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
        let Notice { about, cause } = notice;
        let api = self.speaker.api(about);
        let event = self
            .speaker
            .event(name, about, cause.reason(), &note(*cause));
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
}

impl Speaker {
    fn api(&self, about: &ObjectReference) -> Api<Event> {
        Api::namespaced(self.client.clone(), namespace(about))
    }

    fn event(&self, name: &str, about: &ObjectReference, reason: &str, note: &str) -> Event {
        Event {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(namespace(about).to_owned()),
                ..ObjectMeta::default()
            },
            action: Some("EnsurePullSecret".to_owned()),
            event_time: Some(MicroTime(clock::now())),
            note: Some(note.to_owned()),
            reason: Some(reason.to_owned()),
            regarding: Some(about.clone()),
            reporting_controller: Some(OWNER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some("Warning".to_owned()),
            ..Event::default()
        }
    }
}

/// An Event about an object without a namespace lives in `default`.
fn namespace(about: &ObjectReference) -> &str {
    about.namespace.as_deref().unwrap_or("default")
}

fn note(cause: Cause) -> String {
    format!("{}; {}", cause.sentence(), cause.remedy())
}

/// The same for the same object and reason, in every replica and version.
fn name(about: &ObjectReference, reason: &str) -> String {
    let object = about.name.as_deref().unwrap_or_default();
    let mut hasher = DefaultHasher::new();
    (&about.kind, &about.namespace, object, &about.uid, reason).hash(&mut hasher);
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

    fn named(object: &str, uid: &str, cause: Cause) -> String {
        let about = ObjectReference {
            kind: Some("Secret".to_owned()),
            namespace: Some("team".to_owned()),
            name: Some(object.to_owned()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        name(&about, cause.reason())
    }

    #[test]
    fn the_name_tells_object_and_cause_apart_and_nothing_else() {
        let one = named("pull", "1", Cause::ForeignType);
        assert_eq!(one, named("pull", "1", Cause::ForeignType));
        assert_ne!(one, named("pull", "2", Cause::ForeignType));
        assert_ne!(one, named("pull", "1", Cause::ForeignOwner));
        assert!(one.starts_with("pull."));
    }

    #[test]
    fn the_longest_object_name_still_gives_a_legal_one() {
        assert!(named(&"a.".repeat(126), "1", Cause::ForeignType).len() <= 253);
    }

    #[test]
    fn the_name_stays_from_one_build_to_the_next() {
        let name = named("pull", "1", Cause::ForeignType);
        assert_eq!(name, "pull.7bc5ca915b94e854");
    }
}
