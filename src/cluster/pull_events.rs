//! The kubelets' Events that say that something of a pod failed, such as a pull.
//!
//! A pod that has run once is never Pending again, so the watch of Pending pods does not show its failed
//! pulls, and a watch of all pods would bring each of their status updates. An Event is no proof: a
//! tenant may write one. It says which pod to read.
//!
//! The API server keeps no Events in memory: a list of them reads all of them from etcd. So the watch
//! begins now, without a list, and again after a gap: kubelets repeat the Event with each attempt. Such
//! a watch gets no bookmarks either, so it ends before a silent connection would.

use std::time::Duration;

use ecr_pull_secrets_core::backoff::{Backoff, jittered};
use ecr_pull_secrets_core::names::is_dns_subdomain;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Event;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Client};
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

/// The pod that an Event is about, if it can be one.
fn pod_of(event: Event) -> Option<NamedPod> {
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
    let events: Api<Event> = Api::all(client);
    let (mut failures, mut version) = (0_u32, None);
    loop {
        let start = Instant::now();
        let (next, ended) = watch(&events, version, &mut handle).await;
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
    events: &Api<Event>,
    version: Option<String>,
    handle: &mut impl FnMut(NamedPod),
) -> (Option<String>, Result<(), Refusal>) {
    let mut version = match version {
        Some(version) => version,
        None => match now(events).await {
            Ok(version) => version,
            Err(refusal) => return (None, Err(refusal)),
        },
    };
    let params = WatchParams::default()
        .fields(SELECTOR)
        .timeout(WATCH_SECONDS);
    let mut stream = match events.watch(&params, &version).await {
        Ok(stream) => stream.boxed(),
        Err(error) if is_gone(&error) => return (None, Ok(())),
        Err(error) => return (Some(version), Err(Refusal::of(&error))),
    };
    while let Some(event) = stream.next().await {
        match event {
            Ok(WatchEvent::Added(event) | WatchEvent::Modified(event)) => {
                version = event.metadata.resource_version.clone().unwrap_or(version);
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
            Err(error) => return (Some(version), Err(Refusal::of(&error))),
        }
    }
    (Some(version), Ok(()))
}

/// The present version of all Events, by the shortest list there is.
async fn now(events: &Api<Event>) -> Result<String, Refusal> {
    let params = ListParams::default().limit(1);
    let list = call(|| events.list(&params)).await?;
    Ok(list.metadata.resource_version.unwrap_or_default())
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
    fn client(answers: Vec<(u16, Value)>) -> (Client, Arc<Mutex<Vec<String>>>) {
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

    #[tokio::test]
    async fn watch_begins_now_and_again_after_a_gap() {
        let list = json!({ "kind": "EventList", "apiVersion": "v1", "metadata": { "resourceVersion": "7" }, "items": [] });
        let gone =
            json!({ "kind": "Status", "status": "Failure", "reason": "Expired", "code": 410 });
        let event = json!({ "type": "ADDED", "object": {
            "apiVersion": "v1", "kind": "Event",
            "metadata": { "name": "e", "namespace": "team", "resourceVersion": "9" },
            "involvedObject": { "kind": "Pod", "name": "web", "uid": "1" },
        } });
        let (client, queries) = client(vec![(200, list), (200, event), (410, gone)]);
        let events: Api<Event> = Api::all(client);
        let mut seen = Vec::new();
        let mut handle = |pod: NamedPod| seen.push(pod.name);
        let (version, ended) = watch(&events, None, &mut handle).await;
        assert_eq!((version.as_deref(), ended), (Some("9"), Ok(())));
        // The next one goes on from there. Where that is forgotten, it begins with the present again.
        assert_eq!(watch(&events, version, &mut handle).await, (None, Ok(())));
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
