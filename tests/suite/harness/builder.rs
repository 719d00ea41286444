//! Builds every world: of the suite's groups and of the benchmarks.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use aws_stand_in::client::Client as Aws;
use parking_lot::Mutex;
use tokio::net::TcpListener;

use super::cluster::Cluster;
use super::tools::tool;
use super::world::{CONFIG, World, keep};
use super::{certificates, interrupt};

/// What a world is made of. The default: the chart's defaults, certificates from files, no replica,
/// no node, logs at TRACE.
#[derive(Clone)]
pub struct Builder {
    pub(super) config: String,
    pub(super) is_self_signed: bool,
    pub(super) replicas: usize,
    pub(super) environment: Vec<(String, String)>,
    pub(super) log_level: &'static str,
    pub(super) helm_flags: Vec<String>,
    pub(super) node: Option<Node>,
    cluster_flags: Vec<String>,
}

/// A node that runs the Deployment and pulls from the stand-in.
#[derive(Clone)]
pub(super) struct Node {
    /// Archive of our image.
    image: PathBuf,
    /// Region and account of each registry.
    registries: Vec<(String, String)>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            config: CONFIG.to_owned(),
            is_self_signed: false,
            replicas: 0,
            environment: Vec::new(),
            log_level: "trace",
            helm_flags: Vec::new(),
            node: None,
            cluster_flags: Vec::new(),
        }
    }
}

impl Builder {
    /// Sets the replicas' configuration file.
    pub fn config(mut self, config: &str) -> Self {
        config.clone_into(&mut self.config);
        self
    }

    /// Lets the replicas sign their own certificate and set the `caBundle`.
    pub fn self_signed(mut self) -> Self {
        self.is_self_signed = true;
        self
    }

    /// Starts this number of replicas as processes, and routes the Service to them.
    pub fn replicas(mut self, count: usize) -> Self {
        self.replicas = count;
        self
    }

    /// Adds variables to the replicas' environment.
    #[allow(dead_code, reason = "the benchmarks set it")]
    pub fn environment(mut self, variables: Vec<(String, String)>) -> Self {
        self.environment.extend(variables);
        self
    }

    /// Sets the replicas' log level.
    #[allow(dead_code, reason = "the benchmarks set it")]
    pub fn log_level(mut self, level: &'static str) -> Self {
        self.log_level = level;
        self
    }

    /// Adds a value of the chart: `PATH=VALUE`.
    pub fn value(mut self, value: &str) -> Self {
        self.helm_flags
            .extend(["--set".to_owned(), value.to_owned()]);
        self
    }

    /// Adds a flag of the control plane: see `tests/cluster`.
    pub fn cluster_flag(mut self, flag: impl Into<String>) -> Self {
        self.cluster_flags.push(flag.into());
        self
    }

    /// Adds flags of the API server.
    pub fn api_server_flags(self, flags: &[String]) -> Self {
        flags.iter().fold(self, |builder, flag| {
            builder.cluster_flag(format!("--kube-apiserver-arg={flag}"))
        })
    }

    /// Has the API server log every call.
    pub fn audit_log(self) -> Self {
        self.cluster_flag("--audit")
    }

    /// Has the API server store JSON, so that a recorder can read etcd.
    pub fn json_storage(self) -> Self {
        self.cluster_flag("--kube-apiserver-arg=--storage-media-type=application/json")
    }

    /// Adds a node, on which the chart's Deployment runs this image instead of processes beside the
    /// cluster. Needs root and Linux.
    pub fn node(mut self, image: &Path) -> Self {
        self.node = Some(Node {
            image: image.to_owned(),
            registries: Vec::new(),
        });
        self.self_signed()
    }

    /// Lets the node pull from a registry of the stand-in.
    pub fn registry(mut self, region: &str, account: &str) -> Self {
        let node = self.node.as_mut().expect("a node comes first");
        node.registries
            .push((region.to_owned(), account.to_owned()));
        self
    }

    /// Starts the control plane and AWS, installs the chart, and starts the replicas.
    pub async fn start(self) -> Arc<World> {
        let world = self.start_cluster().await;
        world.install().await;
        world
    }

    /// Starts the control plane and AWS. [`World::install`] does the rest.
    pub async fn start_cluster(self) -> Arc<World> {
        let directory = tempfile::Builder::new()
            .prefix("ecr-pull-secrets-")
            .disable_cleanup(keep())
            .tempdir()
            .expect("a folder");
        interrupt::will_remove(directory.path());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let stand_in = aws_stand_in::serve(listener).expect("the stand-in starts");
        let aws = stand_in.client();
        let mut flags = self.cluster_flags.clone();
        flags.extend(self.node.iter().flat_map(|node| node.flags(&aws)));
        let cluster = Cluster::start(&directory.path().join("cluster"), &flags).await;
        if !self.is_self_signed {
            certificates::issue(&directory.path().join("certificates"));
        }
        let world = Arc::new(World {
            cluster,
            aws,
            kubeconfig: directory.path().join("ours.kubeconfig"),
            options: self,
            directory,
            replicas: Mutex::default(),
            started: AtomicU32::new(0),
            _stand_in: stand_in,
        });
        interrupt::will_stop(&world);
        world
    }
}

impl Node {
    fn flags(&self, aws: &Aws) -> Vec<String> {
        let port = port(aws);
        let mut flags = vec![
            "--node".to_owned(),
            format!("--containerd={}", tool("containerd").display()),
            format!("--image={}", self.image.display()),
            format!("--host-port={port}"),
        ];
        for (region, account) in &self.registries {
            let host = aws.region(region).host(account);
            flags.push(format!("--registry={host}=http://127.0.0.1:{port}"));
        }
        flags
    }
}

/// The stand-in's port on loopback.
pub fn port(aws: &Aws) -> &str {
    aws.url().rsplit(':').next().expect("a port")
}
