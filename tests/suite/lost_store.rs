//! The token store is lost, and no replica lives that remembers a token: pulls go on, and their Secrets are renewed.

use std::sync::Arc;

use aws_stand_in::spec::{Fault, Verdict};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use libtest_mimic::Trial;

use crate::frame::trial;
use crate::harness::namespace::{Namespace, SECRET, pod, references};
use crate::harness::world::OURS;
use crate::harness::{LIMIT, Outcome, World, docker, eventually};
use crate::ownership::{annotated, login, with_hosts};

/// The tests of this module. Each has a world of its own, and waits most of the time.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("lost_store::ends_no_pull_with_adopt_never", world, never),
        trial(
            "lost_store::ends_no_pull_with_adopt_annotated",
            world,
            annotated_only,
        ),
        trial(
            "lost_store::ends_no_pull_with_adopt_ecr_only",
            world,
            ecr_only,
        ),
        trial("lost_store::ends_no_pull_with_adopt_all", world, all),
    ]
}

async fn world() -> Arc<World> {
    World::builder().log_level("info").start().await
}

async fn never(world: Arc<World>) -> Outcome {
    ends_no_pull(world, "never").await
}

async fn annotated_only(world: Arc<World>) -> Outcome {
    ends_no_pull(world, "annotated").await
}

async fn ecr_only(world: Arc<World>) -> Outcome {
    ends_no_pull(world, "ecr-only").await
}

async fn all(world: Arc<World>) -> Outcome {
    ends_no_pull(world, "all").await
}

/// Lifetime of a token in seconds: it is renewed while the test waits.
const LIFE: i64 = 20;

async fn ends_no_pull(world: Arc<World>, mode: &str) -> Outcome {
    let [ours, adopted] = [Namespace::new(&world).await, Namespace::new(&world).await];
    if mode != "never" {
        let host = adopted.host();
        let foreign = annotated(with_hosts([(&host, login("AWS"))]));
        adopted.foreign_secret("another", foreign).await;
    }
    let config = json!({
        "apiVersion": "ecr-pull-secrets.dev/v1",
        "kind": "Config",
        "secret": { "adopt": mode },
    })
    .to_string();
    open(&world, &config).await;
    let mut tokens = Vec::new();
    for namespace in [&ours, &adopted] {
        let fault = Fault::Lifetime { seconds: LIFE };
        namespace.region.fault(fault).await?;
        runs(namespace).await;
        tokens.push(opens(namespace).await);
    }

    for replica in world.take_replicas() {
        replica.terminate();
        replica.ended().await;
    }
    delete_store(&world).await;
    open(&world, &config).await;
    for (namespace, before) in [&ours, &adopted].into_iter().zip(tokens) {
        eventually("the next token", LIMIT, || async {
            let secret = namespace.secret().await.expect("the Secret stays");
            let verdict = namespace.verdict(&secret, "app").await;
            assert_eq!(verdict, Verdict::Accepted, "{mode}");
            (docker::auth(&secret, &namespace.host()) != before).then_some(())
        })
        .await;
    }
    world.stop();
    Ok(())
}

/// Starts two replicas, and routes the Service to them.
async fn open(world: &World, config: &str) {
    for _ in 0..2 {
        world.add_replica(|launch| launch.config(config));
    }
    world.route().await;
}

/// Creates a pod that wants the registry. No scheduler reports about it.
async fn runs(namespace: &Namespace) {
    let mut pod = pod("pod", &namespace.image("app"));
    pod["spec"]["schedulerName"] = json!("none");
    let pod: Pod = namespace.create(pod).await.expect("the pod is admitted");
    assert_eq!(references(&pod), [SECRET]);
}

/// The token of the Secret, once it opens the registry: another owner's opens nothing.
async fn opens(namespace: &Namespace) -> String {
    eventually("a Secret that opens the registry", LIMIT, || async {
        let secret = namespace.secret().await?;
        let verdict = namespace.verdict(&secret, "app").await;
        (verdict == Verdict::Accepted).then(|| docker::auth(&secret, &namespace.host()))
    })
    .await
}

/// Deletes each Secret of the token store.
async fn delete_store(world: &World) {
    let secrets: Api<Secret> = Api::namespaced(world.cluster.client.clone(), OURS);
    let all = secrets.list(&ListParams::default()).await.expect("Secrets");
    let names = all.iter().map(ResourceExt::name_any);
    let store: Vec<_> = names
        .filter(|name| name.starts_with("ecr-pull-secrets-tokens"))
        .collect();
    assert!(!store.is_empty(), "no token store");
    for name in store {
        let params = DeleteParams::default();
        secrets.delete(&name, &params).await.expect("it goes");
    }
}
