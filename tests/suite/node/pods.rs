//! How a namespace's pods fare.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use tokio::time::Instant;

use crate::harness::namespace::Namespace;
use crate::harness::{LIMIT, eventually};

/// The namespace's first pod, once it runs. A pod that cannot is described.
pub async fn running(namespace: &Namespace) -> Pod {
    let api: Api<Pod> = namespace.api();
    let describe = || async {
        let events: Api<Event> = namespace.api();
        let events = events
            .list(&ListParams::default())
            .await
            .expect("events")
            .items;
        events
            .into_iter()
            .filter_map(|event| event.message)
            .collect::<Vec<_>>()
            .join("\n")
    };
    let deadline = Instant::now() + LIMIT;
    loop {
        let pods = api
            .list(&ListParams::default())
            .await
            .expect("a list")
            .items;
        if let Some(pod) = pods.into_iter().find(runs) {
            return pod;
        }
        assert!(
            Instant::now() < deadline,
            "no pod runs: {}",
            describe().await
        );
        // A poll interval: the loop ends as soon as the condition holds.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
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

/// Why the namespace's containers wait, once one waits with this reason.
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

/// Fails if an Event of the namespace tells of a pull that went wrong on the way.
pub async fn assert_no_pull_failed(namespace: &Namespace) {
    let events: Api<Event> = namespace.api();
    for event in events
        .list(&ListParams::default())
        .await
        .expect("events")
        .items
    {
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
