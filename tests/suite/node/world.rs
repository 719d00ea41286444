//! A control plane with a node, the stand-in behind the ECR hosts, and ecr-pull-secrets as a user
//! would install it: the image, the chart's defaults, a Secret with AWS keys.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use aws_stand_in::client::{Client as Aws, Region};
use aws_stand_in::{DEFAULT_ACCESS_KEY_ID, DEFAULT_SECRET_ACCESS_KEY};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::images::{self, ARCHITECTURE};
use super::pods::pulled;
use super::workloads::{deployment, submit};
use crate::harness::cluster::Cluster;
use crate::harness::interrupt::clean_up_on_interrupt;
use crate::harness::namespace::{ACCOUNT, Namespace};
use crate::harness::tools::{root, run, tool};
use crate::harness::world::{OURS, helm, install_chart, keep};

/// The region of all registries here.
pub const REGION: &str = "node-land-1";
/// The second account, with registries of its own.
pub const OTHER_ACCOUNT: &str = "210987654321";

/// The cluster.
pub struct NodeWorld {
    /// With the node.
    pub cluster: Cluster,
    /// The stand-in for AWS, and the registry.
    pub aws: Aws,
    /// From the first command of the install until a pod with an image of ECR ran.
    pub install_to_running: Duration,
    _stand_in: aws_stand_in::Handle,
    directory: TempDir,
}

static WORLD: OnceCell<Arc<NodeWorld>> = OnceCell::const_new();

impl NodeWorld {
    /// The one world; the first caller starts it.
    pub async fn get() -> Arc<Self> {
        WORLD
            .get_or_init(|| async { Arc::new(Self::start().await) })
            .await
            .clone()
    }

    /// The one world, if any test asked for it.
    pub fn if_started() -> Option<Arc<Self>> {
        WORLD.get().cloned()
    }

    async fn start() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("ecr-pull-secrets-")
            .disable_cleanup(keep())
            .tempdir()
            .unwrap();
        clean_up_on_interrupt(directory.path().to_owned(), || {
            if let Some(world) = Self::if_started() {
                world.stop();
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stand_in = aws_stand_in::serve(listener).expect("the stand-in starts");
        let aws = stand_in.client();
        let cluster = Cluster::start(&directory.path().join("cluster"), &flags(&aws)).await;
        let install_to_running = Duration::ZERO;
        let mut this = Self {
            cluster,
            aws,
            install_to_running,
            _stand_in: stand_in,
            directory,
        };
        this.fill_registry().await;
        let start = Instant::now();
        this.install();
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

    /// What runs until it is told to stop, and what ends at once. Their content differs: the kubelet
    /// remembers by content who may use an image without asking.
    async fn fill_registry(&self) {
        let pause = std::fs::read(tool("cluster").with_file_name("pause")).expect("pause");
        for repository in ["app", "model", "side-car", "debugger"] {
            let layout = images::layout(repository, &pause);
            self.aws
                .upload(repository, "v1", layout)
                .await
                .expect("an upload");
        }
        let layout = images::layout("tool", &images::ending_program(self.directory.path()));
        self.aws
            .upload("tool", "v1", layout)
            .await
            .expect("an upload");
    }

    /// The chart with its defaults, and no value more than what leads to the stand-in, into a
    /// namespace that admits nothing but restricted pods. The keys are spelt as in the articles
    /// about CronJobs.
    fn install(&self) {
        self.run_kubectl(&format!("create namespace {OURS}"));
        self.run_kubectl(&format!(
            "label namespace {OURS} pod-security.kubernetes.io/enforce=restricted"
        ));
        self.run_kubectl(&format!(
            "-n {OURS} create secret generic ecr-pull-secrets-aws \
             --from-literal=aws_access_key_id={DEFAULT_ACCESS_KEY_ID} \
             --from-literal=aws_secret_access_key={DEFAULT_SECRET_ACCESS_KEY}"
        ));
        // Pods reach what the machine shares at the node's address.
        let node = self.cluster.report["node"]["node_ip"]
            .as_str()
            .expect("an address");
        let url = format!("http://{node}:{}", port(&self.aws));
        let environment = json!([{ "name": "AWS_ENDPOINT_URL", "value": url }]);
        let to_the_stand_in = format!("extraEnv={environment}");
        install_chart(&self.cluster.kubeconfig, &["--set-json", &to_the_stand_in]);
        self.run_kubectl(&format!(
            "-n {OURS} rollout status deployment {OURS} --timeout=120s"
        ));
    }

    /// The chart with other values, and else those that it has.
    pub fn upgrade(&self, flags: &[&str]) {
        let mut helm = helm("upgrade", &self.cluster.kubeconfig);
        run(helm.arg("--reuse-values").args(flags));
    }

    /// Waits until all replicas are new ones.
    pub fn roll_out(&self) {
        self.run_kubectl(&format!(
            "-n {OURS} rollout status deployment {OURS} --timeout=180s"
        ));
    }

    /// Runs a line of `kubectl` that has no spaces in its words.
    pub fn run_kubectl(&self, line: &str) -> String {
        run(self.kubectl().args(line.split_whitespace()))
    }

    /// A command of `kubectl`, as an administrator.
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(tool("kubectl"));
        command.arg("--kubeconfig").arg(&self.cluster.kubeconfig);
        command
    }

    /// What the API server logs.
    pub fn api_server_log(&self) -> PathBuf {
        self.directory
            .path()
            .join("cluster/logs/kube-apiserver.log")
    }

    /// The part of AWS where all registries are.
    pub fn region(&self) -> Region {
        self.aws.region(REGION)
    }

    /// Another part of AWS, for tests that change the lifetime of its tokens.
    pub fn second_region(&self) -> Region {
        let region = self.aws.region("node-land-2");
        let (host, port) = (region.host(ACCOUNT), port(&self.aws));
        self.cluster
            .command(&format!("registry {host} http://127.0.0.1:{port}"));
        region
    }

    /// A new namespace.
    pub async fn namespace(&self) -> Namespace {
        self.labelled_namespace(json!({})).await
    }

    /// A new namespace with labels.
    pub async fn labelled_namespace(&self, labels: Value) -> Namespace {
        Namespace::of_cluster(self.cluster.client.clone(), self.region(), labels).await
    }

    /// Ends all of it.
    pub fn stop(&self) {
        self.cluster.stop();
        if keep() {
            println!("kept: {}", self.directory.path().display());
        } else {
            let _ = std::fs::remove_dir_all(self.directory.path());
        }
    }
}

fn flags(aws: &Aws) -> Vec<String> {
    let port = port(aws);
    let region = aws.region(REGION);
    let mut flags = vec![
        "--node".to_owned(),
        format!("--containerd={}", tool("containerd").display()),
        format!("--image={}", image().display()),
        format!("--host-port={port}"),
    ];
    for account in [ACCOUNT, OTHER_ACCOUNT] {
        let host = region.host(account);
        flags.push(format!("--registry={host}=http://127.0.0.1:{port}"));
    }
    flags
}

/// Where the stand-in listens on loopback.
fn port(aws: &Aws) -> &str {
    aws.url().rsplit(':').next().expect("a port")
}

/// The archive that `make image` makes.
fn image() -> PathBuf {
    let path = root().join(format!("target/image/ecr-pull-secrets-{ARCHITECTURE}.tar"));
    assert!(
        path.exists(),
        "run make image first: there is no {}",
        path.display()
    );
    path
}
