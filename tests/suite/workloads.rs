//! Every kind of workload, with an unchanged manifest. Its pods are stored with the reference, and nothing
//! else in them changes. The Secret opens the registry.
//!
//! The comparison is with a twin: the same object in a namespace that opted out.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::frame::trials;
use crate::harness::namespace::{Namespace, SECRET, references};
use crate::harness::{Outcome, World};

trials!(
    deployment_gets_the_reference,
    statefulset_whose_account_has_pull_secrets_gets_reference,
    daemonset_gets_the_reference,
    job_gets_the_reference,
    cronjob_gets_the_reference,
    replication_controller_gets_the_reference,
    bare_pod_gets_the_reference,
    pod_with_init_container_gets_the_reference,
    pod_with_sidecar_gets_the_reference,
    pod_with_image_volume_gets_the_reference,
    pod_with_own_pull_secrets_keeps_them,
);

/// An object to create, and the references of its pods without us.
struct Workload {
    api_version: &'static str,
    kind: &'static str,
    plural: &'static str,
    spec: fn(&Namespace) -> Value,
    /// References that the pods have beside ours.
    own_references: &'static [&'static str],
}

impl Workload {
    async fn is_served(&self, world: &Arc<World>) -> Outcome {
        let namespace = Namespace::new(world).await;
        let twin = json!({ "ecr-pull-secrets.dev/inject": "false" });
        let twin = Namespace::in_region(world, namespace.region.clone(), twin).await;
        let (served, plain) = (self.pod(&namespace).await, self.pod(&twin).await);
        assert_eq!(references(&plain), self.own_references);
        let wanted: Vec<&str> = self
            .own_references
            .iter()
            .copied()
            .chain([SECRET])
            .collect();
        assert_eq!(references(&served), wanted);
        assert_eq!(essence(&served), essence(&plain));
        namespace.assert_opens().await;
        assert!(twin.secret().await.is_none());
        Ok(())
    }

    /// Creates the object and returns its first pod.
    async fn pod(&self, namespace: &Namespace) -> Pod {
        let resource =
            ApiResource::from_gvk_with_plural(&gvk(self.api_version, self.kind), self.plural);
        let api: Api<DynamicObject> =
            Api::namespaced_with(namespace.client.clone(), &namespace.name, &resource);
        let object = json!({
            "apiVersion": self.api_version,
            "kind": self.kind,
            "metadata": { "name": "app" },
            "spec": (self.spec)(namespace),
        });
        let object: DynamicObject = serde_json::from_value(object).expect("an object");
        api.create(&PostParams::default(), &object)
            .await
            .expect("the API server takes the object");
        namespace.pods(1).await.remove(0)
    }
}

fn gvk(api_version: &str, kind: &str) -> GroupVersionKind {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    GroupVersionKind::gvk(group, version, kind)
}

/// A pod without our reference, and without what differs between any two pods.
fn essence(pod: &Pod) -> Value {
    let mut spec = serde_json::to_value(&pod.spec).expect("a spec is JSON");
    let references = spec["imagePullSecrets"].take();
    let others: Vec<&Value> = references
        .as_array()
        .into_iter()
        .flatten()
        .filter(|each| each["name"] != SECRET)
        .collect();
    spec["imagePullSecrets"] = json!(others);
    let mut text = json!({
        "spec": spec,
        "labels": pod.labels(),
        "annotations": pod.annotations(),
        "finalizers": pod.finalizers(),
    })
    .to_string();
    // The volume of the ServiceAccount's token has a random name.
    while let Some(at) = text.find("kube-api-access-") {
        text.replace_range(at..at + "kube-api-access-".len() + 5, "token-volume");
    }
    for label in [
        "controller-uid",
        "batch.kubernetes.io/controller-uid",
        "batch.kubernetes.io/cronjob-scheduled-timestamp",
    ] {
        let value = pod.labels().get(label).or(pod.annotations().get(label));
        text = value.map_or(text.clone(), |value| text.replace(value.as_str(), "VALUE"));
    }
    serde_json::from_str(&text).expect("still JSON")
}

fn template(namespace: &Namespace) -> Value {
    json!({
        "metadata": { "labels": { "app": "app" } },
        "spec": { "containers": [{ "name": "app", "image": namespace.image("app") }] },
    })
}

fn selector() -> Value {
    json!({ "matchLabels": { "app": "app" } })
}

async fn deployment_gets_the_reference(world: Arc<World>) -> Outcome {
    let spec =
        |namespace: &Namespace| json!({ "selector": selector(), "template": template(namespace) });
    let (api_version, kind, plural) = ("apps/v1", "Deployment", "deployments");
    Workload {
        api_version,
        kind,
        plural,
        spec,
        own_references: &[],
    }
    .is_served(&world)
    .await
}

async fn statefulset_whose_account_has_pull_secrets_gets_reference(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let account = json!({
        "metadata": { "name": "with-secrets" },
        "imagePullSecrets": [{ "name": "of-the-account" }, { "name": "another" }],
    });
    namespace.create::<ServiceAccount>(account).await?;
    let spec = |namespace: &Namespace| {
        let mut template = template(namespace);
        template["spec"]["serviceAccountName"] = json!("with-secrets");
        json!({ "serviceName": "app", "selector": selector(), "template": template })
    };
    let (api_version, kind, plural) = ("apps/v1", "StatefulSet", "statefulsets");
    let own_references = &["of-the-account", "another"];
    let pod = Workload {
        api_version,
        kind,
        plural,
        spec,
        own_references,
    }
    .pod(&namespace)
    .await;
    assert_eq!(references(&pod), ["of-the-account", "another", SECRET]);
    namespace.assert_opens().await;
    Ok(())
}

async fn daemonset_gets_the_reference(world: Arc<World>) -> Outcome {
    // The controller creates a pod for each node, ready or not.
    let nodes: Api<Node> = Api::all(world.cluster.client.clone());
    let node: Node = serde_json::from_value(json!({ "metadata": { "name": "node" } }))?;
    nodes.create(&PostParams::default(), &node).await?;
    let spec =
        |namespace: &Namespace| json!({ "selector": selector(), "template": template(namespace) });
    let (api_version, kind, plural) = ("apps/v1", "DaemonSet", "daemonsets");
    Workload {
        api_version,
        kind,
        plural,
        spec,
        own_references: &[],
    }
    .is_served(&world)
    .await
}

async fn job_gets_the_reference(world: Arc<World>) -> Outcome {
    let spec = |namespace: &Namespace| {
        let mut template = template(namespace);
        template["spec"]["restartPolicy"] = json!("Never");
        json!({ "template": template })
    };
    let (api_version, kind, plural) = ("batch/v1", "Job", "jobs");
    Workload {
        api_version,
        kind,
        plural,
        spec,
        own_references: &[],
    }
    .is_served(&world)
    .await
}

async fn cronjob_gets_the_reference(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let image = namespace.image("app");
    let manifest = json!({
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": { "name": "app", "namespace": namespace.name },
        "spec": { "schedule": "0 3 * * *", "jobTemplate": { "spec": { "template": { "spec": {
            "restartPolicy": "Never",
            "containers": [{ "name": "app", "image": image }],
        }}}}},
    });
    let cronjobs: Api<k8s_openapi::api::batch::v1::CronJob> = namespace.api();
    cronjobs
        .create(&PostParams::default(), &serde_json::from_value(manifest)?)
        .await?;
    // The test does not wait until 3 AM.
    let mut kubectl = world.kubectl();
    kubectl.args([
        "-n",
        &namespace.name,
        "create",
        "job",
        "now",
        "--from=cronjob/app",
    ]);
    crate::harness::tools::run(&mut kubectl);
    let pod = namespace.pods(1).await.remove(0);
    assert_eq!(references(&pod), [SECRET]);
    namespace.assert_opens().await;
    Ok(())
}

async fn replication_controller_gets_the_reference(world: Arc<World>) -> Outcome {
    let spec = |namespace: &Namespace| json!({ "template": template(namespace) });
    let (api_version, kind, plural) = ("v1", "ReplicationController", "replicationcontrollers");
    Workload {
        api_version,
        kind,
        plural,
        spec,
        own_references: &[],
    }
    .is_served(&world)
    .await
}

const POD: (&str, &str, &str) = ("v1", "Pod", "pods");

async fn bare_pod_gets_the_reference(world: Arc<World>) -> Outcome {
    let spec = |namespace: &Namespace| template(namespace)["spec"].take();
    let (api_version, kind, plural) = POD;
    Workload {
        api_version,
        kind,
        plural,
        spec,
        own_references: &[],
    }
    .is_served(&world)
    .await
}

async fn pod_with_init_container_gets_the_reference(world: Arc<World>) -> Outcome {
    let spec = |namespace: &Namespace| {
        json!({
            "initContainers": [{ "name": "init", "image": namespace.image("init") }],
            "containers": [{ "name": "app", "image": "docker.io/library/busybox:1" }],
        })
    };
    let (api_version, kind, plural) = POD;
    Workload {
        api_version,
        kind,
        plural,
        spec,
        own_references: &[],
    }
    .is_served(&world)
    .await
}

async fn pod_with_sidecar_gets_the_reference(world: Arc<World>) -> Outcome {
    let spec = |namespace: &Namespace| {
        let image = namespace.image("side-car");
        json!({
            "initContainers": [{ "name": "side-car", "image": image, "restartPolicy": "Always" }],
            "containers": [{ "name": "app", "image": "docker.io/library/busybox:1" }],
        })
    };
    let (api_version, kind, plural) = POD;
    Workload {
        api_version,
        kind,
        plural,
        spec,
        own_references: &[],
    }
    .is_served(&world)
    .await
}

async fn pod_with_image_volume_gets_the_reference(world: Arc<World>) -> Outcome {
    let spec = |namespace: &Namespace| {
        json!({
            "containers": [{
                "name": "app",
                "image": "docker.io/library/busybox:1",
                "volumeMounts": [{ "name": "model", "mountPath": "/model" }],
            }],
            "volumes": [{ "name": "model", "image": { "reference": namespace.image("model") } }],
        })
    };
    let (api_version, kind, plural) = POD;
    Workload {
        api_version,
        kind,
        plural,
        spec,
        own_references: &[],
    }
    .is_served(&world)
    .await
}

async fn pod_with_own_pull_secrets_keeps_them(world: Arc<World>) -> Outcome {
    let spec = |namespace: &Namespace| {
        let mut spec = template(namespace)["spec"].take();
        spec["imagePullSecrets"] = json!([{ "name": "mine" }, { "name": "and-mine" }]);
        spec
    };
    let (api_version, kind, plural) = POD;
    let own_references = &["mine", "and-mine"];
    Workload {
        api_version,
        kind,
        plural,
        spec,
        own_references,
    }
    .is_served(&world)
    .await
}
