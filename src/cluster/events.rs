//! Events: what the owner of a namespace sees with `kubectl get events`.
//!
//! The name of an Event is made of its object and its reason. So all replicas, and a replica after
//! its restart, write one Event instead of many. Two ways lead here: [`Events::emit`] queues an Event,
//! never waits and drops it when the queue is full; [`Events::report`] waits for the answer and says
//! whether it created the Event.

mod counted;
mod times;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::pull_secret::OWNER;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Patch, PatchParams, PostParams, Request};
use kube::{Api, Client, Resource as _};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tracing::debug;

use self::times::EventTimes;
use super::call::{CALL_TIMEOUT, call_once};
use super::refusal::Refusal;
use crate::clock;
use crate::telemetry::chain::chain;

/// The pause before the same Event is written again.
const REPEAT_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// Events that may wait; more are dropped.
const MAX_QUEUED: usize = 256;
/// Events about the objects of one namespace that may wait.
const MAX_QUEUED_OF_ONE: usize = 16;
/// Different Events that are remembered as written.
const MAX_REMEMBERED: usize = 4096;
/// Characters of a text in an Event; the API server takes 1,024 for the whole note.
const MAX_DETAIL: usize = 700;
/// The deadline of both calls for a queued Event.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// An Event in the queue.
#[derive(Debug)]
struct Notice {
    /// The object. Its namespace is the Event's.
    about: ObjectReference,
    cause: Cause,
}

/// The outcome of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reported {
    /// This call created the Event.
    First,
    /// The Event existed already.
    Before,
    /// The API server did not answer or was busy: the Event may exist now.
    Unclear(Refusal),
    /// The API server will not create it.
    Refused(Refusal),
}

/// The sender of Events. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Events {
    queue: mpsc::Sender<Notice>,
    waiting: Arc<Waiting>,
    reporter: Arc<Reporter>,
}

/// How many Events wait for each namespace: one that has many takes no room from others.
#[derive(Default)]
struct Waiting(Mutex<HashMap<String, usize>>);

impl Waiting {
    /// Counts one more, if it may wait.
    fn enter(&self, namespace: &str) -> bool {
        let mut all = self.0.lock();
        let count = all.entry(namespace.to_owned()).or_default();
        let may_wait = *count < MAX_QUEUED_OF_ONE;
        *count += usize::from(may_wait);
        may_wait
    }

    fn leave(&self, namespace: &str) {
        let mut all = self.0.lock();
        if let Some(count) = all.get_mut(namespace) {
            *count -= 1;
            if *count == 0 {
                all.remove(namespace);
            }
        }
    }
}

/// The task that writes queued Events.
pub(crate) struct EventWriter {
    notices: mpsc::Receiver<Notice>,
    waiting: Arc<Waiting>,
    reporter: Arc<Reporter>,
    /// The last write of each Event, and the number of writes.
    emitted: HashMap<String, (Instant, i32)>,
}

struct Reporter {
    client: Client,
    /// The name of the pod.
    instance: String,
}

/// Makes both ends; `instance` is the name of the pod.
pub(crate) fn channel(client: Client, instance: &str) -> (Events, EventWriter) {
    let (queue, notices) = mpsc::channel(MAX_QUEUED);
    let instance = instance.to_owned();
    let reporter = Arc::new(Reporter { client, instance });
    let waiting = Arc::new(Waiting::default());
    let writer = EventWriter {
        notices,
        waiting: waiting.clone(),
        reporter: reporter.clone(),
        emitted: HashMap::new(),
    };
    let events = Events {
        queue,
        waiting,
        reporter,
    };
    (events, writer)
}

impl Events {
    /// Queues an Event. It is dropped when the queue is full, or has too many of the namespace.
    pub(crate) fn emit(&self, about: ObjectReference, cause: Cause) {
        let namespace = namespace(&about).to_owned();
        if self.waiting.enter(&namespace) {
            if self.queue.try_send(Notice { about, cause }).is_ok() {
                return;
            }
            self.waiting.leave(&namespace);
        }
        debug!(cause = cause.name(), "event dropped: the queue is full");
    }

    /// Creates the Event of an object's cause now, unless it exists.
    pub(crate) async fn report(&self, about: &ObjectReference, cause: Cause) -> Reported {
        self.report_as(about, cause.reason(), &note(cause)).await
    }

    /// The same, with a text that says what exactly is wrong: another text is another Event.
    pub(crate) async fn report_detail(
        &self,
        about: &ObjectReference,
        cause: Cause,
        detail: &str,
    ) -> Reported {
        let detail: String = detail.chars().take(MAX_DETAIL).collect();
        let note = format!("{}: {detail}", cause.sentence());
        let created = self.reporter.create_as(&note, about, cause.reason(), &note);
        outcome(created.await)
    }

    /// Creates an Event with a text of its own, unless it exists.
    pub(crate) async fn report_as(
        &self,
        about: &ObjectReference,
        reason: &str,
        note: &str,
    ) -> Reported {
        outcome(self.reporter.create(about, reason, note).await)
    }
}

fn outcome(created: Result<(), Refusal>) -> Reported {
    match created {
        Ok(()) => Reported::First,
        Err(Refusal::Changed) => Reported::Before,
        Err(refusal) if refusal.is_transient() => Reported::Unclear(refusal),
        Err(refusal) => Reported::Refused(refusal),
    }
}

impl EventWriter {
    /// Writes Events until the last sender is gone.
    pub(crate) async fn run(mut self) {
        while let Some(notice) = self.notices.recv().await {
            self.waiting.leave(namespace(&notice.about));
            let name = name(&notice.about, notice.cause.reason());
            let now = Instant::now();
            let is_recent = |at: Instant| now.duration_since(at) < REPEAT_INTERVAL;
            if self.emitted.len() >= MAX_REMEMBERED {
                self.emitted.retain(|_, (at, _)| is_recent(*at));
            }
            if self.emitted.len() >= MAX_REMEMBERED {
                // Their names keep a second Event from being created.
                self.emitted.clear();
            }
            let (at, count) = self.emitted.get(&name).copied().unzip();
            if at.is_some_and(is_recent) {
                continue;
            }
            let count = count.unwrap_or(0) + 1;
            let written = timeout(WRITE_TIMEOUT, self.write(&notice, count)).await;
            match written {
                Ok(Ok(())) => {
                    self.emitted.insert(name, (now, count));
                }
                Ok(Err(error)) => debug!(error = chain(&error), "cannot write an event"),
                Err(_) => debug!("cannot write an event in time"),
            }
        }
    }

    async fn write(&self, notice: &Notice, count: i32) -> Result<(), Refusal> {
        let Notice { about, cause } = notice;
        let note = note(*cause);
        match self.reporter.create(about, cause.reason(), &note).await {
            // Another replica, or this one before a restart, has written it: its series goes on.
            Err(Refusal::Changed) => {
                let (reason, series) =
                    (cause.reason(), series(count + 1, &MicroTime(clock::now())));
                let patched = self.reporter.patch(about, reason, &series);
                patched.await.map(drop)
            }
            created => created,
        }
    }
}

impl Reporter {
    async fn create(
        &self,
        about: &ObjectReference,
        reason: &str,
        note: &str,
    ) -> Result<(), Refusal> {
        self.create_as(reason, about, reason, note).await
    }

    /// Two Events about an object are one if `what` is the same.
    async fn create_as(
        &self,
        what: &str,
        about: &ObjectReference,
        reason: &str,
        note: &str,
    ) -> Result<(), Refusal> {
        let event = self.event(&name(about, what), about, reason, note);
        self.store(about, &event).await
    }

    /// Creates an Event. Never tries twice: an attempt that arrived unseen would make the second one look
    /// late.
    async fn store(&self, about: &ObjectReference, event: &Event) -> Result<(), Refusal> {
        let (api, params) = (self.api(about), PostParams::default());
        call_once(CALL_TIMEOUT, api.create(&params, event))
            .await
            .map(drop)
    }

    /// Changes the Event about an object with this reason. Returns its times alone: a tenant may
    /// have created it.
    async fn patch(
        &self,
        about: &ObjectReference,
        reason: &str,
        change: &Value,
    ) -> Result<EventTimes, Refusal> {
        let params = PatchParams::default();
        let (name, patch) = (name(about, reason), Patch::Merge(change));
        let events = Request::new(Event::url_path(&(), Some(namespace(about))));
        call_once(CALL_TIMEOUT, async {
            let request = events.patch(&name, &params, &patch);
            let request = request.map_err(kube::Error::BuildRequest)?;
            self.client.request(request).await
        })
        .await
    }

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

fn series(count: i32, seen: &MicroTime) -> Value {
    json!({ "series": { "count": count, "lastObservedTime": seen } })
}

/// The namespace of the Event: `default` for an object without one.
fn namespace(about: &ObjectReference) -> &str {
    about.namespace.as_deref().unwrap_or("default")
}

fn note(cause: Cause) -> String {
    format!("{}; {}", cause.sentence(), cause.remedy())
}

/// The same name for the same object and reason, in every replica and version.
fn name(about: &ObjectReference, what: &str) -> String {
    let object = about.name.as_deref().unwrap_or_default();
    let mut hasher = DefaultHasher::new();
    (&about.kind, &about.namespace, object, &about.uid, what).hash(&mut hasher);
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
    fn events_of_one_namespace_leave_room_for_others() {
        let waiting = Waiting::default();
        for _ in 0..MAX_QUEUED_OF_ONE {
            assert!(waiting.enter("hostile"));
        }
        assert!(!waiting.enter("hostile") && waiting.enter("team"));
        waiting.leave("hostile");
        assert!(waiting.enter("hostile") && !waiting.enter("hostile"));
        waiting.leave("team");
        assert_eq!(waiting.0.lock().len(), 1);
    }

    #[test]
    fn name_differs_by_object_and_cause_alone() {
        let one = named("pull", "1", Cause::ForeignType);
        assert_eq!(one, named("pull", "1", Cause::ForeignType));
        assert_ne!(one, named("pull", "2", Cause::ForeignType));
        assert_ne!(one, named("pull", "1", Cause::ForeignOwner));
        assert!(one.starts_with("pull."));
    }

    #[test]
    fn longest_object_name_gives_valid_event_name() {
        assert!(named(&"a.".repeat(126), "1", Cause::ForeignType).len() <= 253);
    }

    #[test]
    fn name_stays_the_same_across_builds() {
        let name = named("pull", "1", Cause::ForeignType);
        assert_eq!(name, "pull.7bc5ca915b94e854");
    }
}
