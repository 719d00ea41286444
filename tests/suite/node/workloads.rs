//! Every kind of workload ends *Running*, its image pulled by the kubelet with our Secret, and not
//! one Event of a failed pull on the way.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::pods::{assert_no_pull_failed, running, waits};
use super::trials;
use super::world::NodeWorld;
use crate::harness::namespace::{Namespace, SECRET, pod, references};
use crate::harness::{LIMIT, Outcome, eventually};

trials!(
    the_first_pod_runs_within_30_s_of_the_install,
    a_deployment_runs,
    a_statefulset_whose_service_account_has_pull_secrets_runs,
    a_daemonset_runs,
    a_job_runs,
    a_cronjob_runs,
    a_pod_with_init_container_and_side_car_runs,
    a_pod_with_an_image_volume_runs,
    kubectl_debug_adds_a_container_that_runs,
    without_us_the_same_pod_backs_off,
);

/// Applies a manifest as a user would, and waits for its pod.
async fn apply(world: &NodeWorld, namespace: &Namespace, manifest: Value) -> Pod {
    submit(world, namespace, &manifest);
    served(namespace).await
}

fn submit(world: &NodeWorld, namespace: &Namespace, manifest: &Value) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), manifest.to_string()).expect("a file");
    let (name, file) = (&namespace.name, file.path().display());
    world.run_kubectl(&format!("-n {name} apply -f {file}"));
}

/// The namespace's pod, once it runs: with our reference, and without a failed pull on the way.
async fn served(namespace: &Namespace) -> Pod {
    let pod = running(namespace).await;
    assert_eq!(references(&pod).last().map(String::as_str), Some(SECRET));
    assert_no_pull_failed(namespace).await;
    pod
}

fn workload(api_version: &str, kind: &str, mut spec: Value, template: Value) -> Value {
    spec["selector"] = json!({ "matchLabels": { "app": "app" } });
    spec["template"] = template;
    json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": "app" }, "spec": spec })
}

fn template(namespace: &Namespace) -> Value {
    json!({
        "metadata": { "labels": { "app": "app" } },
        "spec": { "containers": [{ "name": "app", "image": namespace.image("app") }] },
    })
}

async fn the_first_pod_runs_within_30_s_of_the_install(world: Arc<NodeWorld>) -> Outcome {
    let took = world.install_to_running;
    assert!(took < Duration::from_secs(30), "{took:?}");
    Ok(())
}

async fn a_deployment_runs(world: Arc<NodeWorld>) -> Outcome {
    let namespace = world.namespace().await;
    let manifest = workload(
        "apps/v1",
        "Deployment",
        json!({ "replicas": 2 }),
        template(&namespace),
    );
    apply(&world, &namespace, manifest).await;
    Ok(())
}

async fn a_statefulset_whose_service_account_has_pull_secrets_runs(
    world: Arc<NodeWorld>,
) -> Outcome {
    let namespace = world.namespace().await;
    // A Secret that exists and helps nobody: the kubelet would warn of one that is missing.
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

async fn a_daemonset_runs(world: Arc<NodeWorld>) -> Outcome {
    let namespace = world.namespace().await;
    let manifest = workload("apps/v1", "DaemonSet", json!({}), template(&namespace));
    apply(&world, &namespace, manifest).await;
    Ok(())
}

async fn a_job_runs(world: Arc<NodeWorld>) -> Outcome {
    let namespace = world.namespace().await;
    let mut template = template(&namespace);
    template["spec"]["restartPolicy"] = json!("Never");
    let spec = json!({ "template": template });
    let manifest = json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "app" }, "spec": spec });
    apply(&world, &namespace, manifest).await;
    Ok(())
}

async fn a_cronjob_runs(world: Arc<NodeWorld>) -> Outcome {
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
    served(&namespace).await;
    Ok(())
}

async fn a_pod_with_init_container_and_side_car_runs(world: Arc<NodeWorld>) -> Outcome {
    let namespace = world.namespace().await;
    let mut manifest = pod("app", &namespace.image("app"));
    manifest["apiVersion"] = json!("v1");
    manifest["kind"] = json!("Pod");
    manifest["spec"]["initContainers"] = json!([
        { "name": "init", "image": namespace.image("tool") },
        { "name": "side-car", "image": namespace.image("side-car"), "restartPolicy": "Always" },
    ]);
    apply(&world, &namespace, manifest).await;
    Ok(())
}

async fn a_pod_with_an_image_volume_runs(world: Arc<NodeWorld>) -> Outcome {
    let namespace = world.namespace().await;
    let mut manifest = pod("app", &namespace.image("app"));
    manifest["apiVersion"] = json!("v1");
    manifest["kind"] = json!("Pod");
    manifest["spec"]["volumes"] =
        json!([{ "name": "model", "image": { "reference": namespace.image("model") } }]);
    manifest["spec"]["containers"][0]["volumeMounts"] =
        json!([{ "name": "model", "mountPath": "/model", "readOnly": true }]);
    apply(&world, &namespace, manifest).await;
    Ok(())
}

async fn kubectl_debug_adds_a_container_that_runs(world: Arc<NodeWorld>) -> Outcome {
    let namespace = world.namespace().await;
    namespace
        .create::<Pod>(pod("app", &namespace.image("app")))
        .await?;
    running(&namespace).await;
    let container = json!({ "name": "debugger", "image": namespace.image("side-car") });
    let patch = Patch::Strategic(json!({ "spec": { "ephemeralContainers": [container] } }));
    let api: Api<Pod> = namespace.api();
    api.patch_ephemeral_containers("app", &PatchParams::default(), &patch)
        .await?;
    eventually("the ephemeral container runs", LIMIT, || async {
        let pod = api.get("app").await.expect("the pod");
        let statuses = pod
            .status
            .and_then(|status| status.ephemeral_container_statuses);
        let mut states = statuses
            .into_iter()
            .flatten()
            .filter_map(|status| status.state);
        states.any(|state| state.running.is_some()).then_some(())
    })
    .await;
    assert_no_pull_failed(&namespace).await;
    Ok(())
}

async fn without_us_the_same_pod_backs_off(world: Arc<NodeWorld>) -> Outcome {
    let out = json!({ "ecr-pull-secrets.dev/inject": "false" });
    let namespace = world.labelled_namespace(out).await;
    let mut manifest = pod("app", &namespace.image("app"));
    manifest["spec"]["containers"][0]["imagePullPolicy"] = json!("Always");
    let stored: Pod = namespace.create(manifest).await?;
    assert_eq!(references(&stored), [""; 0]);
    waits(&namespace, "ImagePullBackOff").await;
    Ok(())
}
