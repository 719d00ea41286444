//! A Secret with the pull Secret's name that we may not write. It stays byte for byte. A warning, an
//! Event and a metric report it. Once it is gone, ours is created.

use std::sync::Arc;

use aws_stand_in::spec::{Action, Fault};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ecr_pull_secrets_core::cause::Cause;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::frame::trials;
use crate::harness::namespace::{Namespace, SECRET, pod, references};
use crate::harness::replica::Replica;
use crate::harness::{LIMIT, Outcome, World, docker, eventually, review};

trials!(
    secret_of_another_type_is_left_alone,
    foreign_login_is_left_alone_until_adopted,
    malformed_secret_blocks_the_reference_until_repaired,
    malformed_secret_blocks_the_reference_without_aws,
    legacy_secret_blocks_the_reference_if_malformed,
    empty_login_is_left_alone,
    immutable_secret_is_left_alone_until_deleted,
    secret_with_another_key_is_left_alone,
);

pub(crate) const PULL_TYPE: &str = "kubernetes.io/dockerconfigjson";
pub(crate) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Host of a registry that is not ECR.
pub(crate) const ELSEWHERE: &str = "registry.example.com";

/// `data` of a pull Secret.
pub(crate) fn data(config: &Value) -> Value {
    json!({ ".dockerconfigjson": BASE64_STANDARD.encode(config.to_string()) })
}

/// A login that was valid once.
pub(crate) fn login(user: &str) -> Value {
    json!({ "auth": BASE64_STANDARD.encode(format!("{user}:a-password-of-{user}")) })
}

pub(crate) fn of_type(kind: &str, data: &Value) -> Value {
    json!({ "type": kind, "data": data })
}

pub(crate) fn with_hosts<const N: usize>(entries: [(&str, Value); N]) -> Value {
    let auths: serde_json::Map<_, _> = entries
        .into_iter()
        .map(|(host, entry)| (host.to_owned(), entry))
        .collect();
    of_type(PULL_TYPE, &data(&json!({ "auths": auths })))
}

pub(crate) fn annotated(mut secret: Value) -> Value {
    secret["metadata"]["annotations"] = json!({ "ecr-pull-secrets.dev/adopt": "true" });
    secret
}

/// A replica's answer to a pod in the namespace.
pub(crate) async fn ask(replica: &Replica, namespace: &Namespace) -> Value {
    let pod = pod("pod", &namespace.image("app"));
    review::answer(replica, &review::of_pod(&namespace.name, &pod)).await
}

/// Events about the namespace's pull Secret.
pub(crate) async fn events(namespace: &Namespace) -> Vec<Event> {
    let all = namespace
        .api::<Event>()
        .list(&ListParams::default())
        .await
        .expect("a list");
    let is_about = |event: &Event| {
        event
            .regarding
            .as_ref()
            .and_then(|about| about.name.as_deref())
            == Some(SECRET)
    };
    all.items.into_iter().filter(is_about).collect()
}

/// Sends a review to both replicas. Fails unless both refuse to write, report it in every place, and
/// leave the Secret unchanged.
async fn assert_refused(world: &World, namespace: &Namespace, cause: Cause) {
    let before = namespace.secret().await.expect("the foreign Secret");
    let labels = [
        "trigger=\"admission\"",
        &format!("result=\"{}\"", cause.name()),
    ];
    for (asked, replica) in (1..).zip(&world.replicas()) {
        for _ in 0..2 {
            let answer = ask(replica, namespace).await;
            assert_eq!(
                review::adds_reference(&answer),
                cause != Cause::ForeignMalformed,
                "{answer}"
            );
            assert_eq!(review::warnings(&answer), cause.warning());
            assert_eq!(answer["auditAnnotations"]["outcome"], "degraded");
            assert_eq!(answer["auditAnnotations"]["cause"], cause.name());
        }
        assert!(
            replica
                .metric("ecr_pull_secrets_secret_applies_total", &labels)
                .await
                >= 1.0
        );
        // Both replicas write one Event: the second one makes it a series.
        let event = eventually("the Event", LIMIT, || async {
            let events = events(namespace).await;
            assert!(events.len() <= 1, "{events:#?}");
            let seen = |event: &Event| event.series.as_ref().map_or(1, |series| series.count);
            events.into_iter().find(|event| seen(event) >= asked)
        })
        .await;
        assert_eq!(event.reason.as_deref(), Some(cause.reason()));
        assert_eq!(event.type_.as_deref(), Some("Warning"));
        assert!(event.note.expect("a note").contains(cause.remedy()));
        assert_eq!(event.regarding.expect("an object").uid, before.metadata.uid);
        assert!(
            event
                .metadata
                .name
                .expect("a name")
                .starts_with(&format!("{SECRET}."))
        );
    }
    let of_this = format!("\"namespace\":\"{}\"", namespace.name);
    for (name, log) in world
        .logs()
        .iter()
        .filter(|(name, _)| name.starts_with("replica-"))
    {
        let mut refusals = log.lines().filter(|line| line.contains(&of_this));
        assert!(
            refusals.any(|line| line.contains("\"pull secret not written\"")),
            "{name}"
        );
    }
    assert_eq!(
        namespace.secret().await.expect("the foreign Secret"),
        before
    );
}

async fn delete(namespace: &Namespace) {
    namespace
        .api::<Secret>()
        .delete(SECRET, &DeleteParams::default())
        .await
        .expect("deleted");
}

async fn assert_comes_without_a_new_pod_once_it_is_deleted(namespace: &Namespace) {
    delete(namespace).await;
    assert_ours(&namespace.assert_opens().await);
}

/// Whether the object has our label and annotations, and none that adoption removes.
fn assert_ours(secret: &Secret) {
    let metadata = &secret.metadata;
    let labels = metadata.labels.as_ref().expect("labels");
    assert_eq!(labels["app.kubernetes.io/managed-by"], "ecr-pull-secrets");
    assert_eq!(docker::annotation(secret, "format"), "1");
    let annotations = metadata.annotations.as_ref().expect("annotations");
    assert!(
        !annotations.contains_key(LAST_APPLIED),
        "{:?}",
        annotations.keys()
    );
    let owners = metadata.managed_fields.iter().flatten().filter(|entry| {
        let fields = entry
            .fields_v1
            .as_ref()
            .map(|fields| &fields.0["f:data"]["f:.dockerconfigjson"]);
        fields.is_some_and(Value::is_object)
    });
    let owners: Vec<_> = owners
        .filter_map(|entry| entry.manager.as_deref())
        .collect();
    assert_eq!(owners, ["ecr-pull-secrets"]);
}

/// Waits until the Secret is ours and opens the registry.
pub(crate) async fn adopted(namespace: &Namespace) -> Secret {
    let secret = eventually("the adoption", LIMIT, || async {
        let secret = namespace.secret().await?;
        let is_adopted = docker::annotation(&secret, "format") == "1"
            && !secret
                .metadata
                .annotations
                .as_ref()?
                .contains_key(LAST_APPLIED);
        is_adopted.then_some(secret)
    })
    .await;
    assert_ours(&secret);
    namespace.assert_opens().await
}

async fn secret_of_another_type_is_left_alone(world: Arc<World>) -> Outcome {
    let pair = json!({ "tls.crt": "", "tls.key": "" });
    let basic = json!({ "username": BASE64_STANDARD.encode("another") });
    for foreign in [
        of_type("Opaque", &data(&json!({ "auths": {} }))),
        of_type("kubernetes.io/tls", &pair),
        of_type("kubernetes.io/basic-auth", &basic),
    ] {
        let namespace = Namespace::new(&world).await;
        namespace.foreign_secret("another", foreign).await;
        assert_refused(&world, &namespace, Cause::ForeignType).await;
        assert_comes_without_a_new_pod_once_it_is_deleted(&namespace).await;
    }
    Ok(())
}

async fn foreign_login_is_left_alone_until_adopted(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    // One foreign host makes the Secret foreign.
    let host = namespace.host();
    let foreign = with_hosts([(ELSEWHERE, login("robot")), (&host, login("AWS"))]);
    let before = namespace.foreign_secret("another", foreign).await;
    assert_refused(&world, &namespace, Cause::ForeignOwner).await;
    // The API server shows the warning to the client that creates the pod.
    let (_, warnings) = kubectl(
        &world,
        &namespace,
        &["run", "pod", "--image", &namespace.image("app")],
    );
    assert!(
        warnings.contains(&format!("Warning: {}", Cause::ForeignOwner.warning())),
        "{warnings}"
    );
    assert_eq!(references(&namespace.pods(1).await[0]), [SECRET]);
    let annotation =
        json!({ "metadata": { "annotations": { "ecr-pull-secrets.dev/adopt": "true" } } });
    edit(&namespace, "kubectl-annotate", &annotation).await;
    let after = adopted(&namespace).await;
    assert_eq!(after.metadata.uid, before.metadata.uid);
    assert_eq!(docker::config(&after)["auths"][ELSEWHERE], login("robot"));
    Ok(())
}

async fn malformed_secret_blocks_the_reference_until_repaired(world: Arc<World>) -> Outcome {
    for malformed in [
        json!({ "auths": { ELSEWHERE: { "auth": "not base64!" } } }),
        json!({ "auths": [ELSEWHERE] }),
        json!({ "auths": { ELSEWHERE: "a password" } }),
        json!({ "auths": {}, "HttpHeaders": "none" }),
    ] {
        let namespace = Namespace::new(&world).await;
        // Without a parse there is no adoption, not even with the annotation.
        let foreign = annotated(of_type(PULL_TYPE, &data(&malformed)));
        namespace.foreign_secret("another", foreign).await;
        assert_refused(&world, &namespace, Cause::ForeignMalformed).await;
        let (_, warnings) = kubectl(
            &world,
            &namespace,
            &["run", "first", "--image", &namespace.image("app")],
        );
        assert!(
            warnings.contains(&Cause::ForeignMalformed.warning()),
            "{warnings}"
        );
        assert!(references(&namespace.pods(1).await[0]).is_empty());

        let host = namespace.host();
        let repaired = with_hosts([(&host, login("AWS"))]);
        edit(
            &namespace,
            "kubectl-edit",
            &json!({ "data": repaired["data"] }),
        )
        .await;
        adopted(&namespace).await;
        let stored = namespace.pod("second", &namespace.image("app")).await;
        assert_eq!(references(&stored), [SECRET]);
    }
    Ok(())
}

async fn malformed_secret_blocks_the_reference_without_aws(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    namespace.region.fault(Fault::Hang).await?;
    let malformed = of_type(PULL_TYPE, &data(&json!({ "auths": [] })));
    namespace.foreign_secret("another", malformed).await;
    // A ready replica knows every Secret.
    let config = "{apiVersion: ecr-pull-secrets.dev/v1, kind: Config}";
    let replica = world.replica("beside-a-malformed").config(config).start();
    replica.ready().await;
    let answer = ask(&replica, &namespace).await;
    assert!(!review::adds_reference(&answer), "{answer}");
    assert_eq!(review::warnings(&answer), Cause::ForeignMalformed.warning());
    // A token would not help.
    let calls = namespace
        .region
        .total(Action::GetAuthorizationToken)
        .await?;
    assert_eq!(calls.total, 0);
    namespace.region.clear_faults().await?;
    Ok(())
}

/// The kubelet reads this type, too: content that does not decode fails every pull of a pod.
async fn legacy_secret_blocks_the_reference_if_malformed(world: Arc<World>) -> Outcome {
    let bad = json!({ ELSEWHERE: { "auth": "not base64!" } });
    for (content, cause) in [
        (json!({ ELSEWHERE: login("robot") }), Cause::ForeignType),
        (bad, Cause::ForeignMalformed),
    ] {
        let namespace = Namespace::new(&world).await;
        let content = BASE64_STANDARD.encode(content.to_string());
        let legacy = of_type("kubernetes.io/dockercfg", &json!({ ".dockercfg": content }));
        namespace.foreign_secret("another", legacy).await;
        assert_refused(&world, &namespace, cause).await;
        assert_comes_without_a_new_pod_once_it_is_deleted(&namespace).await;
    }
    Ok(())
}

async fn empty_login_is_left_alone(world: Arc<World>) -> Outcome {
    for empty in [json!({}), json!({ "auths": {} }), Value::Null] {
        let namespace = Namespace::new(&world).await;
        namespace
            .foreign_secret("another", of_type(PULL_TYPE, &data(&empty)))
            .await;
        assert_refused(&world, &namespace, Cause::ForeignOwner).await;
        assert_comes_without_a_new_pod_once_it_is_deleted(&namespace).await;
    }
    Ok(())
}

async fn immutable_secret_is_left_alone_until_deleted(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let host = namespace.host();
    let mut foreign = with_hosts([(&host, login("AWS"))]);
    foreign["immutable"] = json!(true);
    namespace.foreign_secret("another", foreign).await;
    assert_refused(&world, &namespace, Cause::ForeignImmutable).await;
    assert_comes_without_a_new_pod_once_it_is_deleted(&namespace).await;

    let namespace = Namespace::new(&world).await;
    let mut foreign = of_type(PULL_TYPE, &data(&json!({ "auths": [] })));
    foreign["immutable"] = json!(true);
    namespace.foreign_secret("another", foreign).await;
    assert_refused(&world, &namespace, Cause::ForeignMalformed).await;
    assert_comes_without_a_new_pod_once_it_is_deleted(&namespace).await;
    Ok(())
}

async fn secret_with_another_key_is_left_alone(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let host = namespace.host();
    let mut foreign = annotated(with_hosts([(&host, login("AWS"))]));
    foreign["data"]["password"] = json!(BASE64_STANDARD.encode("of another"));
    namespace.foreign_secret("another", foreign).await;
    assert_refused(&world, &namespace, Cause::ForeignOwner).await;
    Ok(())
}

/// Patches the pull Secret as this field manager.
pub(crate) async fn edit(namespace: &Namespace, manager: &str, change: &Value) -> Secret {
    let params = PatchParams {
        field_manager: Some(manager.to_owned()),
        ..PatchParams::default()
    };
    let secrets = namespace.api::<Secret>();
    secrets
        .patch(SECRET, &params, &Patch::Merge(change))
        .await
        .expect("an edit")
}

/// Runs `kubectl` in the namespace; its standard output and standard error.
pub(crate) fn kubectl(
    world: &World,
    namespace: &Namespace,
    arguments: &[&str],
) -> (String, String) {
    let mut command = world.kubectl();
    command
        .args(["--namespace", &namespace.name])
        .args(arguments);
    let output = command.output().expect("kubectl runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, warned) = (text(&output.stdout), text(&output.stderr));
    assert!(
        output.status.success(),
        "kubectl {arguments:?}: {said}{warned}"
    );
    (said, warned)
}
