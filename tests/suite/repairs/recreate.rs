//! `repair.recreatePods`: the leader deletes a missed Pending pod once, and its controller re-creates it.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::site::{Site, logged, set_status, told};
use crate::belief::{INJECT, change};
use crate::frame::trials;
use crate::harness::namespace::{Namespace, SECRET, references};
use crate::harness::world::CONFIG;
use crate::harness::{LIMIT, Outcome, eventually};

trials!(
    only_missed_pod_of_a_controller_is_recreated,
    no_pod_is_deleted_by_default,
    opted_out_pods_are_not_recreated,
);

const RECREATE: &str =
    "{apiVersion: ecr-pull-secrets.dev/v1, kind: Config, repair: {recreatePods: true}}";
const DELETED: &str = "\"deleted a pod without its reference\"";

fn set(namespace: &Namespace, replicas: u32) -> Value {
    let labels = json!({ "app": "set" });
    json!({
        "metadata": { "name": "set" },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "app", "image": namespace.image("app") }] },
            },
        },
    })
}

/// Pods of the set that do not terminate.
async fn of_set(namespace: &Namespace) -> Vec<Pod> {
    let pods = namespace.pods(0).await.into_iter();
    pods.filter(|pod| !pod.owner_references().is_empty())
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .collect()
}

async fn set_of(namespace: &Namespace, count: usize) -> Vec<Pod> {
    eventually("the pods of the set", LIMIT, || async {
        let pods = of_set(namespace).await;
        (pods.len() == count).then_some(pods)
    })
    .await
}

fn uids(pods: &[Pod]) -> Vec<String> {
    pods.iter().filter_map(Pod::uid).collect()
}

async fn only_missed_pod_of_a_controller_is_recreated(site: Arc<Site>) -> Outcome {
    let namespace = site.namespace(json!({})).await;
    let bare = namespace.pod("bare", &namespace.image("app")).await;
    namespace.create::<ReplicaSet>(set(&namespace, 4)).await?;
    let pods = set_of(&namespace, 4).await;
    let api = namespace.api::<Pod>();
    let [runs, starts, first, second] = &pods[..] else {
        panic!("four pods");
    };
    set_status(&api, &runs.name_any(), json!({ "phase": "Running" })).await;
    // An init container runs: its work must not be lost.
    let running = json!([{
        "name": "init", "image": "x", "imageID": "", "ready": false, "restartCount": 0,
        "state": { "running": {} },
    }]);
    let status = json!({ "phase": "Pending", "initContainerStatuses": running });
    set_status(&api, &starts.name_any(), status).await;

    site.open(1, RECREATE).await;
    let after = eventually("two pods are re-created", LIMIT, || async {
        let after = of_set(&namespace).await;
        let recreated = after.iter().filter(|pod| references(pod) == [SECRET]);
        (recreated.count() == 2 && after.len() == 4).then_some(after)
    })
    .await;
    let leader = site.swept().await;
    for kept in [runs, starts] {
        assert!(after.iter().any(|pod| pod.uid() == kept.uid()));
    }
    assert_eq!(api.get("bare").await?.uid(), bare.uid());
    let mut wanted: Vec<_> = [first, second].iter().filter_map(|pod| pod.uid()).collect();
    wanted.sort();
    assert_eq!(told(&namespace, "PodRecreated").await, wanted);
    assert_eq!(told(&namespace, "PodMissed").await.len(), 5);
    assert_eq!(logged(&leader, DELETED), 2);
    namespace.assert_opens().await;

    // The replacement may be missed, too. To delete it again would never end.
    site.disconnect().await;
    let again = after.iter().find(|pod| references(pod) == [SECRET]);
    let again = again.expect("one with the reference").name_any();
    api.delete(&again, &DeleteParams::default()).await?;
    eventually("the next missed pod is reported", LIMIT, || async {
        (told(&namespace, "PodMissed").await.len() == 6).then_some(())
    })
    .await;
    let left = set_of(&namespace, 4).await;
    for pod in &left {
        let status = json!({ "message": "still waiting" });
        set_status(&api, &pod.name_any(), status).await;
    }
    // The next leader sweeps all of them again.
    site.close().await;
    site.open(1, CONFIG).await;
    site.swept().await;
    assert_eq!(logged(&leader, DELETED), 2);
    assert_eq!(uids(&set_of(&namespace, 4).await), uids(&left));
    Ok(())
}

async fn no_pod_is_deleted_by_default(site: Arc<Site>) -> Outcome {
    let namespace = site.namespace(json!({})).await;
    namespace.create::<ReplicaSet>(set(&namespace, 2)).await?;
    let pods = set_of(&namespace, 2).await;
    site.open(1, CONFIG).await;
    let leader = site.swept().await;
    eventually("both pods are reported", LIMIT, || async {
        (told(&namespace, "PodMissed").await.len() == 2).then_some(())
    })
    .await;
    let after = set_of(&namespace, 2).await;
    for pod in &pods {
        assert!(after.iter().any(|other| other.uid() == pod.uid()));
    }
    assert_eq!(logged(&leader, DELETED), 0);
    Ok(())
}

/// The leader sees the namespaces in the order of their names. What it deletes in the first and in the last
/// shows that it has passed those in between.
async fn opted_out_pods_are_not_recreated(site: Arc<Site>) -> Outcome {
    let mut namespaces = Vec::new();
    for _ in 0..4 {
        namespaces.push(site.namespace(json!({})).await);
    }
    namespaces.sort_by(|one, other| one.name.cmp(&other.name));
    let [first, is_out, goes_out, last] = &namespaces[..] else {
        panic!("four namespaces");
    };
    let mut kept = Vec::new();
    for namespace in &namespaces {
        namespace.create::<ReplicaSet>(set(namespace, 2)).await?;
        kept.push(uids(&set_of(namespace, 2).await));
    }
    let out = json!({ "labels": { INJECT: "false" } });
    change(is_out, out.clone()).await;
    site.open(1, RECREATE).await;
    // The deletions begin ten seconds after the term.
    eventually("the pods are candidates", LIMIT, || async {
        (told(goes_out, "PodMissed").await.len() == 2).then_some(())
    })
    .await;
    change(goes_out, out).await;
    for namespace in [first, last] {
        eventually("the pods are re-created", LIMIT, || async {
            (told(namespace, "PodRecreated").await.len() == 2).then_some(())
        })
        .await;
    }
    site.swept().await;
    for (namespace, kept) in namespaces.iter().zip(&kept).skip(1).take(2) {
        assert_eq!(uids(&set_of(namespace, 2).await), *kept);
        assert_eq!(told(namespace, "PodRecreated").await, [""; 0]);
    }
    assert_eq!(told(is_out, "PodMissed").await, [""; 0]);
    Ok(())
}
