//! Running pods whose pulls fail: no watch of Pending pods shows them, but the kubelet's Events do.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::site::{Site, logged, refused, set_status, told};
use crate::frame::trials;
use crate::harness::namespace::{ACCOUNT, Namespace, SECRET, references};
use crate::harness::world::CONFIG;
use crate::harness::{LIMIT, Outcome, docker, eventually};

trials!(
    running_pod_with_another_image_gets_its_registry,
    odd_event_of_tenant_hides_no_failed_pull,
    failed_pull_of_running_pod_is_explained,
);

/// The Event of a kubelet that cannot pull.
fn failure(namespace: &Namespace, pod: &str, uid: &str) -> Value {
    json!({
        "metadata": { "generateName": "failed-" },
        "involvedObject": { "apiVersion": "v1", "kind": "Pod", "namespace": namespace.name, "name": pod,
            "uid": uid, "fieldPath": "spec.containers{app}" },
        "reason": "Failed", "type": "Warning", "message": "Error: ErrImagePull",
        "source": { "component": "kubelet", "host": "node" },
    })
}

/// Raises it.
pub(super) async fn failed(namespace: &Namespace, pod: &str, uid: &str) -> Event {
    let event = failure(namespace, pod, uid);
    namespace.create(event).await.expect("an Event")
}

/// A pod that runs.
async fn running(namespace: &Namespace) -> Pod {
    let pod = namespace.pod("pod", &namespace.image("app")).await;
    assert_eq!(references(&pod), [SECRET]);
    namespace.assert_opens().await;
    set_status(&namespace.api(), "pod", json!({ "phase": "Running" })).await;
    pod
}

/// Gives it an image of another registry, as `kubectl set image` does. Returns the host.
async fn update(namespace: &Namespace) -> String {
    let host = namespace.host().replace(ACCOUNT, "210987654321");
    let containers = json!([{ "name": "app", "image": format!("{host}/app:v1") }]);
    let patch = Patch::Strategic(json!({ "spec": { "containers": containers } }));
    let pods = namespace.api::<Pod>();
    pods.patch("pod", &PatchParams::default(), &patch)
        .await
        .expect("a change");
    host
}

async fn failed_pull_of_running_pod_is_explained(site: Arc<Site>) -> Outcome {
    let namespace = site.namespace(json!({})).await;
    site.open(1, CONFIG).await;
    site.swept().await;
    let pod = running(&namespace).await;
    let uid = pod.uid().expect("a uid");
    let image = namespace.image("app");
    let message = format!("failed to resolve reference \"{image}\": {image}: not found");
    set_status(&namespace.api(), "pod", refused(&image, &message)).await;
    failed(&namespace, "pod", &uid).await;
    eventually("an Event", LIMIT, || async {
        (told(&namespace, "ImageNotFound").await == [uid.as_str()]).then_some(())
    })
    .await;
    Ok(())
}

async fn running_pod_with_another_image_gets_its_registry(site: Arc<Site>) -> Outcome {
    let namespace = site.namespace(json!({})).await;
    let forged = Namespace::in_region(&site, namespace.region.clone(), json!({})).await;
    site.open(1, CONFIG).await;
    let leader = site.swept().await;
    running(&forged).await;
    let pod = running(&namespace).await;
    let host = update(&forged).await;
    assert_eq!(update(&namespace).await, host);
    let sweeps = logged(&leader, "\"checked all pods\"");
    // An Event about another pod of that name, and others that no pod has.
    for (name, uid) in [("pod", "1"), ("none", "2"), ("../secrets/x", "3")] {
        failed(&forged, name, uid).await;
    }
    failed(&namespace, "pod", &pod.uid().expect("a uid")).await;
    let has_both = || async {
        let secret = namespace.secret().await?;
        docker::hosts(&secret).contains(&host).then_some(())
    };
    eventually("the Secret opens the other registry", LIMIT, has_both).await;
    assert_eq!(
        logged(&leader, "\"checked all pods\""),
        sweeps,
        "no sweep found it"
    );
    let secret = forged.secret().await.expect("the Secret");
    assert!(!docker::hosts(&secret).contains(&host));
    Ok(())
}

async fn odd_event_of_tenant_hides_no_failed_pull(site: Arc<Site>) -> Outcome {
    let (tenant, namespace) = (
        site.namespace(json!({})).await,
        site.namespace(json!({})).await,
    );
    site.open(1, CONFIG).await;
    let leader = site.swept().await;
    let pod = running(&namespace).await;
    let host = update(&namespace).await;
    let sweeps = logged(&leader, "\"checked all pods\"");
    // The API server takes these times, and writes the second one with a year of five digits.
    for time in [
        "9999-12-31T23:59:59.000000Z",
        "9999-12-31T23:59:59.000000-12:00",
    ] {
        let mut odd = failure(&tenant, "pod", "1");
        odd["series"] = json!({ "count": 3, "lastObservedTime": time });
        odd["eventTime"] = json!(time);
        odd["reportingComponent"] = json!("kubelet");
        odd["reportingInstance"] = json!("node");
        odd["action"] = json!("Pull");
        tenant.create_unread::<Event>(odd).await;
    }
    failed(&namespace, "pod", &pod.uid().expect("a uid")).await;
    eventually("the Secret opens the other registry", LIMIT, || async {
        let secret = namespace.secret().await?;
        docker::hosts(&secret).contains(&host).then_some(())
    })
    .await;
    assert_eq!(
        logged(&leader, "\"checked all pods\""),
        sweeps,
        "no sweep found it"
    );
    Ok(())
}
