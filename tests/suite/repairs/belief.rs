//! What a Secret claims to need brings no token: pods and the configuration do. Hand-made Secrets have
//! our label, our annotations and dead tokens.

use std::sync::Arc;

use aws_stand_in::client::Region;
use aws_stand_in::spec::{Action, Fault, Verdict};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::site::{Site, logged};
use crate::frame::trials;
use crate::harness::namespace::{ACCOUNT, Namespace, SECRET, pod};
use crate::harness::replica::Replica;
use crate::harness::world::{CONFIG, OURS};
use crate::harness::{LIMIT, Outcome, docker, eventually};
use crate::ownership::{login, with_hosts};

trials!(
    forged_secret_gets_no_token_without_a_pod,
    invented_regions_are_charged_to_their_namespace,
    namespace_without_pods_waits_for_its_next_pod,
    lost_token_store_ends_no_renewal,
    copied_secret_is_renewed_for_its_pods,
);

/// Lifetime of a token that is renewed while a test waits.
const LIFE: i64 = 20;

/// Creates a namespace whose region mints tokens with lifetimes of seconds.
pub async fn short_lived(site: &Site, labels: Value) -> Namespace {
    let namespace = site.namespace(labels).await;
    lives(&namespace.region).await;
    namespace
}

/// Gives a region's tokens lifetimes of seconds.
pub async fn lives(region: &Region) {
    let fault = Fault::Lifetime { seconds: LIFE };
    region.fault(fault).await.expect("a lifetime");
}

/// Creates another namespace in the same region.
pub async fn sibling(site: &Site, namespace: &Namespace, labels: Value) -> Namespace {
    Namespace::in_region(site, namespace.region.clone(), labels).await
}

pub fn token(secret: &Secret, namespace: &Namespace) -> String {
    docker::auth(secret, &namespace.host())
}

/// Waits until the Secret holds another token, this number of times.
pub async fn renewed(namespace: &Namespace, times: usize) -> Secret {
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

async fn calls(region: &Region) -> u64 {
    let calls = region.total(Action::GetAuthorizationToken).await;
    calls.expect("a count").total
}

/// A Secret as ours, with dead tokens for these hosts.
fn forged(hosts: &[String]) -> Value {
    let auths = hosts
        .iter()
        .map(|host| (host.clone(), login("AWS")))
        .collect::<serde_json::Map<_, _>>();
    let dead = ["2026-01-01T00:00:00Z/2026-01-01T12:00:00Z"];
    let mut hosts = hosts.to_vec();
    hosts.sort();
    let mut secret = with_hosts([]);
    secret["data"] = crate::ownership::data(&json!({ "auths": auths }));
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

/// A pod that names the Secret by itself, because no replica sees it.
fn naming(name: &str, images: &[String]) -> Value {
    let mut made = pod(name, &images[0]);
    let others = images.iter().enumerate().skip(1);
    let containers =
        others.map(|(number, image)| json!({ "name": format!("init-{number}"), "image": image }));
    made["spec"]["initContainers"] = containers.collect();
    made["spec"]["imagePullSecrets"] = json!([{ "name": SECRET }]);
    made["spec"]["schedulerName"] = json!("none");
    made
}

pub async fn delete_pod(namespace: &Namespace, name: &str) {
    let pods = namespace.api::<Pod>();
    let now = DeleteParams::default().grace_period(0);
    pods.delete(name, &now).await.expect("it goes");
    eventually("the pod is gone", LIMIT, || async {
        let pod = pods.get_opt(name).await.expect("an answer");
        pod.is_none().then_some(())
    })
    .await;
}

/// Replaces the replicas: a new leader sees only the pods that are there.
pub async fn restarted(site: &Site, config: &str) -> Arc<Replica> {
    site.close().await;
    site.open(1, config).await;
    site.swept().await
}

/// A tenant may use any field manager, also ours.
async fn forged_secret_gets_no_token_without_a_pod(site: Arc<Site>) -> Outcome {
    let honest = short_lived(&site, json!({})).await;
    let out = || json!({ "ecr-pull-secrets.dev/inject": "false" });
    let mut forgeries = Vec::new();
    for (labels, manager) in [
        (json!({}), "kubectl"),
        (json!({}), OURS),
        (out(), "kubectl"),
        (out(), OURS),
    ] {
        forgeries.push((sibling(&site, &honest, labels).await, manager));
    }
    let excluded = Namespace {
        name: "kube-system".to_owned(),
        region: honest.region.clone(),
        client: honest.client.clone(),
    };
    forgeries.push((excluded, OURS));
    site.open(1, CONFIG).await;
    site.swept().await;
    honest.pod("pod", &honest.image("app")).await;
    // The leader holds a token of the region that would fit.
    honest.assert_opens().await;
    let mut dead = Vec::new();
    for (namespace, manager) in &forgeries {
        let hosts = [namespace.host()];
        let secret = namespace.foreign_secret(manager, forged(&hosts)).await;
        dead.push(token(&secret, namespace));
        // A pod that opted out names the Secret all the same.
        let mut out = naming("out", &[namespace.image("app")]);
        out["metadata"]["labels"] = json!({ "ecr-pull-secrets.dev/inject": "false" });
        if namespace.name != "kube-system" {
            namespace.create::<Pod>(out).await?;
        }
    }
    let excluded = naming("names", &[honest.image("app")]);
    forgeries[4].0.create::<Pod>(excluded).await?;
    for _ in 0..3 {
        renewed(&honest, 1).await;
        for ((namespace, _), dead) in forgeries.iter().zip(&dead) {
            // The dead entries of a namespace that opted out may go.
            let held = namespace
                .secret()
                .await
                .map(|secret| token(&secret, namespace));
            assert!(held.is_none_or(|held| held == *dead), "{}", namespace.name);
        }
    }
    let kube_system = &forgeries[4].0;
    delete_pod(kube_system, "names").await;
    let secrets = kube_system.api::<Secret>();
    let _ = secrets.delete(SECRET, &DeleteParams::default()).await;
    Ok(())
}

async fn invented_regions_are_charged_to_their_namespace(site: Arc<Site>) -> Outcome {
    let honest = short_lived(&site, json!({})).await;
    let alone = sibling(&site, &honest, json!({})).await;
    let hostile = sibling(&site, &honest, json!({})).await;
    let invented = |set: &str| -> Vec<Region> {
        let name = |number| format!("{set}-land-{number}");
        (0..100)
            .map(|number| site.aws.region(&name(number)))
            .collect()
    };
    let (unnamed, named) = (invented("unnamed"), invented("named"));
    let hosts = |regions: &[Region]| -> Vec<String> {
        regions.iter().map(|region| region.host(ACCOUNT)).collect()
    };
    alone.foreign_secret(OURS, forged(&hosts(&unnamed))).await;
    hostile.foreign_secret(OURS, forged(&hosts(&named))).await;
    // No replica sees these pods when they are created, so no admission is charged.
    let images: Vec<String> = hosts(&named)
        .iter()
        .map(|host| format!("{host}/app:v1"))
        .collect();
    for (number, images) in images[..40].chunks(10).enumerate() {
        let pod = naming(&format!("pod-{number}"), images);
        hostile.create::<Pod>(pod).await?;
    }
    site.open(1, CONFIG).await;
    let leader = site.swept().await;
    honest.pod("pod", &honest.image("app")).await;
    let before = calls(&honest.region).await;
    renewed(&honest, 2).await;
    let sum = async |regions: &[Region]| -> u64 {
        join_all(regions.iter().map(calls)).await.into_iter().sum()
    };
    assert_eq!(sum(&unnamed).await, 0);
    assert_eq!(sum(&named[40..]).await, 0);
    let minted = sum(&named[..40]).await;
    assert!((1..=16).contains(&minted), "{minted} calls");
    // The honest token was there all the time: a call for each renewal.
    let made = calls(&honest.region).await - before;
    assert!((2..=3).contains(&made), "{made} calls");
    let name = "ecr_pull_secrets_token_expiry_timestamp_seconds";
    let region = format!("region=\"{}\"", honest.region.name());
    assert!(leader.metric(name, &[&region]).await > 0.0);
    // Later tests need no token of these regions.
    for number in 0..4 {
        delete_pod(&hostile, &format!("pod-{number}")).await;
    }
    for namespace in [&alone, &hostile] {
        let secrets = namespace.api::<Secret>();
        secrets.delete(SECRET, &DeleteParams::default()).await?;
    }
    Ok(())
}

async fn namespace_without_pods_waits_for_its_next_pod(site: Arc<Site>) -> Outcome {
    let honest = short_lived(&site, json!({})).await;
    let quiet = sibling(&site, &honest, json!({})).await;
    site.open(1, CONFIG).await;
    for namespace in [&honest, &quiet] {
        namespace.pod("pod", &namespace.image("app")).await;
        namespace.assert_opens().await;
    }
    delete_pod(&quiet, "pod").await;
    let leader = restarted(&site, CONFIG).await;
    let before = quiet.secret_comes().await;
    renewed(&honest, 2).await;
    let after = quiet.secret_comes().await;
    assert_eq!(
        after.metadata.resource_version,
        before.metadata.resource_version
    );
    assert_ne!(quiet.verdict(&after, "app").await, Verdict::Accepted);

    let applies = async |trigger: &str| {
        let labels = [format!("trigger=\"{trigger}\""), "result=\"ok\"".to_owned()];
        let labels = labels.each_ref().map(String::as_str);
        leader
            .metric("ecr_pull_secrets_secret_applies_total", &labels)
            .await
    };
    // The next renewal is half of a lifetime away.
    renewed(&honest, 1).await;
    let (minted, admitted, repaired) = (
        calls(&quiet.region).await,
        applies("admission").await,
        applies("repair").await,
    );
    quiet.pod("next", &quiet.image("app")).await;
    let next = quiet.assert_opens().await;
    assert_eq!(next.metadata.uid, before.metadata.uid);
    assert_eq!(calls(&quiet.region).await, minted);
    assert_eq!(applies("admission").await - admitted, 1.0);
    assert_eq!(applies("repair").await, repaired);
    // From now on it is renewed again.
    renewed(&quiet, 2).await;
    Ok(())
}

/// Neither store nor memory has a token: the pods bring the keys.
async fn lost_token_store_ends_no_renewal(site: Arc<Site>) -> Outcome {
    let first = short_lived(&site, json!({})).await;
    let second = short_lived(&site, json!({})).await;
    site.open(1, CONFIG).await;
    site.swept().await;
    for namespace in [&first, &second] {
        namespace.pod("pod", &namespace.image("app")).await;
        namespace.assert_opens().await;
    }
    let mut old = Vec::new();
    for namespace in [&first, &second] {
        old.push(token(&namespace.secret_comes().await, namespace));
    }
    site.close().await;
    let stores = kube::Api::<Secret>::namespaced(first.client.clone(), OURS);
    let store = "ecr-pull-secrets-tokens";
    stores.delete(store, &DeleteParams::default()).await?;
    site.open(1, CONFIG).await;
    for (namespace, old) in [&first, &second].into_iter().zip(old) {
        let secret = eventually("the next token", LIMIT, || async {
            let secret = namespace.secret().await.expect("the Secret stays");
            (token(&secret, namespace) != old).then_some(secret)
        })
        .await;
        assert_eq!(namespace.verdict(&secret, "app").await, Verdict::Accepted);
    }
    Ok(())
}

/// A copied namespace, or a Secret from a back-up: its tokens are those of the copy.
async fn copied_secret_is_renewed_for_its_pods(site: Arc<Site>) -> Outcome {
    for adopt in ["never", "all"] {
        let first = short_lived(&site, json!({})).await;
        let copy = sibling(&site, &first, json!({})).await;
        let config = format!(
            "{{apiVersion: ecr-pull-secrets.dev/v1, kind: Config, secret: {{adopt: {adopt}}}}}"
        );
        restarted(&site, &config).await;
        first.pod("pod", &first.image("app")).await;
        let secret = first.assert_opens().await;
        let metadata = &secret.metadata;
        let copied = json!({
            "metadata": { "labels": metadata.labels, "annotations": metadata.annotations },
            "type": secret.type_,
            "data": secret.data,
        });
        let old = copy.foreign_secret("velero", copied).await;
        copy.pod("pod", &copy.image("app")).await;
        let new = eventually("the copy is renewed", LIMIT, || async {
            let secret = copy.secret().await?;
            (token(&secret, &copy) != token(&old, &copy)).then_some(secret)
        })
        .await;
        assert_eq!(
            copy.verdict(&new, "app").await,
            Verdict::Accepted,
            "{adopt}"
        );
        assert_eq!(new.metadata.uid, old.metadata.uid);
        renewed(&copy, 1).await;
    }
    let leader = site.leader().await;
    assert_eq!(logged(&leader, "\"removed a pull secret"), 0);
    Ok(())
}
