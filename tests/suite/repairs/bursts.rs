//! Missed pods that get no Event each: bursts, pods older than the installation, and those that lack the
//! reference on purpose.

use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::DeleteParams;
use kube::{Api, ResourceExt as _};
use serde_json::json;
use tokio::time::Instant;

use super::missed_pods::{all_told, missed, uids, versions};
use super::site::{Site, counted_on, set_status, told};
use crate::frame::trials;
use crate::harness::namespace::{Namespace, SECRET, pod, references};
use crate::harness::world::{CONFIG, OURS};
use crate::harness::{LIMIT, Outcome, eventually};

trials!(
    burst_of_missed_pods_is_counted_on_its_controller,
    pods_older_than_installation_share_one_event,
    pod_without_reference_on_purpose_is_not_missed,
);

/// Creates pods of one controller without the reference. Its kind is none that would adopt or release them.
async fn missed_of(namespace: &Namespace, controller: &str, count: usize) {
    let object = json!({ "metadata": { "name": controller } });
    let owner: ConfigMap = namespace.create(object).await.expect("a controller");
    let owner = json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": controller,
        "uid": owner.uid(), "controller": true }]);
    let image = namespace.image("app");
    let pods = (0..count).map(|number| {
        let mut pod = pod(&format!("{controller}-{number}"), &image);
        pod["metadata"]["ownerReferences"] = owner.clone();
        namespace.create::<Pod>(pod)
    });
    for pod in join_all(pods).await {
        assert_eq!(references(&pod.expect("a pod")), [""; 0]);
    }
}

async fn burst_of_missed_pods_is_counted_on_its_controller(site: Arc<Site>) -> Outcome {
    let namespace = site.namespace(json!({})).await;
    missed_of(&namespace, "one", 250).await;
    missed_of(&namespace, "two", 250).await;
    site.open(1, CONFIG).await;
    site.leader().await;
    let start = Instant::now();
    eventually("all pods are counted", LIMIT, || async {
        (site.counted().await == 500.0).then_some(())
    })
    .await;
    let own = told(&namespace, "PodMissed").await.len();
    let most = 20 * (2 + start.elapsed().as_secs() as usize);
    assert!(own <= most.min(250), "{own} Events on pods");
    let groups = counted_on(&namespace, "PodMissed").await;
    let mut names: Vec<&str> = groups.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert!(names == ["one", "two"] || names == ["two"], "{groups:?}");
    let counted: usize = groups.iter().map(|(_, count)| count).sum();
    assert_eq!(own + counted, 500);
    let before = versions(&namespace).await;

    // Neither this leader nor the next one counts a pod again.
    site.swept().await;
    assert_eq!(site.counted().await, 500.0);
    site.close().await;
    site.open(1, CONFIG).await;
    site.swept().await;
    assert_eq!(site.counted().await, 0.0);
    assert_eq!(versions(&namespace).await, before);
    Ok(())
}

async fn pods_older_than_installation_share_one_event(site: Arc<Site>) -> Outcome {
    let namespace = site.namespace(json!({})).await;
    missed_of(&namespace, "one", 5).await;
    missed(&namespace, 5).await;
    // The first replica of an installation creates the Lease.
    let leases: Api<Lease> = Api::namespaced(namespace.client.clone(), OURS);
    leases.delete(OURS, &DeleteParams::default()).await?;
    let probe = json!({ "metadata": { "name": "probe" } });
    let second = namespace.create::<ConfigMap>(probe).await?;
    let second = second.creation_timestamp().expect("a time");
    eventually("a later second", LIMIT, || async {
        let later = json!({ "metadata": { "generateName": "later-" } });
        let later = namespace.create::<ConfigMap>(later).await.expect("created");
        (later.creation_timestamp()? > second).then_some(())
    })
    .await;
    site.open(1, CONFIG).await;
    site.swept().await;
    eventually("one Event counts all pods", LIMIT, || async {
        let groups = counted_on(&namespace, "PodMissed").await;
        (groups == [(namespace.name.clone(), 10)]).then_some(())
    })
    .await;
    assert_eq!(told(&namespace, "PodMissed").await, [""; 0]);
    // A pod that is missed now is told by itself.
    site.disconnect().await;
    let pods = vec![namespace.pod("late", &namespace.image("app")).await];
    all_told(&namespace, &pods).await;
    site.close().await;
    site.open(1, CONFIG).await;
    site.swept().await;
    let groups = counted_on(&namespace, "PodMissed").await;
    assert_eq!(groups, [(namespace.name.clone(), 10)]);
    assert_eq!(site.counted().await, 0.0);
    Ok(())
}

async fn pod_without_reference_on_purpose_is_not_missed(site: Arc<Site>) -> Outcome {
    let (broken, missed_too) = (
        site.namespace(json!({})).await,
        site.namespace(json!({})).await,
    );
    let malformed = json!({ "type": "kubernetes.io/dockerconfigjson",
        "stringData": { ".dockerconfigjson": "{\"auths\": []}" } });
    broken.foreign_secret("another", malformed).await;
    // As if a replica had answered: with the reference, no pull of the pod would work.
    let pod = broken.pod("pod", &broken.image("app")).await;
    let pods = missed(&missed_too, 1).await;
    site.open(1, CONFIG).await;
    all_told(&missed_too, &pods).await;
    site.swept().await;
    assert_eq!(told(&broken, "PodMissed").await, [""; 0]);
    assert_eq!(site.counted().await, 1.0);
    // Once the Secret is gone, re-creating the pod helps.
    broken
        .api::<Secret>()
        .delete(SECRET, &DeleteParams::default())
        .await?;
    let wanted = uids(std::slice::from_ref(&pod));
    let mut attempt = 0;
    eventually("the pod is told", LIMIT, || {
        attempt += 1;
        let status = json!({ "message": format!("still waiting {attempt}") });
        let (broken, wanted) = (&broken, &wanted);
        async move {
            set_status(&broken.api(), "pod", status).await;
            (told(broken, "PodMissed").await == *wanted).then_some(())
        }
    })
    .await;
    Ok(())
}
