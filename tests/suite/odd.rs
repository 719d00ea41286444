//! Namespaces in odd states: over quota, terminating, missing, newer than the watch, opted out and in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_stand_in::spec::{Action, Fault};
use ecr_pull_secrets_core::cause::Cause;
use k8s_openapi::api::core::v1::{Namespace as V1Namespace, ResourceQuota};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::frame::trials;
use crate::harness::namespace::{Namespace, SECRET, pod, references};
use crate::harness::replica::Replica;
use crate::harness::{LIMIT, Outcome, World, eventually, review};
use crate::ownership::{ask, kubectl};

trials!(
    quota_delays_secret_but_not_pod,
    terminating_namespace_ends_its_work,
    missing_namespace_gets_nothing,
    invalid_namespace_name_gets_nothing,
    namespace_newer_than_the_watch_is_served,
    opt_out_newer_than_the_watch_is_obeyed,
    namespace_can_opt_out_and_in_again,
    opt_in_selection_serves_only_labelled_namespaces,
    debugged_pod_without_reference_gets_a_warning,
);

const CONFIG: &str = "apiVersion: ecr-pull-secrets.dev/v1\nkind: Config\n";

fn all_namespaces(world: &World) -> Api<V1Namespace> {
    Api::all(world.cluster.client.clone())
}

async fn change(world: &World, namespace: &str, change: &Value) {
    all_namespaces(world)
        .patch(namespace, &PatchParams::default(), &Patch::Merge(change))
        .await
        .expect("a change");
}

/// Fails unless the answer is empty but for its cause.
fn assert_skipped(answer: &Value, why: &str) {
    assert!(answer["patch"].is_null(), "{answer}");
    assert!(answer["warnings"].is_null(), "{answer}");
    assert_eq!(answer["auditAnnotations"]["outcome"], "skipped");
    assert_eq!(answer["auditAnnotations"]["cause"], why);
}

/// Sends reviews until the replica answers that there is nothing to do, with this cause.
async fn skips(replica: &Replica, namespace: &Namespace, why: &str) {
    eventually(why, LIMIT, || async {
        let answer = ask(replica, namespace).await;
        (answer["auditAnnotations"]["cause"] == why).then(|| assert_skipped(&answer, why))
    })
    .await;
}

/// A pod of a review is real, even if the replica's view of its namespace is stale: the pod keeps its
/// reference.
async fn warns_of_the_end(replica: &Replica, namespace: &Namespace) {
    let cause = Cause::NamespaceTerminating;
    eventually(cause.name(), LIMIT, || async {
        let answer = ask(replica, namespace).await;
        assert!(review::adds_reference(&answer), "{answer}");
        (review::warnings(&answer) == cause.warning()).then_some(())
    })
    .await;
}

async fn calls(namespace: &Namespace) -> u64 {
    let total = namespace.region.total(Action::GetAuthorizationToken).await;
    total.expect("the stand-in counts").total
}

fn log_lines(world: &World, namespace: &str, text: &str) -> usize {
    let field = format!("\"namespace\":\"{namespace}\"");
    let is_one = |line: &&str| line.contains(text) && line.contains(&field);
    world
        .logs()
        .iter()
        .map(|(_, log)| log.lines().filter(is_one).count())
        .sum()
}

async fn quota_delays_secret_but_not_pod(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let quotas = namespace.api::<ResourceQuota>();
    let quota = |secrets: &str| json!({ "spec": { "hard": { "secrets": secrets } } });
    let mut none = quota("0");
    none["metadata"] = json!({ "name": "full" });
    quotas
        .create(&PostParams::default(), &serde_json::from_value(none)?)
        .await?;
    eventually("the quota is in force", LIMIT, || async {
        let quota = quotas.get("full").await.expect("the quota");
        quota.status.and_then(|status| status.used).map(drop)
    })
    .await;
    let answer = ask(&world.replicas()[0], &namespace).await;
    assert!(review::adds_reference(&answer));
    assert_eq!(review::warnings(&answer), Cause::QuotaExceeded.warning());
    let arguments = ["run", "pod", "--image", &namespace.image("app")];
    let (_, warnings) = kubectl(&world, &namespace, &arguments);
    assert!(
        warnings.contains(&Cause::QuotaExceeded.warning()),
        "{warnings}"
    );
    assert_eq!(references(&namespace.pods(1).await[0]), [SECRET]);
    assert!(namespace.secret().await.is_none());
    quotas
        .patch("full", &PatchParams::default(), &Patch::Merge(quota("1")))
        .await?;
    namespace.assert_opens().await;
    Ok(())
}

async fn terminating_namespace_ends_its_work(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    namespace.region.fault(Fault::Throttling).await?;
    for replica in &world.replicas() {
        let answer = ask(replica, &namespace).await;
        assert_eq!(review::warnings(&answer), Cause::AwsThrottled.warning());
    }
    let finalizers = |names: Value| json!({ "metadata": { "finalizers": names } });
    change(
        &world,
        &namespace.name,
        &finalizers(json!(["example.com/hold"])),
    )
    .await;
    all_namespaces(&world)
        .delete(&namespace.name, &DeleteParams::default())
        .await?;
    for replica in &world.replicas() {
        warns_of_the_end(replica, &namespace).await;
    }
    // Work in progress ends as well.
    eventually("both replicas give up", LIMIT, || async {
        let lines = log_lines(&world, &namespace.name, "\"gave up on a pull secret\"");
        assert!(lines <= 2);
        (lines == 2).then_some(())
    })
    .await;
    namespace.region.clear_faults().await?;
    let before = calls(&namespace).await;
    // A later namespace of the region finds neither a token nor a call in progress.
    let later = Namespace::in_region(&world, namespace.region.clone(), json!({})).await;
    for replica in &world.replicas() {
        warns_of_the_end(replica, &namespace).await;
    }
    assert_eq!(calls(&namespace).await, before);
    eventually("the later namespace is served", LIMIT, || async {
        ask(&world.replicas()[0], &later).await;
        later.secret().await
    })
    .await;
    assert!(namespace.secret().await.is_none());
    assert_eq!(
        log_lines(&world, &namespace.name, "\"pull secret not written\""),
        0
    );
    change(&world, &namespace.name, &finalizers(Value::Null)).await;
    Ok(())
}

async fn missing_namespace_gets_nothing(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    for replica in &world.replicas() {
        let pod = pod("pod", &namespace.image("app"));
        let answer = review::answer(replica, &review::of_pod("made-up", &pod)).await;
        assert_skipped(&answer, Cause::NamespaceMissing.name());
    }
    assert_eq!(calls(&namespace).await, 0);
    Ok(())
}

/// No API server sends such a review, but any client that reaches the port can. The name becomes part of
/// the path of calls.
async fn invalid_namespace_name_gets_nothing(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let there = &namespace.name;
    for name in [
        "",
        "..",
        "UPPER",
        &format!("{there}?x="),
        &format!("{there}/"),
        &"a".repeat(63),
    ] {
        let pod = pod("pod", &namespace.image("app"));
        let answer = review::answer(&world.replicas()[0], &review::of_pod(name, &pod)).await;
        assert_skipped(&answer, Cause::NamespaceMissing.name());
    }
    assert_eq!(calls(&namespace).await, 0);
    assert!(namespace.secret().await.is_none());
    Ok(())
}

/// Creates a namespace and sends a review in the same millisecond, before the watch delivers it.
async fn ask_at_once(world: &World, replica: &Replica, labels: &Value, image: &str) -> Value {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let name = format!("young-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let object = json!({ "metadata": { "name": name, "labels": labels } });
    let object = serde_json::from_value(object).expect("a namespace");
    let review = review::of_pod(&name, &pod("pod", image));
    let mut connection = replica.connect().await.expect("a connection");
    let all = all_namespaces(world);
    all.create(&PostParams::default(), &object)
        .await
        .expect("a namespace");
    review::answer_on(&mut connection, &review).await
}

async fn namespace_newer_than_the_watch_is_served(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    for replica in &world.replicas() {
        assert_eq!(review::warnings(&ask(replica, &namespace).await), "");
        for _ in 0..10 {
            let image = namespace.image("app");
            let answer = ask_at_once(&world, replica, &json!({}), &image).await;
            assert!(review::adds_reference(&answer), "{answer}");
            assert_eq!(review::warnings(&answer), "");
        }
    }
    Ok(())
}

async fn opt_out_newer_than_the_watch_is_obeyed(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let labels = json!({ "ecr-pull-secrets.dev/inject": "false" });
    for replica in &world.replicas() {
        for _ in 0..10 {
            let image = namespace.image("app");
            let answer = ask_at_once(&world, replica, &labels, &image).await;
            assert_skipped(&answer, "opted_out");
        }
    }
    assert_eq!(calls(&namespace).await, 0);
    Ok(())
}

async fn namespace_can_opt_out_and_in_again(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    assert_eq!(
        references(&namespace.pod("before", &namespace.image("app")).await),
        [SECRET]
    );
    let before = namespace.assert_opens().await;
    let wish =
        |wish: Value| json!({ "metadata": { "labels": { "ecr-pull-secrets.dev/inject": wish } } });
    change(&world, &namespace.name, &wish(json!("false"))).await;
    for replica in &world.replicas() {
        skips(replica, &namespace, "opted_out").await;
    }
    let stored = namespace.pod("out", &namespace.image("app")).await;
    assert_eq!(references(&stored), [""; 0]);
    // Older pods still need the Secret.
    assert!(
        namespace.secret().await == Some(before),
        "the Secret has changed"
    );
    change(&world, &namespace.name, &wish(Value::Null)).await;
    for replica in &world.replicas() {
        eventually("the namespace is served again", LIMIT, || async {
            review::adds_reference(&ask(replica, &namespace).await).then_some(())
        })
        .await;
    }
    let number = AtomicU32::new(0);
    eventually("the API server calls us again", LIMIT, || async {
        let name = format!("in-{}", number.fetch_add(1, Ordering::Relaxed));
        let stored = namespace.pod(&name, &namespace.image("app")).await;
        (references(&stored) == [SECRET]).then_some(())
    })
    .await;
    Ok(())
}

async fn opt_in_selection_serves_only_labelled_namespaces(world: Arc<World>) -> Outcome {
    let config = format!("{CONFIG}selection: opt-in\n");
    let replica = world.replica("opt-in").config(&config).start();
    replica.ready().await;
    let label = |wish: &str| json!({ "ecr-pull-secrets.dev/inject": wish });
    for (of_namespace, of_pod, is_served) in [
        (None, None, false),
        (None, Some("true"), true),
        (None, Some("yes"), false),
        (Some("true"), None, true),
        (Some("true"), Some("false"), false),
        (Some("false"), Some("true"), false),
    ] {
        let labels = of_namespace.map_or(json!({}), label);
        let namespace = Namespace::with_labels(&world, labels).await;
        let mut pod = pod("pod", &namespace.image("app"));
        pod["metadata"]["labels"] = of_pod.map_or(Value::Null, label);
        let answer = review::answer(&replica, &review::of_pod(&namespace.name, &pod)).await;
        if is_served {
            assert!(
                review::adds_reference(&answer),
                "{of_namespace:?} {of_pod:?}"
            );
            namespace.assert_opens().await;
        } else {
            assert_skipped(&answer, "opted_out");
            assert_eq!(calls(&namespace).await, 0);
        }
    }
    Ok(())
}

async fn debugged_pod_without_reference_gets_a_warning(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    namespace.pod("pod", "docker.io/library/busybox:1").await;
    let image = namespace.image("tools");
    let arguments = [
        "debug",
        "pod",
        "--image",
        &image,
        "--profile",
        "general",
        "--attach=false",
    ];
    let (_, warnings) = kubectl(&world, &namespace, &arguments);
    assert!(
        warnings.contains(&Cause::PodLacksReference.warning()),
        "{warnings}"
    );
    assert_eq!(calls(&namespace).await, 0);
    Ok(())
}
