//! Another field manager edits or deletes our pull Secret. The next pod restores what pods need. A
//! harmless edit stays, and nothing else in the Secret is lost.

use std::sync::Arc;

use aws_stand_in::spec::{Action, Verdict};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::Secret;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::frame::trials;
use crate::harness::namespace::{ACCOUNT, Namespace, SECRET, pod};
use crate::harness::replica::Replica;
use crate::harness::{LIMIT, Outcome, World, docker, eventually, review};
use crate::ownership::{ask, data, edit, login};

trials!(
    deleted_secret_is_recreated_for_the_next_pod,
    harmless_edit_is_kept_and_read_once,
    missing_registry_is_restored_and_others_kept,
    corrupt_content_is_repaired,
    expired_backup_is_repaired_after_a_restore,
    removed_label_is_restored,
    removed_annotations_are_restored_and_registries_kept,
    annotation_of_another_format_is_rewritten,
    newer_replica_beside_ours_loses_nothing,
    later_registry_keeps_the_first,
);

/// Creates a pull Secret of ours that opens the namespace's registry.
async fn ours(world: &World, namespace: &Namespace) -> Secret {
    for replica in &world.replicas() {
        assert_eq!(review::warnings(&ask(replica, namespace).await), "");
    }
    namespace.assert_opens().await
}

/// Sends reviews to a replica until the Secret is as wanted.
async fn repaired(
    replica: &Replica,
    namespace: &Namespace,
    is_mended: impl Fn(&Secret) -> bool,
) -> Secret {
    eventually("the Secret is repaired", LIMIT, || async {
        // Every pod gets its reference, before and after the repair.
        let answer = ask(replica, namespace).await;
        assert!(review::adds_reference(&answer), "{answer}");
        assert_eq!(review::warnings(&answer), "");
        namespace.secret().await.filter(&is_mended)
    })
    .await
}

fn opens(namespace: &Namespace) -> impl Fn(&Secret) -> bool {
    let host = namespace.host();
    move |secret| {
        let auth = BASE64_STANDARD
            .decode(docker::auth(secret, &host))
            .unwrap_or_default();
        // The stand-in's tokens are as long as real ones.
        auth.starts_with(b"AWS:") && auth.len() > 1000
    }
}

fn config(secret: &Secret) -> Value {
    docker::config(secret)
}

fn content(config: &Value) -> Value {
    json!({ "data": data(config) })
}

/// Host of a second registry in the same region.
fn second_host(namespace: &Namespace) -> String {
    namespace.host().replace(ACCOUNT, "210987654321")
}

/// Sends a review of a pod with an image of the second registry.
async fn ask_for_second(replica: &Replica, namespace: &Namespace) {
    let pod = pod("pod", &format!("{}/app:v1", second_host(namespace)));
    let answer = review::answer(replica, &review::of_pod(&namespace.name, &pod)).await;
    assert!(review::adds_reference(&answer), "{answer}");
    assert_eq!(review::warnings(&answer), "");
}

async fn deleted_secret_is_recreated_for_the_next_pod(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let before = ours(&world, &namespace).await;
    let calls = namespace
        .region
        .total(Action::GetAuthorizationToken)
        .await?;
    namespace
        .api::<Secret>()
        .delete(SECRET, &DeleteParams::default())
        .await?;
    let after = eventually("a new Secret", LIMIT, || async {
        for replica in &world.replicas() {
            assert!(review::adds_reference(&ask(replica, &namespace).await));
        }
        namespace.secret().await
    })
    .await;
    assert_ne!(after.metadata.uid, before.metadata.uid);
    assert_eq!(namespace.verdict(&after, "app").await, Verdict::Accepted);
    // The replica had the token.
    assert_eq!(
        namespace
            .region
            .total(Action::GetAuthorizationToken)
            .await?,
        calls
    );
    Ok(())
}

async fn harmless_edit_is_kept_and_read_once(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let replica = world.replica("beside-an-editor").start();
    replica.ready().await;
    ask(&replica, &namespace).await;
    ask_for_second(&replica, &namespace).await;
    namespace.assert_opens().await;
    let applies = ["trigger=\"admission\""];
    let applied = replica
        .metric("ecr_pull_secrets_secret_applies_total", &applies)
        .await;

    // The logins look plausible to us. Only the kubelet learns that they are wrong.
    let auths = json!({ namespace.host(): login("AWS"), second_host(&namespace): login("AWS") });
    let edited = edit(
        &namespace,
        "kubectl-edit",
        &content(&json!({ "auths": auths })),
    )
    .await;
    let looks = || {
        let log = std::fs::read_to_string(&replica.log).unwrap_or_default();
        let of_this = format!("\"namespace\":\"{}\"", namespace.name);
        let is_look = |line: &&str| {
            line.contains("edited pull secret serves all: tolerated") && line.contains(&of_this)
        };
        log.lines().filter(is_look).count()
    };
    eventually("the edit is noticed", LIMIT, || async {
        ask(&replica, &namespace).await;
        (looks() == 1).then_some(())
    })
    .await;
    ask_for_second(&replica, &namespace).await;
    // From now on the replica knows both registries of the edit.
    let looked = looks();
    for _ in 0..3 {
        ask(&replica, &namespace).await;
        ask_for_second(&replica, &namespace).await;
    }
    assert_eq!(looks(), looked);
    assert_eq!(
        replica
            .metric("ecr_pull_secrets_secret_applies_total", &applies)
            .await,
        applied
    );
    assert_eq!(namespace.secret().await, Some(edited));
    Ok(())
}

async fn missing_registry_is_restored_and_others_kept(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let before = ours(&world, &namespace).await;
    ask_for_second(&world.replicas()[0], &namespace).await;
    let second = config(&namespace.secret_comes().await)["auths"][second_host(&namespace)].clone();
    let auths = json!({ second_host(&namespace): second, "registry.example.com": login("robot") });
    edit(
        &namespace,
        "kubectl-edit",
        &content(&json!({ "auths": auths })),
    )
    .await;
    let after = repaired(&world.replicas()[0], &namespace, opens(&namespace)).await;
    assert_eq!(after.metadata.uid, before.metadata.uid);
    assert_eq!(namespace.verdict(&after, "app").await, Verdict::Accepted);
    let hosts = config(&after)["auths"].clone();
    assert_eq!(hosts[second_host(&namespace)], second);
    assert_eq!(hosts["registry.example.com"], login("robot"));
    Ok(())
}

/// A Secret from a backup: our label, our annotations, a token that expired long ago.
async fn expired_backup_is_repaired_after_a_restore(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let before = ours(&world, &namespace).await;
    let auths = json!({ namespace.host(): login("AWS") });
    let mut backup = content(&json!({ "auths": auths }));
    backup["metadata"]["annotations"] = json!({
        "ecr-pull-secrets.dev/lifetimes": "2026-01-01T00:00:00Z/2026-01-01T12:00:00Z",
        "ecr-pull-secrets.dev/expires-at": "2026-01-01T12:00:00Z",
    });
    edit(&namespace, "velero", &backup).await;
    let after = repaired(&world.replicas()[0], &namespace, opens(&namespace)).await;
    assert_eq!(after.metadata.uid, before.metadata.uid);
    assert_eq!(namespace.verdict(&after, "app").await, Verdict::Accepted);
    Ok(())
}

async fn corrupt_content_is_repaired(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let before = ours(&world, &namespace).await;
    let host = namespace.host();
    for (number, corrupt) in (0..).zip([
        json!({ "auths": { &host: login("another") } }),
        json!({ "auths": { &host: { "auth": "not base64!" } } }),
        json!({ "auths": { &host: {} } }),
        json!({ "auths": [] }),
        json!({ "auths": {} }),
        json!({}),
        Value::Null,
    ]) {
        edit(&namespace, "kubectl-edit", &content(&corrupt)).await;
        let replica = &world.replicas()[number % 2];
        let after = repaired(replica, &namespace, |secret| {
            config(secret)["auths"].is_object() && opens(&namespace)(secret)
        })
        .await;
        assert_eq!(after.metadata.uid, before.metadata.uid);
        assert_eq!(
            namespace.verdict(&after, "app").await,
            Verdict::Accepted,
            "{corrupt}"
        );
        assert_eq!(docker::annotation(&after, "registries"), host);
    }
    Ok(())
}

async fn removed_label_is_restored(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let before = ours(&world, &namespace).await;
    ask_for_second(&world.replicas()[0], &namespace).await;
    let none = json!({ "metadata": { "labels": null } });
    edit(&namespace, "kubectl-label", &none).await;
    let after = repaired(&world.replicas()[0], &namespace, |secret| {
        secret.metadata.labels.is_some() && opens(&namespace)(secret)
    })
    .await;
    assert_eq!(after.metadata.uid, before.metadata.uid);
    assert_eq!(docker::hosts(&after).len(), 2);

    // The label names another owner.
    let theirs = json!({ "metadata": { "labels": { "app.kubernetes.io/managed-by": "Helm" } } });
    edit(&namespace, "kubectl-label", &theirs).await;
    let after = repaired(&world.replicas()[1], &namespace, |secret| {
        let labels = secret.metadata.labels.as_ref();
        labels.is_some_and(|labels| labels["app.kubernetes.io/managed-by"] == "ecr-pull-secrets")
    })
    .await;
    assert_eq!(docker::hosts(&after).len(), 2);
    assert_eq!(namespace.verdict(&after, "app").await, Verdict::Accepted);
    Ok(())
}

/// A Secret of ours with two registries, after a change of its annotations and further pods.
async fn survives(world: &World, namespace: &Namespace, annotations: &Value) -> Outcome {
    let before = ours(world, namespace).await;
    ask_for_second(&world.replicas()[0], namespace).await;
    edit(
        namespace,
        "kubectl-annotate",
        &json!({ "metadata": { "annotations": annotations } }),
    )
    .await;
    let [one, other] = &world.pair();
    repaired(one, namespace, |secret| {
        docker::annotation(secret, "format") == "1"
    })
    .await;
    ask_for_second(other, namespace).await;
    let wanted = format!("{},{}", namespace.host(), second_host(namespace));
    let after = repaired(one, namespace, |secret| {
        docker::annotation(secret, "registries") == wanted
    })
    .await;
    assert_eq!(after.metadata.uid, before.metadata.uid);
    for host in docker::hosts(&after) {
        let auth = docker::auth(&after, &host);
        let verdict = world.aws.registry_opens(&host, "app", &auth).await?;
        assert_eq!(verdict, Verdict::Accepted);
    }
    Ok(())
}

async fn removed_annotations_are_restored_and_registries_kept(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    survives(&world, &namespace, &Value::Null).await
}

async fn annotation_of_another_format_is_rewritten(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    survives(
        &world,
        &namespace,
        &json!({ "ecr-pull-secrets.dev/format": "2" }),
    )
    .await
}

async fn newer_replica_beside_ours_loses_nothing(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let second = second_host(&namespace);
    let secret = json!({
        "metadata": {
            "labels": { "app.kubernetes.io/managed-by": "ecr-pull-secrets" },
            "annotations": {
                "ecr-pull-secrets.dev/format": "2",
                "ecr-pull-secrets.dev/registries": "a list of another shape",
            },
        },
        "type": "kubernetes.io/dockerconfigjson",
        "data": data(&json!({ "auths": { &second: login("AWS") }, "HttpHeaders": {} })),
    });
    let before = namespace.foreign_secret("ecr-pull-secrets", secret).await;
    let answer = ask(&world.replicas()[0], &namespace).await;
    assert_eq!(review::warnings(&answer), "");
    let after = namespace.assert_opens().await;
    assert_eq!(after.metadata.uid, before.metadata.uid);
    assert_eq!(docker::annotation(&after, "format"), "1");
    let config = config(&after);
    assert_eq!(config["auths"][&second], login("AWS"));
    assert!(config["HttpHeaders"].is_object());
    Ok(())
}

async fn later_registry_keeps_the_first(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let elsewhere = Namespace::new(&world).await;
    let before = ours(&world, &namespace).await;
    namespace.pod("second", &elsewhere.image("other")).await;
    let after = eventually("the second registry", LIMIT, || async {
        namespace
            .secret()
            .await
            .filter(|secret| docker::hosts(secret).len() == 2)
    })
    .await;
    assert_eq!(after.metadata.uid, before.metadata.uid);
    let entry = |secret: &Secret, host: &str| config(secret)["auths"][host].clone();
    assert_eq!(
        entry(&after, &namespace.host()),
        entry(&before, &namespace.host())
    );
    let auth = docker::auth(&after, &elsewhere.host());
    let verdict = world
        .aws
        .registry_opens(&elsewhere.host(), "other", &auth)
        .await?;
    assert_eq!(verdict, Verdict::Accepted);
    let mut wanted = [namespace.host(), elsewhere.host()];
    wanted.sort();
    assert_eq!(docker::annotation(&after, "registries"), wanted.join(","));
    Ok(())
}
