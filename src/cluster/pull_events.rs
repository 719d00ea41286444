//! The kubelets' Events that say that something of a pod failed, such as a pull.
//!
//! A pod that has run once is never Pending again, so the watch of Pending pods does not show its failed
//! pulls, and a watch of all pods would bring each of their status updates. An Event is no proof: a
//! tenant may write one. It says which pod to read.
//!
//! The API server keeps no Events in memory: a list of them reads all of them from etcd. So the watch
//! begins now, without a list, and again after a gap: kubelets repeat the Event with each attempt. Such
//! a watch gets no bookmarks either, so it ends before a silent connection would.
//!
//! A tenant writes what it likes into an Event, such as a time that no library reads. So only texts are
//! read, and an Event that cannot be read is skipped.

use std::time::Duration;

use ecr_pull_secrets_core::backoff::{Backoff, jittered};
use ecr_pull_secrets_core::names::is_dns_subdomain;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Event;
use kube::api::{ListParams, Request, WatchEvent, WatchParams};
use kube::{Client, Resource as _};
use serde::Deserialize;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use super::call::call;
use super::pods::NamedPod;
use super::refusal::Refusal;

/// What kubelets call a failed pull, among other failures of pods.
const SELECTOR: &str = "involvedObject.kind=Pod,reason=Failed";
/// The time after which the API server ends the watch, in seconds: below the longest silence of a
/// [connection](super::connect::WATCH_READ_TIMEOUT).
const WATCH_SECONDS: u32 = 80;
/// The pauses after failures.
const PAUSES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

/// What is read of an Event.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FailedPull {
    #[serde(default)]
    metadata: EventMetadata,
    #[serde(default)]
    involved_object: EventObject,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventMetadata {
    namespace: Option<String>,
    resource_version: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct EventObject {
    name: Option<String>,
    uid: Option<String>,
}

/// What is read of a list of Events.
#[derive(Deserialize)]
struct EventList {
    metadata: EventMetadata,
}

/// The pod that an Event is about, if it can be one.
fn pod_of(event: FailedPull) -> Option<NamedPod> {
    let about = event.involved_object;
    Some(NamedPod {
        // The Event's own namespace: the rest is a text.
        namespace: event.metadata.namespace?,
        name: about.name.filter(|name| is_dns_subdomain(name))?,
        uid: about.uid?,
    })
}

/// Feeds every pod that an Event is about from now on to `handle`, until dropped.
pub(crate) async fn follow(client: Client, mut handle: impl FnMut(NamedPod)) {
    let (mut failures, mut version) = (0_u32, None);
    loop {
        let start = Instant::now();
        let (next, ended) = watch(&client, version, &mut handle).await;
        version = next;
        match ended {
            Ok(()) if start.elapsed() >= PAUSES.first => failures = 0,
            // A proxy may end each watch at once.
            Ok(()) => failures = failures.saturating_add(1),
            Err(refusal) => {
                failures = failures.saturating_add(1);
                let (cause, detail) = refusal.into_parts();
                let cause = cause.name();
                // One connection may end at any time.
                if failures == 2 {
                    warn!(cause, detail, "cannot watch the events of failed pulls");
                } else {
                    debug!(cause, detail, "the watch of events was interrupted");
                }
            }
        }
        if failures > 0 {
            sleep(jittered(PAUSES.nth(failures), fastrand::f64())).await;
        }
    }
}

/// Watches once, from a version or from now on. Returns the version from which it goes on.
async fn watch(
    client: &Client,
    version: Option<String>,
    handle: &mut impl FnMut(NamedPod),
) -> (Option<String>, Result<(), Refusal>) {
    let mut version = match version {
        Some(version) => version,
        None => match now(client).await {
            Ok(version) => version,
            Err(refusal) => return (None, Err(refusal)),
        },
    };
    let params = WatchParams::default()
        .fields(SELECTOR)
        .timeout(WATCH_SECONDS);
    let open = async {
        let request = events().watch(&params, &version);
        let request = request.map_err(kube::Error::BuildRequest)?;
        client.request_events::<FailedPull>(request).await
    };
    let mut stream = match open.await {
        Ok(stream) => stream.boxed(),
        Err(error) if is_gone(&error) => return (None, Ok(())),
        Err(error) => return (Some(version), Err(Refusal::of(&error))),
    };
    while let Some(event) = stream.next().await {
        match event {
            Ok(WatchEvent::Added(event) | WatchEvent::Modified(event)) => {
                let next = event.metadata.resource_version.clone();
                version = next.unwrap_or(version);
                if let Some(pod) = pod_of(event) {
                    handle(pod);
                }
            }
            Ok(WatchEvent::Bookmark(mark)) => version = mark.metadata.resource_version,
            // They go after an hour.
            Ok(WatchEvent::Deleted(_)) => {}
            Ok(WatchEvent::Error(status)) => {
                let error = kube::Error::Api(status);
                return match is_gone(&error) {
                    true => (None, Ok(())),
                    false => (Some(version), Err(Refusal::of(&error))),
                };
            }
            Err(error) => match Refusal::of(&error) {
                Refusal::Unreadable { detail } => debug!(detail, "skipped an unreadable event"),
                refusal => return (Some(version), Err(refusal)),
            },
        }
    }
    (Some(version), Ok(()))
}

/// The present version of all Events, by the shortest list there is.
async fn now(client: &Client) -> Result<String, Refusal> {
    let params = ListParams::default().limit(1);
    let request = || async {
        let request = events().list(&params);
        client
            .request(request.map_err(kube::Error::BuildRequest)?)
            .await
    };
    let list: EventList = call(request).await?;
    Ok(list.metadata.resource_version.unwrap_or_default())
}

/// The Events of all namespaces.
fn events() -> Request {
    Request::new(Event::url_path(&(), None))
}

/// Whether etcd has forgotten the version.
fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 410)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use http::{Request, Response};
    use http_body_util::Full;
    use hyper::body::Bytes;
    use kube::client::Body;
    use parking_lot::Mutex;
    use serde_json::{Value, json};
    use tower::service_fn;

    use super::*;

    /// A client whose answers are these, in order, and the queries that it was asked.
    fn client(answers: Vec<(u16, String)>) -> (Client, Arc<Mutex<Vec<String>>>) {
        let queries = Arc::new(Mutex::new(Vec::new()));
        let (asked, answers) = (queries.clone(), Mutex::new(answers.into_iter()));
        let service = service_fn(move |request: Request<Body>| {
            asked.lock().push(request.uri().to_string());
            let (status, body) = answers.lock().next().expect("another answer");
            let answer = Response::builder().status(status);
            let answer = answer.body(Full::new(Bytes::from(format!("{body}\n"))));
            async move { Ok::<_, Infallible>(answer.expect("an answer")) }
        });
        (Client::new(service, "default"), queries)
    }

    /// The list that says what is now.
    fn list() -> Value {
        json!({ "kind": "EventList", "apiVersion": "v1", "metadata": { "resourceVersion": "7" }, "items": [] })
    }

    /// An Event of a watch.
    fn added(pod: &str, version: &str) -> Value {
        json!({ "type": "ADDED", "object": {
            "apiVersion": "v1", "kind": "Event",
            "metadata": { "name": "e", "namespace": "team", "resourceVersion": version },
            "involvedObject": { "kind": "Pod", "name": pod, "uid": "1" },
        } })
    }

    #[tokio::test]
    async fn watch_begins_now_and_again_after_a_gap() {
        let gone =
            json!({ "kind": "Status", "status": "Failure", "reason": "Expired", "code": 410 });
        let answers = vec![
            (200, list().to_string()),
            (200, added("web", "9").to_string()),
            (410, gone.to_string()),
        ];
        let (client, queries) = client(answers);
        let mut seen = Vec::new();
        let mut handle = |pod: NamedPod| seen.push(pod.name);
        let (version, ended) = watch(&client, None, &mut handle).await;
        assert_eq!((version.as_deref(), ended), (Some("9"), Ok(())));
        // The next one goes on from there. Where that is forgotten, it begins with the present again.
        assert_eq!(watch(&client, version, &mut handle).await, (None, Ok(())));
        assert_eq!(seen, ["web"]);
        let queries = queries.lock();
        assert!(
            queries[0].contains("limit=1") && !queries[0].contains("fieldSelector"),
            "{queries:?}"
        );
        assert!(
            queries[1].contains("resourceVersion=7") && queries[1].contains("reason%3DFailed"),
            "{queries:?}"
        );
        assert!(queries[2].contains("resourceVersion=9"), "{queries:?}");
    }

    #[tokio::test]
    async fn odd_event_costs_itself_alone() {
        // The API server takes these times. Beyond them, a field of another shape.
        let mut late = added("late", "8");
        late["object"]["series"] =
            json!({ "count": 3, "lastObservedTime": "9999-12-31T23:59:59.000000Z" });
        late["object"]["eventTime"] = json!("10000-01-01T11:59:59.000000Z");
        let mut odd = added("odd", "9");
        odd["object"]["involvedObject"] = json!("web");
        let mut first = list();
        first["items"] = json!([late["object"], odd["object"]]);
        let lines = [late, odd, added("web", "10")].map(|line| line.to_string());
        let answers = vec![(200, first.to_string()), (200, lines.join("\n"))];
        let (client, _) = client(answers);
        let mut seen = Vec::new();
        let (version, ended) = watch(&client, None, &mut |pod: NamedPod| seen.push(pod.name)).await;
        assert_eq!((version.as_deref(), ended), (Some("10"), Ok(())));
        assert_eq!(seen, ["late", "web"]);
    }

    fn pod(name: &str) -> Option<NamedPod> {
        let event = json!({
            "metadata": { "name": "e", "namespace": "team" },
            "involvedObject": { "kind": "Pod", "namespace": "other", "name": name, "uid": "1" },
        });
        pod_of(serde_json::from_value(event).unwrap())
    }

    #[test]
    fn event_names_a_pod_of_its_own_namespace() {
        let wanted = NamedPod {
            namespace: "team".to_owned(),
            name: "web-1".to_owned(),
            uid: "1".to_owned(),
        };
        assert_eq!(pod("web-1"), Some(wanted));
        for name in ["", "../secrets/x", "a/b", "web?x=y", "Web"] {
            assert_eq!(pod(name), None, "{name}");
        }
    }
}
