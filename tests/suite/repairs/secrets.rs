//! The leader re-creates a deleted Secret and repairs a corrupt one where a pod names it, and nowhere
//! else.

use std::sync::Arc;

use aws_stand_in::spec::Fault;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace as V1Namespace, Pod, Secret};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::site::Site;
use crate::belief::forged;
use crate::frame::trials;
use crate::harness::namespace::{Namespace, SECRET, pod};
use crate::harness::replica::Replica;
use crate::harness::world::CONFIG;
use crate::harness::{LIMIT, Outcome, docker, eventually, review};
use crate::ownership::{data, edit, login};

trials!(
    deleted_secret_is_recreated_for_its_pods,
    corrupt_secret_is_repaired_for_its_pods,
    missing_secret_is_created_for_its_pod,
    deleted_unused_secret_stays_deleted,
    deleted_secret_stays_deleted_after_opt_out,
    deleted_secret_stays_deleted_in_terminating_namespace,
    secrets_of_tenants_pin_no_earliest_expiry,
);

async fn delete(namespace: &Namespace) {
    let secrets = namespace.api::<Secret>();
    let params = DeleteParams::default();
    secrets.delete(SECRET, &params).await.expect("it goes");
}

/// Number of repairs that a replica wrote.
async fn repairs(replica: &Replica) -> f64 {
    let labels = ["trigger=\"repair\"", "result=\"ok\""];
    let name = "ecr_pull_secrets_secret_applies_total";
    replica.metric(name, &labels).await
}

/// Waits until the leader has logged a text about the namespace.
async fn said(leader: &Replica, namespace: &Namespace, text: &str) {
    let of_this = format!("\"namespace\":\"{}\"", namespace.name);
    eventually(text, LIMIT, || async {
        let log = std::fs::read_to_string(&leader.log).ok()?;
        let is_it = |line: &str| line.contains(text) && line.contains(&of_this);
        log.lines().any(is_it).then_some(())
    })
    .await;
}

async fn deleted_secret_is_recreated_for_its_pods(site: Arc<Site>) -> Outcome {
    let namespace = site.namespace(json!({})).await;
    let second = site.namespace(json!({})).await;
    site.open(1, CONFIG).await;
    let leader = site.swept().await;
    namespace.pod("one", &namespace.image("app")).await;
    namespace.pod("two", &second.image("app")).await;
    let before = eventually("both registries", LIMIT, || async {
        let secret = namespace.secret().await?;
        (docker::hosts(&secret).len() == 2).then_some(secret)
    })
    .await;
    let repaired = repairs(&leader).await;
    delete(&namespace).await;
    let after = eventually("both registries again", LIMIT, || async {
        let secret = namespace.secret().await?;
        (docker::hosts(&secret) == docker::hosts(&before)).then_some(secret)
    })
    .await;
    assert_ne!(after.metadata.uid, before.metadata.uid);
    // Two writes where the leader was notified of the second pod only after the deletion.
    let repaired = repairs(&leader).await - repaired;
    assert!((1.0..=2.0).contains(&repaired), "{repaired}");
    // A later deletion is repaired, too, after a longer pause each time.
    for _ in 0..2 {
        delete(&namespace).await;
        namespace.assert_opens().await;
    }
    Ok(())
}

async fn corrupt_secret_is_repaired_for_its_pods(site: Arc<Site>) -> Outcome {
    let namespace = site.namespace(json!({})).await;
    site.open(1, CONFIG).await;
    site.swept().await;
    namespace.pod("pod", &namespace.image("app")).await;
    let before = namespace.assert_opens().await;
    let elsewhere = json!({ "auths": { "registry.example.com": login("robot") } });
    let content = json!({ "data": data(&elsewhere) });
    edit(&namespace, "kubectl-edit", &content).await;
    let after = eventually("the Secret is repaired", LIMIT, || async {
        let secret = namespace.secret().await.expect("the Secret stays");
        let hosts = docker::hosts(&secret);
        hosts.contains(&namespace.host()).then_some(secret)
    })
    .await;
    assert_eq!(after.metadata.uid, before.metadata.uid);
    // The editor's login stays.
    assert_eq!(docker::hosts(&after).len(), 2);
    namespace.assert_opens().await;
    Ok(())
}

async fn missing_secret_is_created_for_its_pod(site: Arc<Site>) -> Outcome {
    let namespace = site.namespace(json!({})).await;
    site.open(1, CONFIG).await;
    site.swept().await;
    site.disconnect().await;
    let mut naming = pod("pod", &namespace.image("app"));
    naming["spec"]["imagePullSecrets"] = json!([{ "name": SECRET }]);
    namespace.create::<Pod>(naming).await?;
    namespace.assert_opens().await;
    Ok(())
}

async fn deleted_unused_secret_stays_deleted(site: Arc<Site>) -> Outcome {
    let namespace = site.namespace(json!({})).await;
    site.open(1, CONFIG).await;
    let leader = site.swept().await;
    // A review without a stored pod, as if the pod were gone.
    let gone = review::of_pod(&namespace.name, &pod("gone", &namespace.image("app")));
    review::answer(&leader, &gone).await;
    namespace.assert_opens().await;
    namespace.pod("elsewhere", "docker.io/app:1").await;
    delete(&namespace).await;
    said(&leader, &namespace, "changed that nothing needs").await;
    assert!(namespace.secret().await.is_none());
    Ok(())
}

async fn patch_namespace(namespace: &Namespace, patch: Value) {
    let all: Api<V1Namespace> = Api::all(namespace.client.clone());
    let params = PatchParams::default();
    all.patch(&namespace.name, &params, &Patch::Merge(patch))
        .await
        .expect("a patch");
}

async fn deleted_secret_stays_deleted_after_opt_out(site: Arc<Site>) -> Outcome {
    let namespace = site.namespace(json!({})).await;
    site.open(1, CONFIG).await;
    let leader = site.swept().await;
    namespace.pod("pod", &namespace.image("app")).await;
    namespace.assert_opens().await;
    let out = json!({ "metadata": { "labels": { "ecr-pull-secrets.dev/inject": "false" } } });
    patch_namespace(&namespace, out).await;
    delete(&namespace).await;
    said(&leader, &namespace, "changed where none is to be").await;
    assert!(namespace.secret().await.is_none());
    Ok(())
}

async fn deleted_secret_stays_deleted_in_terminating_namespace(site: Arc<Site>) -> Outcome {
    let namespace = site.namespace(json!({})).await;
    site.open(1, CONFIG).await;
    let leader = site.swept().await;
    namespace.pod("pod", &namespace.image("app")).await;
    namespace.assert_opens().await;
    // This object keeps the namespace terminating.
    let anchor = json!({ "metadata": { "name": "anchor", "finalizers": ["example.com/anchor"] } });
    namespace.create::<ConfigMap>(anchor).await?;
    let all: Api<V1Namespace> = Api::all(namespace.client.clone());
    all.delete(&namespace.name, &DeleteParams::default())
        .await?;
    said(&leader, &namespace, "changed where none is to be").await;
    assert!(namespace.secret().await.is_none());
    let none = json!({ "metadata": { "finalizers": null } });
    namespace
        .api::<ConfigMap>()
        .patch("anchor", &PatchParams::default(), &Patch::Merge(none))
        .await?;
    Ok(())
}

/// One is immutable, one is full, and one is for a region that has no token. All say that they
/// expired long ago.
async fn secrets_of_tenants_pin_no_earliest_expiry(site: Arc<Site>) -> Outcome {
    let [good, stuck, full, invented] = [
        site.namespace(json!({})).await,
        site.namespace(json!({})).await,
        site.namespace(json!({})).await,
        site.namespace(json!({})).await,
    ];
    invented.region.fault(Fault::Hang).await?;
    site.open(1, CONFIG).await;
    for namespace in [&stuck, &full, &invented] {
        let mut secret = forged(&[namespace.host()]);
        secret["immutable"] = json!(namespace.name == stuck.name);
        namespace.foreign_secret("ecr-pull-secrets", secret).await;
    }
    // A Secret holds 1 MiB.
    let content = full.secret_comes().await.data.expect("content");
    let room = (1 << 20) - content[".dockerconfigjson"].0.len();
    let filler = BASE64_STANDARD.encode("x".repeat(room));
    edit(
        &full,
        "kubectl-patch",
        &json!({ "data": { "filler": filler } }),
    )
    .await;
    for namespace in [&good, &stuck, &full, &invented] {
        namespace.pod("pod", &namespace.image("app")).await;
    }
    good.assert_opens().await;
    // The next leader knows all pods after its first sweep, and has the token of `good`.
    site.close().await;
    site.open(1, CONFIG).await;
    let leader = site.swept().await;
    eventually("an expiry that is to come", LIMIT, || async {
        let name = "ecr_pull_secrets_secret_expiry_timestamp_seconds";
        let expiry = leader.metric(name, &[]).await;
        let now = ecr_pull_secrets::clock::now().as_second();
        (expiry > now as f64).then_some(())
    })
    .await;
    Ok(())
}
