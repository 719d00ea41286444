//! A control plane, AWS, the chart, and replicas of the binary that ships; and a way to fill it.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_stand_in::client::{Client as Aws, Region};
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{Namespace, Secret, ServiceAccount};
use kube::api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::harness::cluster::Cluster;
use crate::harness::namespace::{ACCOUNT, SECRET, pod};
use crate::harness::replica::{Replica, Settings};
use crate::harness::tools::root;
use crate::harness::world::{
    CONFIG, OURS, aws_environment, install, issue_certificates, write_kubeconfig,
};
use crate::harness::{LIMIT, eventually, review};

/// Connections of whoever writes much at once, ours included.
pub const AT_A_TIME: usize = 16;

/// See above.
pub struct Site {
    /// As an administrator.
    pub cluster: Cluster,
    /// As our ServiceAccount, with its rights and under its guards.
    pub ours: Client,
    /// Of every registry.
    pub region: Region,
    started: AtomicU32,
    directory: TempDir,
    _stand_in: aws_stand_in::Handle,
}

impl Site {
    /// Starts it, without a replica.
    pub async fn start() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("ecr-pull-secrets-bench-")
            .tempdir()
            .expect("a folder");
        let path = directory.path();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let stand_in = aws_stand_in::serve(listener).expect("the stand-in starts");
        let aws: Aws = stand_in.client();
        let cluster = Cluster::start(&path.join("cluster"), &[]).await;
        let ca = issue_certificates(&path.join("certificates"));
        install(&cluster.kubeconfig, &ca, &[]);
        let kubeconfig = path.join("ours.kubeconfig");
        write_kubeconfig(&cluster, &kubeconfig).await;
        let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .expect("a kubeconfig");
        Self {
            cluster,
            ours: Client::try_from(config).expect("a client"),
            region: aws.region("bench-land-1"),
            started: AtomicU32::new(0),
            directory,
            _stand_in: stand_in,
        }
    }

    /// Starts a replica, as it would be by default.
    pub fn replica(&self) -> Replica {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let path = self.directory.path();
        let of_image = image_environment();
        let of_image = of_image
            .iter()
            .map(|(name, value)| (&**name, value.clone()));
        let mut environment = aws_environment(self.region.client().url());
        environment.extend(of_image);
        Replica::start(&Settings {
            directory: path,
            name: &format!("replica-{number}"),
            kubeconfig: &path.join("ours.kubeconfig"),
            certificates: Some(&path.join("certificates")),
            config: CONFIG,
            environment: &environment,
            log_level: "info",
        })
    }

    /// Where the serving certificate lies.
    pub fn certificates(&self) -> PathBuf {
        self.directory.path().join("certificates")
    }

    /// Makes namespaces with these numbers, each with its ServiceAccount.
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

    /// The pull Secret that a replica makes in the first namespace.
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
        secrets.get_opt(SECRET).await.expect("a look")
    }

    /// Writes the content of a pull Secret of ours into namespaces, as ours, over 16 connections
    /// and without a question: the bare writer.
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

/// A namespace's name.
pub fn name(number: usize) -> String {
    format!("bench-{number:05}")
}

/// A Secret that is none of our business.
pub fn unrelated(number: usize) -> Secret {
    serde_json::from_value(json!({
        "metadata": {
            "name": format!("unrelated-{number:06}"),
            "labels": { "app.kubernetes.io/name": "something-else", "team": "another" },
        },
        "type": "Opaque",
        "stringData": { "password": "x".repeat(300), "username": "somebody" },
    }))
    .expect("a Secret")
}

/// What the image sets for the process.
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
