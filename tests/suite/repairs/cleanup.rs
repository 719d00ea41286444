//! A Secret that nothing uses is marked, and removed after its time. A Secret that a pod names, mounts or
//! reads, that a ServiceAccount lists, or that holds other logins, stays.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Secret, ServiceAccount};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::site::{Site, logged};
use crate::frame::trials;
use crate::harness::docker::annotation;
use crate::harness::namespace::{ACCOUNT, Namespace, SECRET, pod};
use crate::harness::replica::Replica;
use crate::harness::world::CONFIG;
use crate::harness::{LIMIT, Outcome, docker, eventually, review};
use crate::ownership::{annotated, login, with_hosts};

trials!(
    unused_secret_is_marked_until_used_again,
    unused_secret_is_removed_after_its_time,
    secret_used_without_reference_stays,
);

/// Replaces the leader: a new one checks all Secrets at once, and then once a day.
async fn new_leader(site: &Site) -> Arc<Replica> {
    site.close().await;
    site.open(1, CONFIG).await;
    let leader = site.leader().await;
    eventually("the leader has checked all Secrets", LIMIT, || async {
        (logged(&leader, "\"checked all pull secrets\"") > 0).then_some(())
    })
    .await;
    leader
}

/// Pretends that no pod has used the Secret for long.
async fn let_time_pass(namespace: &Namespace) {
    let patch = json!({ "metadata": { "annotations": {
        "ecr-pull-secrets.dev/unused-since": "2026-01-01T00:00:00Z",
    }}});
    let params = PatchParams::default();
    let secrets = namespace.api::<Secret>();
    secrets
        .patch(SECRET, &params, &Patch::Merge(patch))
        .await
        .expect("a patch");
}

async fn marked(namespace: &Namespace, is_marked: bool) -> Secret {
    let what = format!("the Secret is marked: {is_marked}");
    eventually(&what, LIMIT, || async {
        let secret = namespace.secret().await.expect("the Secret stays");
        (annotation(&secret, "unused-since").is_empty() != is_marked).then_some(secret)
    })
    .await
}

async fn without_pods(namespace: &Namespace) {
    let pods = namespace.api::<Pod>();
    let now = DeleteParams::default().grace_period(0);
    pods.delete("pod", &now).await.expect("it goes");
    eventually("the pod is gone", LIMIT, || async {
        let pod = pods.get_opt("pod").await.expect("an answer");
        pod.is_none().then_some(())
    })
    .await;
}

async fn unused_secret_is_marked_until_used_again(site: Arc<Site>) -> Outcome {
    let namespace = site.namespace(json!({})).await;
    site.open(1, CONFIG).await;
    namespace.pod("pod", &namespace.image("app")).await;
    let before = namespace.assert_opens().await;
    without_pods(&namespace).await;
    let leader = new_leader(&site).await;
    let secret = marked(&namespace, true).await;
    assert_eq!(secret.metadata.uid, before.metadata.uid);
    let since = annotation(&secret, "unused-since").to_owned();

    // The mark survives our own writes.
    let second = namespace.host().replace(ACCOUNT, "210987654321");
    let pod_of_second = pod("pod", &format!("{second}/app:v1"));
    review::answer(&leader, &review::of_pod(&namespace.name, &pod_of_second)).await;
    let secret = eventually("a second registry", LIMIT, || async {
        let secret = namespace.secret().await?;
        (docker::hosts(&secret).len() == 2).then_some(secret)
    })
    .await;
    assert_eq!(annotation(&secret, "unused-since"), since);

    namespace.pod("pod", &namespace.image("app")).await;
    new_leader(&site).await;
    let after = marked(&namespace, false).await;
    assert_eq!(after.metadata.uid, before.metadata.uid);
    namespace.assert_opens().await;
    Ok(())
}

async fn unused_secret_is_removed_after_its_time(site: Arc<Site>) -> Outcome {
    site.open(1, CONFIG).await;
    let unused = site.namespace(json!({})).await;
    let used = site.namespace(json!({})).await;
    let shared = site.namespace(json!({})).await;
    let foreign = site.namespace(json!({})).await;
    let theirs = || with_hosts([("registry.example.com", login("robot"))]);
    shared.foreign_secret("kubectl", annotated(theirs())).await;
    let stranger = foreign.foreign_secret("kubectl", theirs()).await;
    for namespace in [&unused, &used, &shared] {
        namespace.pod("pod", &namespace.image("app")).await;
        namespace.assert_opens().await;
    }
    without_pods(&shared).await;
    without_pods(&unused).await;
    new_leader(&site).await;
    for namespace in [&unused, &shared] {
        marked(namespace, true).await;
    }
    for namespace in [&unused, &used, &shared] {
        let_time_pass(namespace).await;
    }
    let leader = new_leader(&site).await;
    let is_gone = || async { unused.secret().await.is_none().then_some(()) };
    eventually("the unused Secret is removed", LIMIT, is_gone).await;

    // The leader checks the deletion, too: no pod needs the Secret.
    eventually("the leader checks the deletion", LIMIT, || async {
        let line = format!("\"namespace\":\"{}\"", unused.name);
        let log = std::fs::read_to_string(&leader.log).ok()?;
        let mut lines = log.lines();
        lines
            .any(|text| text.contains("changed that nothing needs") && text.contains(&line))
            .then_some(())
    })
    .await;
    assert!(unused.secret().await.is_none());
    assert_eq!(
        logged(&leader, "\"removed a pull secret that nothing uses\""),
        1
    );
    marked(&used, false).await;
    used.assert_opens().await;
    let kept = marked(&shared, true).await;
    assert_eq!(docker::hosts(&kept).len(), 2);
    assert_eq!(foreign.secret().await, Some(stranger));

    // The next pod gets a new Secret.
    unused.pod("pod", &unused.image("app")).await;
    unused.assert_opens().await;
    Ok(())
}

/// A builder that pushes to ECR: it mounts the pull Secret as its docker config, or reads it into its
/// environment, and its own image is another registry's.
fn builder(volumes: &Value, environment: &Value) -> Value {
    json!({
        "metadata": { "name": "builder" },
        "spec": {
            "containers": [{ "name": "kaniko", "image": "gcr.io/kaniko-project/executor", "envFrom": environment }],
            "volumes": volumes,
        },
    })
}

async fn secret_used_without_reference_stays(site: Arc<Site>) -> Outcome {
    site.open(1, CONFIG).await;
    let mut namespaces: Vec<Namespace> = Vec::new();
    for _ in 0..5 {
        let namespace = match namespaces.first() {
            Some(first) => Namespace::in_region(&site, first.region.clone(), json!({})).await,
            None => site.namespace(json!({})).await,
        };
        namespace.pod("pod", &namespace.image("app")).await;
        namespace.assert_opens().await;
        without_pods(&namespace).await;
        namespaces.push(namespace);
    }
    let [mounted, projected, read, listed, unused] = &namespaces[..] else {
        unreachable!()
    };
    let none = json!([]);
    let volume = json!([{ "name": "docker", "secret": { "secretName": SECRET } }]);
    mounted.create::<Pod>(builder(&volume, &none)).await?;
    let volume = json!([{ "name": "docker", "projected": { "sources": [{ "secret": {
        "name": SECRET, "items": [{ "key": ".dockerconfigjson", "path": "config.json" }] } }] } }]);
    projected.create::<Pod>(builder(&volume, &none)).await?;
    let environment = json!([{ "secretRef": { "name": SECRET } }]);
    read.create::<Pod>(builder(&none, &environment)).await?;
    let account = json!({ "imagePullSecrets": [{ "name": SECRET }] });
    let params = PatchParams::default();
    let accounts = listed.api::<ServiceAccount>();
    accounts
        .patch("default", &params, &Patch::Merge(account))
        .await?;
    for namespace in &namespaces {
        let_time_pass(namespace).await;
    }
    new_leader(&site).await;
    let is_gone = || async { unused.secret().await.is_none().then_some(()) };
    eventually("the unused Secret is removed", LIMIT, is_gone).await;
    for namespace in [mounted, projected, read, listed] {
        marked(namespace, false).await;
    }
    Ok(())
}
