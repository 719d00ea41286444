//! Every kind of workload becomes *Running*. The kubelet pulls its image with our Secret, and no Event
//! reports a failed pull.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::{Value, json};

use super::pods::{assert_no_pull_failed, pulled, waits};
use super::world::{NodeWorld, OTHER_ACCOUNT};
use crate::frame::trials;
use crate::harness::namespace::{Namespace, SECRET, references};
use crate::harness::{LIMIT, Outcome, eventually};

trials!(
    first_pod_runs_within_30_s_of_install,
    deployment_runs,
    pod_runs,
    statefulset_whose_account_has_pull_secrets_runs,
    daemonset_runs,
    job_runs,
    cronjob_runs,
    pod_with_init_container_and_sidecar_runs,
    pod_with_image_volume_runs,
    container_of_kubectl_debug_runs,
    same_pod_without_us_backs_off,
);

/// Applies a manifest as a user does, and waits for its one pod.
async fn apply(world: &NodeWorld, namespace: &Namespace, manifest: Value) -> Pod {
    submit(world, namespace, &manifest);
    served(namespace, 1).await.remove(0)
}

/// Applies a manifest as a user does.
pub(super) fn submit(world: &NodeWorld, namespace: &Namespace, manifest: &Value) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), manifest.to_string()).expect("a file");
    let (name, file) = (&namespace.name, file.path().display());
    world.run_kubectl(&format!("-n {name} apply -f {file}"));
}

/// The namespace's pods, once they run. Each must have our reference.
async fn served(namespace: &Namespace, count: usize) -> Vec<Pod> {
    let pods = pulled(namespace, count).await;
    for pod in &pods {
        assert_eq!(references(pod).last().map(String::as_str), Some(SECRET));
    }
    pods
}

/// A Deployment without pull secrets.
pub(super) fn deployment(namespace: &Namespace, replicas: usize) -> Value {
    let spec = json!({ "replicas": replicas });
    workload("apps/v1", "Deployment", spec, template(namespace))
}

fn workload(api_version: &str, kind: &str, mut spec: Value, template: Value) -> Value {
    spec["selector"] = json!({ "matchLabels": { "app": "app" } });
    spec["template"] = template;
    json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": "app" }, "spec": spec })
}

fn template(namespace: &Namespace) -> Value {
    json!({
        "metadata": { "labels": { "app": "app" } },
        "spec": { "containers": [container("app", &namespace.image("app"))] },
    })
}

/// `Always`: otherwise the kubelet would not pull an image that it has under a token that it knows.
fn container(name: &str, image: &str) -> Value {
    json!({ "name": name, "image": image, "imagePullPolicy": "Always" })
}

fn bare_pod(namespace: &Namespace) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "app" },
        "spec": { "containers": [container("app", &namespace.image("app"))] },
    })
}

async fn first_pod_runs_within_30_s_of_install(world: Arc<NodeWorld>) -> Outcome {
    let took = world.install_to_running;
    assert!(took < Duration::from_secs(30), "{took:?}");
    Ok(())
}

async fn deployment_runs(world: Arc<NodeWorld>) -> Outcome {
    let namespace = world.namespace().await;
    submit(&world, &namespace, &deployment(&namespace, 2));
    served(&namespace, 2).await;
    Ok(())
}

async fn pod_runs(world: Arc<NodeWorld>) -> Outcome {
    let namespace = world.namespace().await;
    apply(&world, &namespace, bare_pod(&namespace)).await;
    Ok(())
}

async fn statefulset_whose_account_has_pull_secrets_runs(world: Arc<NodeWorld>) -> Outcome {
    let namespace = world.namespace().await;
    // This Secret exists and opens no registry: the kubelet warns if one is missing.
    let unrelated = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": "elsewhere" },
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": { ".dockerconfigjson": "{\"auths\":{\"registry.example.com\":{\"auth\":\"dTpw\"}}}" },
    });
    let account =
        json!({ "metadata": { "name": "owner" }, "imagePullSecrets": [{ "name": "elsewhere" }] });
    namespace
        .create::<k8s_openapi::api::core::v1::Secret>(unrelated)
        .await?;
    namespace
        .create::<k8s_openapi::api::core::v1::ServiceAccount>(account)
        .await?;
    let mut template = template(&namespace);
    template["spec"]["serviceAccountName"] = json!("owner");
    let manifest = workload(
        "apps/v1",
        "StatefulSet",
        json!({ "serviceName": "app" }),
        template,
    );
    let pod = apply(&world, &namespace, manifest).await;
    assert_eq!(references(&pod), ["elsewhere", SECRET]);
    Ok(())
}

async fn daemonset_runs(world: Arc<NodeWorld>) -> Outcome {
    let namespace = world.namespace().await;
    let manifest = workload("apps/v1", "DaemonSet", json!({}), template(&namespace));
    apply(&world, &namespace, manifest).await;
    Ok(())
}

async fn job_runs(world: Arc<NodeWorld>) -> Outcome {
    let namespace = world.namespace().await;
    let mut template = template(&namespace);
    template["spec"]["restartPolicy"] = json!("Never");
    let spec = json!({ "template": template });
    let manifest = json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "app" }, "spec": spec });
    apply(&world, &namespace, manifest).await;
    Ok(())
}

async fn cronjob_runs(world: Arc<NodeWorld>) -> Outcome {
    let namespace = world.namespace().await;
    let mut template = template(&namespace);
    template["spec"]["restartPolicy"] = json!("Never");
    let cronjob = json!({
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": { "name": "app" },
        "spec": {
            "schedule": "0 3 * * *",
            "jobTemplate": { "spec": { "template": template } },
        },
    });
    submit(&world, &namespace, &cronjob);
    let name = &namespace.name;
    world.run_kubectl(&format!("-n {name} create job now --from=cronjob/app"));
    served(&namespace, 1).await;
    Ok(())
}

async fn pod_with_init_container_and_sidecar_runs(world: Arc<NodeWorld>) -> Outcome {
    let namespace = world.namespace().await;
    let mut manifest = bare_pod(&namespace);
    let mut side_car = container("side-car", &namespace.image("side-car"));
    side_car["restartPolicy"] = json!("Always");
    manifest["spec"]["initContainers"] =
        json!([container("init", &namespace.image("tool")), side_car]);
    apply(&world, &namespace, manifest).await;
    Ok(())
}

async fn pod_with_image_volume_runs(world: Arc<NodeWorld>) -> Outcome {
    let namespace = world.namespace().await;
    let mut manifest = bare_pod(&namespace);
    let image = json!({ "reference": namespace.image("model"), "pullPolicy": "Always" });
    manifest["spec"]["volumes"] = json!([{ "name": "model", "image": image }]);
    manifest["spec"]["containers"][0]["volumeMounts"] =
        json!([{ "name": "model", "mountPath": "/model", "readOnly": true }]);
    apply(&world, &namespace, manifest).await;
    Ok(())
}

/// The container's registry is not the pod's, so the Secret must get it, too.
async fn container_of_kubectl_debug_runs(world: Arc<NodeWorld>) -> Outcome {
    let namespace = world.namespace().await;
    apply(&world, &namespace, bare_pod(&namespace)).await;
    let (name, other) = (&namespace.name, world.region().host(OTHER_ACCOUNT));
    world.run_kubectl(&format!(
        "-n {name} debug app --container=debugger --image={other}/debugger:v1"
    ));
    let api: Api<Pod> = namespace.api();
    eventually("the ephemeral container runs", LIMIT, || async {
        let status = api.get("app").await.expect("the pod").status?;
        let mut statuses = status.ephemeral_container_statuses?.into_iter();
        statuses
            .any(|of| of.state.is_some_and(|state| state.running.is_some()))
            .then_some(())
    })
    .await;
    assert_no_pull_failed(&namespace).await;
    Ok(())
}

async fn same_pod_without_us_backs_off(world: Arc<NodeWorld>) -> Outcome {
    let out = json!({ "ecr-pull-secrets.dev/inject": "false" });
    let namespace = world.labelled_namespace(out).await;
    let stored: Pod = namespace.create(bare_pod(&namespace)).await?;
    assert_eq!(references(&stored), [""; 0]);
    waits(&namespace, "ImagePullBackOff").await;
    Ok(())
}
