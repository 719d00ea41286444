//! A world with a node: ecr-pull-secrets as a user installs it, from the image, with the chart's
//! defaults and a Secret with AWS keys.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_stand_in::client::Region;
use aws_stand_in::issuer_host::IssuerHost;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::images::{self, ARCHITECTURE};
use super::pods::pulled;
use super::workloads::{deployment, submit};
use crate::harness::World;
use crate::harness::builder::port;
use crate::harness::namespace::{ACCOUNT, Namespace};
use crate::harness::tools::{root, run, tool};
use crate::oidc::site::{INTERNAL, flags};

/// Region of the registries.
pub const REGION: &str = "node-land-1";
/// A second account with registries.
pub const OTHER_ACCOUNT: &str = "210987654321";

/// A world whose replicas run on a node.
pub struct NodeWorld {
    world: Arc<World>,
    /// The public host of the cluster's issuer.
    pub issuer: IssuerHost,
    /// Time from the first command of the install until a pod with an ECR image ran.
    pub install_to_running: Duration,
}

impl Deref for NodeWorld {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl NodeWorld {
    /// Starts control plane, node and AWS, installs the chart, and runs a first pod.
    pub async fn start() -> Self {
        let issuer = IssuerHost::start().await.expect("a host");
        let flags = flags(&issuer, &[&issuer.url(), INTERNAL]);
        let builder = World::builder().api_server_flags(&flags).node(&image());
        let builder = builder.registry(REGION, ACCOUNT);
        let world = builder
            .registry(REGION, OTHER_ACCOUNT)
            .start_cluster()
            .await;
        let mut this = Self {
            world,
            issuer,
            install_to_running: Duration::ZERO,
        };
        this.fill_registry().await;
        let start = Instant::now();
        this.install().await;
        let installed = start.elapsed();
        let namespace = this.namespace().await;
        submit(&this, &namespace, &deployment(&namespace, 1));
        pulled(&namespace, 1).await;
        this.install_to_running = start.elapsed();
        println!(
            "rolled out {:.1} s after the install began, the first pod ran after {:.1} s",
            installed.as_secs_f64(),
            this.install_to_running.as_secs_f64()
        );
        this
    }

    /// Uploads images that run until they are stopped, and one that ends at once. Their content
    /// differs, because the kubelet remembers by content which pods may use an image without a pull.
    async fn fill_registry(&self) {
        let pause = std::fs::read(tool("cluster").with_file_name("pause")).expect("pause");
        for repository in ["app", "model", "side-car", "debugger"] {
            let layout = images::layout(repository, &pause);
            self.aws
                .upload(repository, "v1", layout)
                .await
                .expect("an upload");
        }
        let layout = images::layout("tool", &images::ending_program(self.directory()));
        self.aws
            .upload("tool", "v1", layout)
            .await
            .expect("an upload");
    }

    /// Upgrades the chart with further values, and keeps the others.
    pub fn upgrade(&self, flags: &[&str]) {
        run(self.helm("upgrade").arg("--reuse-values").args(flags));
    }

    /// Waits until all replicas are new ones.
    pub fn roll_out(&self) {
        self.rolled_out_within(180);
    }

    /// Log of the API server.
    pub fn api_server_log(&self) -> PathBuf {
        self.directory().join("cluster/logs/kube-apiserver.log")
    }

    /// Region of the registries.
    pub fn region(&self) -> Region {
        self.aws.region(REGION)
    }

    /// A second region, for tests that change the lifetime of its tokens.
    pub fn second_region(&self) -> Region {
        let region = self.aws.region("node-land-2");
        let (host, port) = (region.host(ACCOUNT), port(&self.aws));
        self.cluster
            .command(&format!("registry {host} http://127.0.0.1:{port}"));
        region
    }

    /// Creates a namespace.
    pub async fn namespace(&self) -> Namespace {
        self.labelled_namespace(json!({})).await
    }

    /// Creates a namespace with labels.
    pub async fn labelled_namespace(&self, labels: Value) -> Namespace {
        Namespace::in_region(self, self.region(), labels).await
    }
}

/// Archive that `make image` builds.
fn image() -> PathBuf {
    let path = root().join(format!("target/image/ecr-pull-secrets-{ARCHITECTURE}.tar"));
    assert!(
        path.exists(),
        "run make image first: there is no {}",
        path.display()
    );
    path
}
