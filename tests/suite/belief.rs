//! What a Secret claims to need brings no token: pods and the configuration do. Hand-made Secrets have
//! our label, our annotations and dead tokens. A namespace that opts out loses what it has.

use std::sync::Arc;

use aws_stand_in::client::Region;
use aws_stand_in::spec::{Action, Fault, Verdict};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Namespace as V1Namespace, Pod, Secret, ServiceAccount};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::frame::trials;
use crate::harness::namespace::{ACCOUNT, Namespace, SECRET, pod};
use crate::harness::world::OURS;
use crate::harness::{LIMIT, Outcome, World, docker, eventually};
use crate::ownership::{ELSEWHERE, annotated, data, login, with_hosts};

trials!(
    forged_secret_gets_no_token_without_a_pod,
    invented_regions_are_charged_to_their_namespace,
    opted_out_namespace_keeps_its_token_until_it_expires,
    opt_out_while_aws_is_asked_is_obeyed,
    annotation_removes_our_entries_at_once,
);

pub(crate) const INJECT: &str = "ecr-pull-secrets.dev/inject";

/// Gives a region's tokens lifetimes of seconds.
pub(crate) async fn lives(region: &Region, seconds: i64) {
    let fault = Fault::Lifetime { seconds };
    region.fault(fault).await.expect("a lifetime");
}

/// Creates a namespace whose region mints tokens with lifetimes of seconds.
async fn short_lived(world: &World) -> Namespace {
    let namespace = Namespace::new(world).await;
    lives(&namespace.region, 20).await;
    namespace
}

/// Creates another namespace in the same region.
pub(crate) async fn sibling(world: &World, namespace: &Namespace, labels: Value) -> Namespace {
    Namespace::in_region(world, namespace.region.clone(), labels).await
}

pub(crate) fn token(secret: &Secret, namespace: &Namespace) -> String {
    docker::auth(secret, &namespace.host())
}

/// Waits until the Secret holds another token, this number of times.
pub(crate) async fn renewed(namespace: &Namespace, times: usize) -> Secret {
    let mut last = namespace.assert_opens().await;
    for _ in 0..times {
        let held = token(&last, namespace);
        last = eventually("the next token", LIMIT, || async {
            let secret = namespace.secret().await?;
            (token(&secret, namespace) != held).then_some(secret)
        })
        .await;
    }
    assert_eq!(namespace.verdict(&last, "app").await, Verdict::Accepted);
    last
}

pub(crate) async fn calls(region: &Region) -> u64 {
    let calls = region.total(Action::GetAuthorizationToken).await;
    calls.expect("a count").total
}

/// A Secret as ours, with dead tokens for these hosts.
pub(crate) fn forged(hosts: &[String]) -> Value {
    let auths = hosts
        .iter()
        .map(|host| (host.clone(), login("AWS")))
        .collect::<serde_json::Map<_, _>>();
    let dead = ["2026-01-01T00:00:00Z/2026-01-01T12:00:00Z"];
    let mut hosts = hosts.to_vec();
    hosts.sort();
    let mut secret = with_hosts([]);
    secret["data"] = data(&json!({ "auths": auths }));
    secret["metadata"] = json!({
        "labels": { "app.kubernetes.io/managed-by": "ecr-pull-secrets" },
        "annotations": {
            "ecr-pull-secrets.dev/format": "1",
            "ecr-pull-secrets.dev/exclusive": "true",
            "ecr-pull-secrets.dev/identity": "ambient",
            "ecr-pull-secrets.dev/registries": hosts.join(","),
            "ecr-pull-secrets.dev/lifetimes": dead.repeat(hosts.len()).join(","),
        },
    });
    secret
}

/// A pod that names the Secret by itself, because no replica admits it.
pub(crate) fn naming(name: &str, images: &[String]) -> Value {
    let mut made = pod(name, &images[0]);
    let others = images.iter().enumerate().skip(1);
    let containers =
        others.map(|(number, image)| json!({ "name": format!("init-{number}"), "image": image }));
    made["spec"]["initContainers"] = containers.collect();
    made["spec"]["imagePullSecrets"] = json!([{ "name": SECRET }]);
    made["spec"]["schedulerName"] = json!("none");
    made
}

pub(crate) async fn delete_pod(namespace: &Namespace, name: &str) {
    let pods = namespace.api::<Pod>();
    let now = DeleteParams::default().grace_period(0);
    pods.delete(name, &now).await.expect("it goes");
    eventually("the pod is gone", LIMIT, || async {
        let pod = pods.get_opt(name).await.expect("an answer");
        pod.is_none().then_some(())
    })
    .await;
}

/// Changes labels and annotations of a namespace.
pub(crate) async fn change(namespace: &Namespace, metadata: Value) {
    let all: Api<V1Namespace> = Api::all(namespace.client.clone());
    let patch = Patch::Merge(json!({ "metadata": metadata }));
    all.patch(&namespace.name, &PatchParams::default(), &patch)
        .await
        .expect("a change");
}

/// Waits until the Secret is gone. Until then it holds this token.
pub(crate) async fn goes(namespace: &Namespace, last: &str) {
    eventually("the Secret goes", LIMIT, || async {
        match namespace.secret().await {
            Some(secret) => {
                assert_eq!(token(&secret, namespace), last, "{}", namespace.name);
                None
            }
            None => Some(()),
        }
    })
    .await;
}

/// Waits until a leader has found that the Secret is gone and that nothing which counts needs it.
pub(crate) async fn stays_away(world: &World, namespace: &Namespace) {
    let of_this = format!("\"namespace\":\"{}\"", namespace.name);
    eventually("the leader checks the deletion", LIMIT, || async {
        let is_it =
            |line: &str| line.contains("\"a pull secret changed") && line.contains(&of_this);
        let logs = world.logs();
        logs.iter()
            .any(|(_, log)| log.lines().any(is_it))
            .then_some(())
    })
    .await;
    assert!(namespace.secret().await.is_none());
}

/// A tenant may use any field manager, also ours.
async fn forged_secret_gets_no_token_without_a_pod(world: Arc<World>) -> Outcome {
    let honest = short_lived(&world).await;
    let out = || json!({ INJECT: "false" });
    let mut forgeries = Vec::new();
    for (labels, manager) in [
        (json!({}), "kubectl"),
        (json!({}), OURS),
        (out(), "kubectl"),
        (out(), OURS),
    ] {
        forgeries.push((sibling(&world, &honest, labels).await, manager));
    }
    let excluded = Namespace {
        name: "kube-public".to_owned(),
        region: honest.region.clone(),
        client: honest.client.clone(),
    };
    let accounts = excluded.api::<ServiceAccount>();
    eventually("the default ServiceAccount", LIMIT, || async {
        accounts.get_opt("default").await.expect("an answer")
    })
    .await;
    forgeries.push((excluded, OURS));
    honest.pod("pod", &honest.image("app")).await;
    // The leader holds a token of the region that would fit.
    honest.assert_opens().await;
    let mut dead = Vec::new();
    for (number, (namespace, manager)) in forgeries.iter().enumerate() {
        let hosts = [namespace.host()];
        let secret = namespace.foreign_secret(manager, forged(&hosts)).await;
        dead.push(token(&secret, namespace));
        // In the first two, a pod that has opted out by its own label names the Secret.
        let mut naming = naming("names", &[namespace.image("app")]);
        if number < 2 {
            naming["metadata"]["labels"] = out();
        }
        namespace.create::<Pod>(naming).await?;
    }
    for _ in 0..2 {
        renewed(&honest, 1).await;
        for ((namespace, _), dead) in forgeries.iter().zip(&dead) {
            // The dead entries of a namespace that opted out may go.
            let held = namespace.secret().await;
            let held = held.map(|secret| token(&secret, namespace));
            assert!(held.is_none_or(|held| held == *dead), "{}", namespace.name);
        }
    }
    let (excluded, _) = &forgeries[4];
    delete_pod(excluded, "names").await;
    let secrets = excluded.api::<Secret>();
    let _ = secrets.delete(SECRET, &DeleteParams::default()).await;
    Ok(())
}

async fn invented_regions_are_charged_to_their_namespace(world: Arc<World>) -> Outcome {
    let honest = short_lived(&world).await;
    let alone = sibling(&world, &honest, json!({})).await;
    // No admission is charged for pods of a namespace that has opted out.
    let hostile = sibling(&world, &honest, json!({ INJECT: "false" })).await;
    let invented = |set: &str| -> Vec<Region> {
        let name = |number| format!("{set}-land-{number}");
        let regions = (0..100).map(|number| world.aws.region(&name(number)));
        regions.collect()
    };
    let (unnamed, named) = (invented("unnamed"), invented("named"));
    let hosts = |regions: &[Region]| -> Vec<String> {
        regions.iter().map(|region| region.host(ACCOUNT)).collect()
    };
    honest.pod("pod", &honest.image("app")).await;
    honest.assert_opens().await;
    alone.foreign_secret(OURS, forged(&hosts(&unnamed))).await;
    hostile.foreign_secret(OURS, forged(&hosts(&named))).await;
    let images: Vec<String> = hosts(&named)
        .iter()
        .map(|host| format!("{host}/app:v1"))
        .collect();
    for (number, images) in images[..40].chunks(10).enumerate() {
        let pod = naming(&format!("pod-{number}"), images);
        hostile.create::<Pod>(pod).await?;
    }
    change(&hostile, json!({ "labels": { INJECT: null } })).await;
    let sum = async |regions: &[Region]| -> u64 {
        join_all(regions.iter().map(calls)).await.into_iter().sum()
    };
    eventually("tokens for some of the named regions", LIMIT, || async {
        (sum(&named[..40]).await > 0).then_some(())
    })
    .await;
    let before = calls(&honest.region).await;
    renewed(&honest, 2).await;
    assert_eq!(sum(&unnamed).await, 0);
    assert_eq!(sum(&named[40..]).await, 0);
    let minted = sum(&named[..40]).await;
    assert!((1..=16).contains(&minted), "{minted} calls");
    // The honest token was there all the time: a call for each renewal.
    let made = calls(&honest.region).await - before;
    assert!((2..=3).contains(&made), "{made} calls");
    Ok(())
}

async fn opted_out_namespace_keeps_its_token_until_it_expires(world: Arc<World>) -> Outcome {
    let stays = short_lived(&world).await;
    let leaves = sibling(&world, &stays, json!({})).await;
    for namespace in [&stays, &leaves] {
        namespace.pod("pod", &namespace.image("app")).await;
        namespace.assert_opens().await;
    }
    renewed(&leaves, 1).await;
    change(&leaves, json!({ "labels": { INJECT: "false" } })).await;
    let last = token(&leaves.secret_comes().await, &leaves);
    tokio::join!(renewed(&stays, 2), goes(&leaves, &last));
    // Its pod still names the Secret.
    stays_away(&world, &leaves).await;
    change(&leaves, json!({ "labels": { INJECT: null } })).await;
    opens_again(&leaves).await;
    Ok(())
}

async fn opt_out_while_aws_is_asked_is_obeyed(world: Arc<World>) -> Outcome {
    let leaves = Namespace::new(&world).await;
    // Shorter than a call may take.
    let fault = Fault::Delay { milliseconds: 1500 };
    leaves.region.fault(fault).await?;
    let image = leaves.image("app");
    let opts_out = async {
        eventually("AWS is asked", LIMIT, || async {
            (calls(&leaves.region).await > 0).then_some(())
        })
        .await;
        change(&leaves, json!({ "labels": { INJECT: "false" } })).await;
    };
    tokio::join!(leaves.pod("pod", &image), opts_out);
    leaves.region.clear_faults().await?;
    let stays = sibling(&world, &leaves, json!({})).await;
    stays.pod("pod", &stays.image("app")).await;
    stays.assert_opens().await;
    assert!(leaves.secret().await.is_none());
    Ok(())
}

async fn annotation_removes_our_entries_at_once(world: Arc<World>) -> Outcome {
    let alone = Namespace::new(&world).await;
    let shared = sibling(&world, &alone, json!({})).await;
    let theirs = with_hosts([(ELSEWHERE, login("robot"))]);
    shared.foreign_secret("kubectl", annotated(theirs)).await;
    for namespace in [&alone, &shared] {
        namespace.pod("pod", &namespace.image("app")).await;
        namespace.assert_opens().await;
    }
    let remove = json!({ "ecr-pull-secrets.dev/remove": "true" });
    // The annotation alone does nothing: the namespace has not opted out.
    change(&shared, json!({ "annotations": remove })).await;
    let out = json!({ "labels": { INJECT: "false" }, "annotations": remove });
    let last = token(&alone.secret_comes().await, &alone);
    change(&alone, out.clone()).await;
    goes(&alone, &last).await;
    stays_away(&world, &alone).await;
    assert_eq!(docker::hosts(&shared.assert_opens().await).len(), 2);

    let before = shared.secret_comes().await;
    change(&shared, out).await;
    let after = eventually("our entry goes", LIMIT, || async {
        let secret = shared.secret().await.expect("the Secret stays");
        (docker::hosts(&secret) == [ELSEWHERE]).then_some(secret)
    })
    .await;
    assert_eq!(after.metadata.uid, before.metadata.uid);
    assert_eq!(docker::config(&after)["auths"][ELSEWHERE], login("robot"));

    // A namespace that opts in again gets everything back. The annotation may stay.
    for namespace in [&alone, &shared] {
        change(namespace, json!({ "labels": { INJECT: null } })).await;
        opens_again(namespace).await;
    }
    let again = shared.secret_comes().await;
    assert_eq!(docker::config(&again)["auths"][ELSEWHERE], login("robot"));
    Ok(())
}

/// Creates pods until the API server and the replicas know that the namespace has opted in.
async fn opens_again(namespace: &Namespace) {
    let number = std::sync::atomic::AtomicU32::new(0);
    eventually("a pod brings the token", LIMIT, || async {
        let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let image = namespace.image("app");
        namespace.pod(&format!("again-{number}"), &image).await;
        let secret = namespace.secret().await?;
        let verdict = async || namespace.verdict(&secret, "app").await;
        let has_entry = !token(&secret, namespace).is_empty();
        (has_entry && verdict().await == Verdict::Accepted).then_some(())
    })
    .await;
}
