//! State of a namespace's pods.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use tokio::time::Instant;

use crate::harness::namespace::Namespace;
use crate::harness::{LIMIT, eventually};

/// Waits until `count` pods run and no other exists. A failure prints the namespace's Events.
pub async fn running(namespace: &Namespace, count: usize) -> Vec<Pod> {
    let api: Api<Pod> = namespace.api();
    let deadline = Instant::now() + LIMIT;
    loop {
        let pods = api
            .list(&ListParams::default())
            .await
            .expect("a list")
            .items;
        if pods.len() == count && pods.iter().all(runs) {
            return pods;
        }
        assert!(
            Instant::now() < deadline,
            "not {count} pods run: {:#?}",
            messages(namespace).await
        );
        // A poll interval: the loop ends as soon as the pods run.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The same, and fails unless the first attempt pulled each image. An image that the node already had
/// would not need the Secret.
pub async fn pulled(namespace: &Namespace, count: usize) -> Vec<Pod> {
    let pods = running(namespace, count).await;
    assert_no_pull_failed(namespace).await;
    for pod in &pods {
        let name = pod.name_any();
        let pulled: BTreeSet<String> = events(namespace)
            .await
            .into_iter()
            .filter(|event| event.involved_object.name.as_deref() == Some(&name))
            .filter_map(|event| event.message)
            .filter(|message| message.starts_with("Successfully pulled image"))
            .filter_map(|message| message.split('"').nth(1).map(str::to_owned))
            .collect();
        assert_eq!(pulled, images(pod), "{name}");
    }
    pods
}

/// Images that a pod names.
fn images(pod: &Pod) -> BTreeSet<String> {
    let spec = pod.spec.as_ref().expect("a spec");
    let init = spec.init_containers.iter().flatten();
    let containers = init
        .chain(&spec.containers)
        .filter_map(|container| container.image.clone());
    let volumes = spec.volumes.iter().flatten();
    let volumes = volumes.filter_map(|volume| volume.image.as_ref()?.reference.clone());
    containers.chain(volumes).collect()
}

async fn events(namespace: &Namespace) -> Vec<Event> {
    let api: Api<Event> = namespace.api();
    let list = api.list(&ListParams::default()).await;
    list.expect("events").items
}

async fn messages(namespace: &Namespace) -> Vec<String> {
    let events = events(namespace).await.into_iter();
    events.filter_map(|event| event.message).collect()
}

fn runs(pod: &Pod) -> bool {
    let Some(status) = &pod.status else {
        return false;
    };
    status.phase.as_deref() == Some("Running")
        && status
            .container_statuses
            .iter()
            .flatten()
            .all(|container| container.ready)
}

/// Waits until a container of the namespace waits with this reason.
pub async fn waits(namespace: &Namespace, reason: &str) {
    let api: Api<Pod> = namespace.api();
    eventually(reason, LIMIT, || async {
        let pods = api
            .list(&ListParams::default())
            .await
            .expect("a list")
            .items;
        let statuses = pods
            .iter()
            .filter_map(|pod| pod.status.as_ref())
            .flat_map(|status| {
                let init = status.init_container_statuses.iter().flatten();
                init.chain(status.container_statuses.iter().flatten())
            });
        let mut reasons = statuses.filter_map(|container| {
            container
                .state
                .as_ref()?
                .waiting
                .as_ref()?
                .reason
                .as_deref()
        });
        reasons.any(|waiting| waiting == reason).then_some(())
    })
    .await;
}

/// Fails if an Event of the namespace reports a failed pull.
pub async fn assert_no_pull_failed(namespace: &Namespace) {
    for event in events(namespace).await {
        let reason = event.reason.as_deref().unwrap_or_default();
        let message = event.message.as_deref().unwrap_or_default();
        let bad = [
            "FailedToRetrieveImagePullSecret",
            "Failed",
            "BackOff",
            "InspectFailed",
        ];
        let is_bad = bad.contains(&reason) || message.contains("ErrImagePull");
        assert!(!is_bad, "{}: {reason}: {message}", event.name_any());
    }
}
