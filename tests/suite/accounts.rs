//! ServiceAccounts that restrict the Secrets of their pods, and unusual lists of pull secrets.

use std::sync::Arc;

use ecr_pull_secrets_core::cause::Cause;
use http::Request;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::frame::trials;
use crate::harness::namespace::{Namespace, SECRET, references};
use crate::harness::{LIMIT, Outcome, World, eventually, review};
use crate::ownership::kubectl;

trials!(
    restricted_account_gets_pod_without_reference,
    restricted_account_that_lists_secret_gets_reference,
    new_restricted_account_is_known_at_once,
    restriction_can_be_added_and_removed,
    odd_pull_secret_lists_get_one_entry,
);

const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";

fn restricted(name: &str, secrets: &[&str]) -> Value {
    let secrets: Vec<_> = secrets.iter().map(|name| json!({ "name": name })).collect();
    json!({
        "metadata": { "name": name, "annotations": { ENFORCE: "true" } },
        "imagePullSecrets": secrets,
    })
}

fn pod_of(account: &str, name: &str, image: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": {
            "serviceAccountName": account,
            "containers": [{ "name": "app", "image": image }],
        },
    })
}

async fn restricted_account_gets_pod_without_reference(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    namespace
        .create::<ServiceAccount>(restricted("strict", &["other"]))
        .await?;
    // With our reference the API server would refuse the pod, even under `Ignore`.
    let overrides = json!({ "spec": { "serviceAccountName": "strict" } }).to_string();
    let image = namespace.image("app");
    let arguments = ["run", "pod", "--image", &image, "--overrides", &overrides];
    let (_, warnings) = kubectl(&world, &namespace, &arguments);
    assert!(
        warnings.contains(&Cause::ServiceAccountRestricted.warning()),
        "{warnings}"
    );
    assert_eq!(references(&namespace.pods(1).await[0]), ["other"]);
    for replica in &world.replicas() {
        let pod = pod_of("strict", "pod", &image);
        let answer = review::answer(replica, &review::of_pod(&namespace.name, &pod)).await;
        assert!(answer["patch"].is_null(), "{answer}");
        assert_eq!(
            review::warnings(&answer),
            Cause::ServiceAccountRestricted.warning()
        );
    }
    // Other accounts of the namespace are not affected.
    assert_eq!(references(&namespace.pod("free", &image).await), [SECRET]);
    Ok(())
}

async fn restricted_account_that_lists_secret_gets_reference(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    namespace
        .create::<ServiceAccount>(restricted("strict", &["other", SECRET]))
        .await?;
    let image = namespace.image("app");
    // The API server copies the account's list, with our entry.
    let stored: Pod = namespace.create(pod_of("strict", "first", &image)).await?;
    assert_eq!(references(&stored), ["other", SECRET]);
    namespace.assert_opens().await;
    // It does not copy the list to a pod that has one.
    let mut pod = pod_of("strict", "second", &image);
    pod["spec"]["imagePullSecrets"] = json!([{ "name": "other" }]);
    let stored: Pod = namespace.create(pod).await?;
    assert_eq!(references(&stored), ["other", SECRET]);
    Ok(())
}

async fn new_restricted_account_is_known_at_once(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    for number in 0..10 {
        let account = format!("strict-{number}");
        let pod = pod_of(&account, &account, &namespace.image("app"));
        let review = review::of_pod(&namespace.name, &pod);
        let connection = world.replicas()[number % 2].connect().await;
        let mut connection = connection.expect("a connection");
        namespace
            .create::<ServiceAccount>(restricted(&account, &[]))
            .await?;
        // Before the watch delivers the account.
        let answer = review::answer_on(&mut connection, &review).await;
        assert!(answer["patch"].is_null(), "{answer}");
        assert_eq!(
            review::warnings(&answer),
            Cause::ServiceAccountRestricted.warning()
        );
        let stored: Pod = namespace.create(pod).await?;
        assert_eq!(references(&stored), [""; 0]);
    }
    Ok(())
}

async fn restriction_can_be_added_and_removed(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    namespace
        .create::<ServiceAccount>(restricted("strict", &[]))
        .await?;
    let accounts = namespace.api::<ServiceAccount>();
    let pod = pod_of("strict", "pod", &namespace.image("app"));
    let review = review::of_pod(&namespace.name, &pod);
    for (value, is_served) in [("true", false), ("false", true), ("true", false)] {
        let change = json!({ "metadata": { "annotations": { ENFORCE: value } } });
        accounts
            .patch("strict", &PatchParams::default(), &Patch::Merge(change))
            .await?;
        for replica in &world.replicas() {
            eventually("the replica knows the restriction", LIMIT, || async {
                let answer = review::answer(replica, &review).await;
                (review::adds_reference(&answer) == is_served).then_some(())
            })
            .await;
        }
    }
    Ok(())
}

/// Creates a pod from raw JSON, and returns raw JSON: types would normalise both.
async fn create_raw(namespace: &Namespace, pod: &Value) -> kube::Result<Value> {
    let path = format!("/api/v1/namespaces/{}/pods", namespace.name);
    let request = Request::post(path).header("content-type", "application/json");
    let request = request
        .body(pod.to_string().into_bytes())
        .expect("a request");
    namespace.client.request(request).await
}

async fn odd_pull_secret_lists_get_one_entry(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let twin = json!({ "ecr-pull-secrets.dev/inject": "false" });
    let twin = Namespace::in_region(&world, namespace.region.clone(), twin).await;
    for (number, list) in [
        Value::Null,
        json!([]),
        json!([{}]),
        json!([null]),
        json!([{ "name": "" }]),
        json!([{}, { "name": "other" }, {}]),
        json!([{ "name": "other" }, { "name": "other" }]),
        json!([{ "name": SECRET }]),
        json!([{ "name": SECRET }, { "name": SECRET }]),
    ]
    .into_iter()
    .enumerate()
    {
        let mut pod = pod_of("default", &format!("pod-{number}"), &namespace.image("app"));
        pod["spec"]["imagePullSecrets"] = list.clone();
        let without = create_raw(&twin, &pod).await?["spec"]["imagePullSecrets"].clone();
        let with = create_raw(&namespace, &pod).await?["spec"]["imagePullSecrets"].clone();
        let mut wanted = without.as_array().cloned().unwrap_or_default();
        if !list.to_string().contains(SECRET) {
            wanted.push(json!({ "name": SECRET }));
        }
        assert_eq!(with, Value::from(wanted), "{list}");
    }
    namespace.assert_opens().await;
    Ok(())
}
