//! A world for measurements: the binary that ships, as the image starts it; and ways to fill it.

use std::ops::{Deref, Range};
use std::path::PathBuf;
use std::sync::Arc;

use aws_stand_in::client::Region;
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret, ServiceAccount};
use kube::api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;

use crate::harness::namespace::{ACCOUNT, SECRET, pod};
use crate::harness::replica::Replica;
use crate::harness::tools::root;
use crate::harness::world::OURS;
use crate::harness::{LIMIT, World, eventually, review};

/// Connections of each bulk writer, ours included.
pub const AT_A_TIME: usize = 16;

/// A world without replicas at first.
pub struct Site {
    world: Arc<World>,
    /// Client of our ServiceAccount, with its rights and under its guards.
    pub ours: Client,
    /// Region of every registry.
    pub region: Region,
}

impl Deref for Site {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl Site {
    /// Starts control plane and AWS, and installs the chart.
    pub async fn start() -> Self {
        let builder = World::builder().log_level("info");
        let world = builder.environment(image_environment()).start().await;
        let kubeconfig = Kubeconfig::read_from(&world.kubeconfig).expect("a kubeconfig");
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .expect("a kubeconfig");
        Self {
            ours: Client::try_from(config).expect("a client"),
            region: world.aws.region("eu-north-1"),
            world,
        }
    }

    /// Starts a replica with the defaults.
    pub fn start_replica(&self) -> Replica {
        self.next_replica().start()
    }

    /// Folder of the serving certificate.
    pub fn certificates(&self) -> PathBuf {
        self.world.certificates().expect("files")
    }

    /// Creates namespaces with these numbers, and waits for their ServiceAccounts.
    pub async fn namespaces(&self, numbers: Range<usize>) {
        let count = numbers.end;
        let namespaces: Api<Namespace> = Api::all(self.cluster.client.clone());
        stream::iter(numbers)
            .for_each_concurrent(AT_A_TIME, |number| {
                let namespaces = namespaces.clone();
                async move {
                    let metadata = ObjectMeta {
                        name: Some(name(number)),
                        ..ObjectMeta::default()
                    };
                    let namespace = Namespace {
                        metadata,
                        ..Namespace::default()
                    };
                    let params = PostParams::default();
                    namespaces.create(&params, &namespace).await.expect("one");
                }
            })
            .await;
        let accounts: Api<ServiceAccount> = Api::all(self.cluster.client.clone());
        eventually("the ServiceAccounts", 10 * LIMIT, || async {
            let params = ListParams::default().fields("metadata.name=default");
            let accounts = accounts.list_metadata(&params).await.ok()?;
            (accounts.items.len() >= count).then_some(())
        })
        .await;
    }

    /// Creates a pod in each of these namespaces that names our Secret, so that it wants the registry
    /// and counts as not missed. It stays Pending: no scheduler takes it.
    pub async fn pods(&self, numbers: Range<usize>) {
        let mut pod = pod("pod", &format!("{}/app:v1", self.region.host(ACCOUNT)));
        pod["spec"]["imagePullSecrets"] = json!([{ "name": SECRET }]);
        pod["spec"]["schedulerName"] = json!("none");
        let pod: &Pod = &serde_json::from_value(pod).expect("a pod");
        stream::iter(numbers)
            .for_each_concurrent(AT_A_TIME, |number| {
                let pods: Api<Pod> = Api::namespaced(self.cluster.client.clone(), &name(number));
                async move {
                    let created = pods.create(&PostParams::default(), pod).await;
                    created.expect("a pod");
                }
            })
            .await;
    }

    /// Reports the pods of these namespaces as running, as a kubelet does.
    pub async fn run_pods(&self, numbers: Range<usize>) {
        let status = &Patch::Merge(json!({ "status": { "phase": "Running" } }));
        stream::iter(numbers)
            .for_each_concurrent(AT_A_TIME, |number| {
                let pods: Api<Pod> = Api::namespaced(self.cluster.client.clone(), &name(number));
                async move {
                    let params = PatchParams::default();
                    let patched = pods.patch_status("pod", &params, status).await;
                    patched.expect("a status");
                }
            })
            .await;
    }

    /// The pull Secret that a replica writes in the first namespace.
    pub async fn first_secret(&self, replica: &Replica) -> Secret {
        let image = format!("{}/app:v1", self.region.host(ACCOUNT));
        let review = review::of_pod(&name(0), &pod("pod", &image));
        eventually("the pull Secret", LIMIT, || async {
            review::answer(replica, &review).await;
            self.secret().await
        })
        .await
    }

    /// The pull Secret of the first namespace.
    pub async fn secret(&self) -> Option<Secret> {
        let secrets: Api<Secret> = Api::namespaced(self.ours.clone(), &name(0));
        secrets.get_opt(SECRET).await.expect("an answer")
    }

    /// Applies the content of a pull Secret in namespaces, as our account, over 16 connections and
    /// without a read: the bare writer.
    pub async fn write(&self, secret: &Secret, count: usize) {
        let metadata = ObjectMeta {
            name: secret.metadata.name.clone(),
            labels: secret.metadata.labels.clone(),
            annotations: secret.metadata.annotations.clone(),
            ..ObjectMeta::default()
        };
        let secret = Secret {
            metadata,
            type_: secret.type_.clone(),
            data: secret.data.clone(),
            ..Secret::default()
        };
        let params = PatchParams::apply(OURS).force();
        stream::iter(0..count)
            .for_each_concurrent(AT_A_TIME, |number| {
                let secrets: Api<Secret> = Api::namespaced(self.ours.clone(), &name(number));
                let (params, patch) = (&params, Patch::Apply(&secret));
                async move {
                    let written = secrets.patch_metadata(SECRET, params, &patch).await;
                    written.expect("it is ours to write");
                }
            })
            .await;
    }
}

/// Name of a namespace.
pub fn name(number: usize) -> String {
    format!("bench-{number:05}")
}

/// A Secret that we do not manage.
pub fn unrelated(number: usize) -> Secret {
    serde_json::from_value(json!({
        "metadata": {
            "name": format!("unrelated-{number:06}"),
            "labels": { "app.kubernetes.io/name": "something-else", "team": "another" },
        },
        "type": "Opaque",
        "stringData": { "password": "x".repeat(300), "username": "another" },
    }))
    .expect("a Secret")
}

/// Environment that the image sets.
pub fn image_environment() -> Vec<(String, String)> {
    let dockerfile = std::fs::read_to_string(root().join("Dockerfile")).expect("a Dockerfile");
    let (_, last_stage) = dockerfile.rsplit_once("\nFROM ").expect("a stage");
    let lines = last_stage.lines();
    let pairs = lines
        .filter_map(|line| line.strip_prefix("ENV "))
        .flat_map(str::split_whitespace)
        .filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
