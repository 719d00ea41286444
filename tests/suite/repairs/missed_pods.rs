//! Pods that were created while no replica answered: any leader reports each of them once, and no
//! other pod.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Event, Pod, ResourceQuota, ServiceAccount};
use k8s_openapi::api::events::v1::Event as GroupEvent;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::site::{Site, counted_on, logged, refused, set_status, told};
use crate::frame::trials;
use crate::harness::namespace::{Namespace, SECRET, pod, references};
use crate::harness::world::{CONFIG, OURS};
use crate::harness::{LIMIT, Outcome, eventually};

trials!(
    two_hundred_missed_pods_are_reported_once,
    pods_missed_under_a_leader_are_reported,
    odd_time_in_event_hides_no_missed_pod,
    refused_events_hold_up_their_namespace_alone,
    secret_deleted_without_replicas_is_recreated,
    refused_pull_is_explained_once,
    failed_secret_is_explained_on_its_pod,
);

/// The registration that [`refuse_events`] creates.
const EVENTS_DOWN: &str = "events-down";

pub(super) fn uids(pods: &[Pod]) -> Vec<String> {
    let mut uids: Vec<String> = pods.iter().filter_map(Pod::uid).collect();
    uids.sort();
    uids
}

/// Creates pods without the reference.
pub(super) async fn missed(namespace: &Namespace, count: usize) -> Vec<Pod> {
    let image = namespace.image("app");
    let pods = (0..count).map(|number| {
        let (name, image) = (format!("missed-{number}"), &image);
        async move { namespace.pod(&name, image).await }
    });
    let pods = join_all(pods).await;
    for pod in &pods {
        assert_eq!(references(pod), [""; 0]);
    }
    pods
}

/// Waits until exactly these pods have an Event.
pub(super) async fn all_told(namespace: &Namespace, pods: &[Pod]) {
    let wanted = uids(pods);
    eventually("an Event for each missed pod", LIMIT, || async {
        (told(namespace, "PodMissed").await == wanted).then_some(())
    })
    .await;
}

/// Waits until each of these missed pods has an Event, or is counted by that of its group. No Event is
/// about another one.
async fn all_reported(namespace: &Namespace, pods: &[Pod]) {
    let wanted = uids(pods);
    eventually("a report of each missed pod", LIMIT, || async {
        let own = told(namespace, "PodMissed").await;
        assert!(own.iter().all(|uid| wanted.contains(uid)), "{own:?}");
        let groups = counted_on(namespace, "PodMissed").await;
        let counted: usize = groups.iter().map(|(_, count)| count).sum();
        (own.len() + counted == wanted.len()).then_some(())
    })
    .await;
}

/// Resource versions of all Events of a namespace: a second report changes one.
pub(super) async fn versions(namespace: &Namespace) -> Vec<Option<String>> {
    let events: Api<Event> = namespace.api();
    let all = events.list(&ListParams::default()).await.expect("Events");
    let mut versions: Vec<_> = all.iter().map(Event::resource_version).collect();
    versions.sort();
    versions
}

/// Creates pods without the reference that no leader may report.
async fn silent_pods(site: &Site, namespace: &Namespace) -> Vec<Namespace> {
    namespace.pod("elsewhere", "docker.io/app:1").await;
    let image = namespace.image("app");
    let mut out = pod("opted-out", &image);
    out["metadata"]["labels"] = json!({ "ecr-pull-secrets.dev/inject": "false" });
    namespace.create::<Pod>(out).await.expect("a pod");
    namespace.pod("ended", &image).await;
    set_status(&namespace.api(), "ended", json!({ "phase": "Succeeded" })).await;

    let opted_out = site
        .namespace(json!({ "ecr-pull-secrets.dev/inject": "false" }))
        .await;
    opted_out.pod("pod", &image).await;
    let mut excluded = vec![opted_out];
    for name in ["kube-system", OURS] {
        let there = Namespace {
            name: name.to_owned(),
            region: namespace.region.clone(),
            client: namespace.client.clone(),
        };
        let accounts = there.api::<ServiceAccount>();
        eventually("the default ServiceAccount", LIMIT, || async {
            accounts
                .get_opt("default")
                .await
                .expect("an answer")
                .map(drop)
        })
        .await;
        there.pod("pod", &image).await;
        excluded.push(there);
    }
    excluded
}

async fn two_hundred_missed_pods_are_reported_once(site: Arc<Site>) -> Outcome {
    let mut namespaces = Vec::new();
    for _ in 0..4 {
        namespaces.push(site.namespace(json!({})).await);
    }
    let pods = join_all(namespaces.iter().map(|namespace| missed(namespace, 50))).await;
    for (namespace, pods) in namespaces.iter().zip(&pods) {
        // Their node had the image.
        let api = namespace.api::<Pod>();
        join_all(pods.iter().take(25).map(|pod| async {
            set_status(&api, &pod.name_any(), json!({ "phase": "Running" })).await;
        }))
        .await;
    }
    let silent = silent_pods(&site, &namespaces[0]).await;

    site.open(3, CONFIG).await;
    site.leader().await;
    let start = Instant::now();
    for (namespace, pods) in namespaces.iter().zip(&pods) {
        all_reported(namespace, pods).await;
    }
    println!("200 missed pods were reported within {:?}", start.elapsed());
    site.swept().await;
    assert_eq!(site.counted().await, 200.0);
    let before = join_all(namespaces.iter().map(versions)).await;

    // Another leader, and other replicas, have nothing new to report.
    site.kill_leader().await;
    site.swept().await;
    assert_eq!(site.counted().await, 0.0);
    site.close().await;
    site.open(2, CONFIG).await;
    site.swept().await;
    assert_eq!(site.counted().await, 0.0);
    assert_eq!(join_all(namespaces.iter().map(versions)).await, before);
    for namespace in silent {
        assert_eq!(told(&namespace, "PodMissed").await, [""; 0]);
    }
    // A pod that names no Secret needs none.
    for namespace in &namespaces {
        assert!(namespace.secret().await.is_none());
    }
    Ok(())
}

async fn pods_missed_under_a_leader_are_reported(site: Arc<Site>) -> Outcome {
    let namespace = site.namespace(json!({})).await;
    site.open(1, CONFIG).await;
    let leader = site.swept().await;
    let served = namespace.pod("served", &namespace.image("app")).await;
    assert_eq!(references(&served), [SECRET]);
    let before = site.counted().await;
    site.disconnect().await;
    let pods = missed(&namespace, 3).await;
    all_told(&namespace, &pods).await;
    assert_eq!(site.counted().await - before, 3.0);
    // Further changes of the pod cause no second report.
    for pod in &pods {
        let status = json!({ "message": "still waiting" });
        set_status(&namespace.api(), &pod.name_any(), status).await;
    }
    let text = leader.get("/metrics").await.expect("metrics").1;
    assert!(text.contains("pods_missing_reference_total"), "{text}");
    assert_eq!(told(&namespace, "PodMissed").await, uids(&pods));
    assert_eq!(site.counted().await - before, 3.0);
    Ok(())
}

/// The name of the leader's Event with a count on a namespace, as any tenant can tell it.
fn name_of_count(namespace: &str) -> String {
    let (kind, uid) = (Some("Namespace".to_owned()), None::<String>);
    let mut hasher = DefaultHasher::new();
    (
        &kind,
        &Some(namespace.to_owned()),
        namespace,
        &uid,
        "PodMissed",
    )
        .hash(&mut hasher);
    format!("{namespace}.{:016x}", hasher.finish())
}

async fn odd_time_in_event_hides_no_missed_pod(site: Arc<Site>) -> Outcome {
    let tenant = site.namespace(json!({})).await;
    site.open(1, CONFIG).await;
    site.swept().await;
    let forged = json!({
        "metadata": { "name": name_of_count(&tenant.name) },
        "regarding": { "apiVersion": "v1", "kind": "Namespace", "namespace": tenant.name, "name": tenant.name },
        "eventTime": "2026-01-01T00:00:00.000000Z", "action": "EnsurePullSecret", "reason": "PodMissed",
        "reportingController": "ecr-pull-secrets", "reportingInstance": "x", "type": "Warning",
        "series": { "count": 2, "lastObservedTime": "9999-12-31T23:59:59.000000Z" },
    });
    tenant.create_unread::<GroupEvent>(forged).await;
    let before = site.counted().await;
    site.disconnect().await;
    missed(&tenant, 1).await;
    eventually("the pod is counted", LIMIT, || async {
        (site.counted().await - before == 1.0).then_some(())
    })
    .await;
    // The forged one has the name that the test thinks.
    let events = tenant.api::<Event>();
    let events = events.list_metadata(&ListParams::default()).await?;
    let mut names: Vec<String> = events.iter().map(|event| event.name_any()).collect();
    names.sort();
    assert!(
        names[0].starts_with("missed-0.") && names.len() == 2,
        "{names:?}"
    );
    Ok(())
}

/// Has the API server answer 500 to Events of namespaces with these labels, as for a webhook that is
/// down. Returns once it does so in this namespace.
async fn refuse_events(namespace: &Namespace, labels: &Value) {
    let webhook = serde_json::from_value(json!({
        "metadata": { "name": EVENTS_DOWN },
        "webhooks": [{
            "name": "events.example.com",
            "admissionReviewVersions": ["v1"],
            "clientConfig": { "url": "https://127.0.0.1:1/" },
            "failurePolicy": "Fail",
            "namespaceSelector": { "matchLabels": labels },
            "rules": [{
                "apiGroups": ["", "events.k8s.io"], "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE"], "resources": ["events"],
            }],
            "sideEffects": "None",
        }],
    }));
    let webhooks: Api<ValidatingWebhookConfiguration> = Api::all(namespace.client.clone());
    let params = PostParams::default();
    let webhook = webhook.expect("a registration");
    webhooks.create(&params, &webhook).await.expect("created");
    let probe = serde_json::from_value(json!({
        "metadata": { "name": "probe" },
        "involvedObject": { "namespace": namespace.name },
    }));
    let (events, probe) = (namespace.api::<Event>(), probe.expect("an Event"));
    let params = PostParams {
        dry_run: true,
        ..params
    };
    eventually("Events are refused", LIMIT, || async {
        events.create(&params, &probe).await.is_err().then_some(())
    })
    .await;
}

async fn refused_events_hold_up_their_namespace_alone(site: Arc<Site>) -> Outcome {
    let labels = json!({ "events": "refused" });
    let (down, good) = (
        site.namespace(labels.clone()).await,
        site.namespace(json!({})).await,
    );
    let late = missed(&down, 400).await;
    let pods = missed(&good, 3).await;
    refuse_events(&down, &labels).await;
    site.open(1, CONFIG).await;
    let leader = site.swept().await;
    all_told(&good, &pods).await;
    // The begin of the watch causes another one.
    let sweeps = || logged(&leader, "\"checked all pods\"");
    eventually("two sweeps", LIMIT, || async {
        (sweeps() == 2).then_some(())
    })
    .await;
    assert_eq!(told(&down, "PodMissed").await, [""; 0]);
    assert_eq!(site.counted().await, 3.0);
    let webhooks: Api<ValidatingWebhookConfiguration> = Api::all(down.client.clone());
    webhooks
        .delete(EVENTS_DOWN, &DeleteParams::default())
        .await?;
    all_reported(&down, &late).await;
    eventually("each pod is counted", LIMIT, || async {
        (site.counted().await == 403.0).then_some(())
    })
    .await;
    // They waited in memory: no later list of all pods found them.
    assert_eq!(sweeps(), 2);
    Ok(())
}

async fn secret_deleted_without_replicas_is_recreated(site: Arc<Site>) -> Outcome {
    let namespace = site.namespace(json!({})).await;
    site.open(1, CONFIG).await;
    namespace.pod("runs", &namespace.image("app")).await;
    let before = namespace.assert_opens().await;
    set_status(&namespace.api(), "runs", json!({ "phase": "Running" })).await;
    site.close().await;
    let secrets = namespace.api::<k8s_openapi::api::core::v1::Secret>();
    secrets.delete(SECRET, &DeleteParams::default()).await?;
    site.open(1, CONFIG).await;
    let after = namespace.assert_opens().await;
    assert_ne!(after.metadata.uid, before.metadata.uid);
    Ok(())
}

async fn refused_pull_is_explained_once(site: Arc<Site>) -> Outcome {
    let namespace = site.namespace(json!({})).await;
    site.open(1, CONFIG).await;
    site.swept().await;
    let image = namespace.image("app");
    let denied = namespace.pod("denied", &image).await;
    let absent = namespace.pod("absent", &image).await;
    namespace.assert_opens().await;
    let api = namespace.api();
    let not_found = format!("failed to resolve reference \"{image}\": {image}: not found");
    let cases = [
        (
            "denied",
            "unexpected status from HEAD request to x: 403 Forbidden\ndenied: User: y is not authorized \
             to perform: ecr:BatchGetImage on resource: z",
        ),
        ("absent", &not_found),
    ];
    for attempt in 0..3 {
        for (name, message) in cases {
            let message = format!("{message} {attempt}");
            set_status(&api, name, refused(&image, &message)).await;
        }
    }
    for (reason, pod) in [("PullDenied", &denied), ("ImageNotFound", &absent)] {
        let wanted = uids(std::slice::from_ref(pod));
        eventually(reason, LIMIT, || async {
            (told(&namespace, reason).await == wanted).then_some(())
        })
        .await;
    }
    assert_eq!(versions(&namespace).await.len(), 2);
    Ok(())
}

async fn failed_secret_is_explained_on_its_pod(site: Arc<Site>) -> Outcome {
    let namespace = site.namespace(json!({})).await;
    let quota = json!({
        "metadata": { "name": "no-secrets" }, "spec": { "hard": { "count/secrets": "0" } },
    });
    namespace.create::<ResourceQuota>(quota).await?;
    let quotas = namespace.api::<ResourceQuota>();
    eventually("the quota counts", LIMIT, || async {
        let quota = quotas.get("no-secrets").await.expect("a quota");
        quota.status.and_then(|status| status.used).map(drop)
    })
    .await;
    site.open(1, CONFIG).await;
    site.swept().await;
    let image = namespace.image("app");
    let pod = namespace.pod("pod", &image).await;
    assert_eq!(references(&pod), [SECRET]);
    let wanted = uids(std::slice::from_ref(&pod));
    let mut attempt = 0;
    eventually("an Event", LIMIT, || {
        attempt += 1;
        // Its kubelet repeats the failure.
        let message = format!("no basic auth credentials {attempt}");
        let (api, status) = (namespace.api(), refused(&image, &message));
        let (namespace, wanted) = (&namespace, &wanted);
        async move {
            set_status(&api, "pod", status).await;
            (told(namespace, "QuotaExceeded").await == *wanted).then_some(())
        }
    })
    .await;
    assert!(namespace.secret().await.is_none());
    Ok(())
}
