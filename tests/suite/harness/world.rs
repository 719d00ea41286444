//! A world: a control plane, AWS, our chart and replicas. [`Builder`] makes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use aws_stand_in::client::Client as Aws;
use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::builder::Builder;
use super::cluster::Cluster;
use super::launch::Launch;
use super::namespace::SECRET;
use super::replica::Replica;
use super::tools::{run, tool};
use super::{LIMIT, eventually};

/// Our own namespace, and the name of everything in it.
pub const OURS: &str = "ecr-pull-secrets";
/// The default configuration.
pub const CONFIG: &str = "{apiVersion: ecr-pull-secrets.dev/v1, kind: Config}\n";

/// All that a group of tests shares.
pub struct World {
    /// The control plane.
    pub cluster: Cluster,
    /// The stand-in for AWS.
    pub aws: Aws,
    /// Rights of our ServiceAccount, as the chart gives them.
    pub kubeconfig: PathBuf,
    pub(super) options: Builder,
    pub(super) directory: TempDir,
    pub(super) replicas: Mutex<Vec<Arc<Replica>>>,
    /// Replicas that were ever started: each has a name of its own.
    pub(super) started: AtomicU32,
    /// It stops when this is dropped.
    pub(super) _stand_in: aws_stand_in::Handle,
}

/// The runtime of all tests.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("a runtime"))
}

impl World {
    /// A builder with the defaults.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The replicas that this world manages and has not killed.
    pub fn replicas(&self) -> Vec<Arc<Replica>> {
        self.managed().clone()
    }

    /// The two replicas of a world that was built with two.
    pub fn pair(&self) -> [Arc<Replica>; 2] {
        let replicas = self.replicas().try_into();
        replicas.unwrap_or_else(|_| panic!("not two replicas"))
    }

    /// Starts a managed replica. The API server does not call it before [`World::route`].
    pub fn add_replica(&self, change: impl FnOnce(Launch) -> Launch) -> Arc<Replica> {
        let replica = Arc::new(change(self.next_replica()).start());
        self.managed().push(replica.clone());
        replica
    }

    /// Routes the Service to the managed replicas.
    pub async fn route(&self) {
        self.route_to(&self.replicas()).await;
    }

    /// Waits until replicas are ready, and routes the Service to them, in turn.
    pub async fn route_to(&self, replicas: &[Arc<Replica>]) {
        let mut addresses = Vec::new();
        for replica in replicas {
            replica.ready().await;
            addresses.push(replica.https.to_string());
        }
        self.cluster.route(&format!("{OURS}/{OURS}"), &addresses);
    }

    /// The managed replica that says that it leads, once one does.
    pub async fn leader(&self) -> Arc<Replica> {
        eventually("a leader", LIMIT, || async {
            for replica in self.replicas() {
                if replica.metric("ecr_pull_secrets_leader", &[]).await > 0.0 {
                    return Some(replica);
                }
            }
            None
        })
        .await
    }

    /// Kills a managed replica, as a node that runs out of memory does.
    pub fn kill(&self, replica: &Arc<Replica>) {
        replica.stop();
        self.managed().retain(|other| !Arc::ptr_eq(other, replica));
    }

    /// Hands over the managed replicas. The caller stops them.
    pub fn take_replicas(&self) -> Vec<Arc<Replica>> {
        std::mem::take(&mut *self.managed())
    }

    /// A replica that the caller manages. The API server does not call it.
    pub fn replica(&self, name: &str) -> Launch {
        let mut environment = aws_environment(self.aws.url());
        environment.extend(self.options.environment.clone());
        Launch {
            name: name.to_owned(),
            directory: self.directory.path().to_owned(),
            kubeconfig: self.kubeconfig.clone(),
            certificates: self.certificates(),
            config: self.options.config.clone(),
            environment,
            log_level: self.options.log_level,
            log_format: "json",
            max_open_files: None,
            group: None,
        }
    }

    /// The same with the next free name.
    pub fn next_replica(&self) -> Launch {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        self.replica(&format!("replica-{number}"))
    }

    /// Folder of the serving certificate, unless the replicas sign their own.
    pub fn certificates(&self) -> Option<PathBuf> {
        (!self.options.is_self_signed).then(|| self.directory.path().join("certificates"))
    }

    /// Folder of this world: logs, certificates, kubeconfigs and the control plane's data.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What every process of ours logged so far: names and texts.
    pub fn logs(&self) -> Vec<(String, String)> {
        logs(self.directory.path())
    }

    /// How often our replicas called the API server about a namespace or an object in it.
    pub fn calls_about(&self, namespace: &str) -> usize {
        let calls = self.calls(namespace).into_iter();
        let is_one = |call: &Value| call["objectRef"]["namespace"] == namespace;
        calls.filter(is_one).count()
    }

    /// Our replicas' calls of the API server whose lines in the audit log contain a text.
    pub fn calls(&self, text: &str) -> Vec<Value> {
        let ours = format!("system:serviceaccount:{OURS}:{OURS}");
        let events = self.audit_events(text).into_iter();
        events
            .filter(|call| call["user"]["username"] == ours)
            .collect()
    }

    /// The calls of all users whose lines in the audit log contain a text.
    pub fn audit_events(&self, text: &str) -> Vec<Value> {
        let log = self.cluster.report["audit_log"].as_str().expect("a path");
        let log = fs::read_to_string(log).expect("an audit log");
        let with_text = log.lines().filter(|line| line.contains(text));
        // Its last line may be half written.
        with_text
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// How often our replicas wrote the pull Secret of a namespace: the successful calls, as the audit log of the API server has
    /// them. A refused one, such as after a conflict, is none.
    pub fn writes(&self, namespace: &str) -> usize {
        let is_write = |call: &Value| {
            let (object, code) = (&call["objectRef"], call["responseStatus"]["code"].as_u64());
            let is_of_secret = object["resource"] == "secrets" && object["namespace"] == namespace;
            is_of_secret
                && object["name"] == SECRET
                && ["create", "patch", "update"]
                    .contains(&call["verb"].as_str().unwrap_or_default())
                && call["stage"] == "ResponseComplete"
                && code.is_some_and(|code| code < 300)
        };
        self.calls(namespace).into_iter().filter(is_write).count()
    }

    /// A command of `kubectl`, as an administrator.
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(tool("kubectl"));
        command.arg("--kubeconfig").arg(&self.cluster.kubeconfig);
        command
    }

    /// Runs a line of `kubectl` that has no spaces in its words.
    pub fn run_kubectl(&self, line: &str) -> String {
        run(self.kubectl().args(line.split_whitespace()))
    }

    /// Stops replicas and control plane, and removes the folder.
    pub fn stop(&self) {
        for replica in self.replicas() {
            replica.stop();
        }
        self.cluster.stop();
        if keep() {
            println!("kept: {}", self.directory.path().display());
        } else {
            let _ = fs::remove_dir_all(self.directory.path());
        }
    }

    fn managed(&self) -> MutexGuard<'_, Vec<Arc<Replica>>> {
        self.replicas.lock()
    }
}

/// Whether logs and data are kept for inspection: `SUITE_KEEP=1`.
pub fn keep() -> bool {
    std::env::var_os("SUITE_KEEP").is_some()
}

/// What the processes logged whose files are in a folder: names and texts.
fn logs(directory: &Path) -> Vec<(String, String)> {
    let files = fs::read_dir(directory)
        .expect("a folder")
        .flatten()
        .map(|entry| entry.path());
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .map(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let text = fs::read(&path).expect("a log");
            (
                name.into_owned(),
                String::from_utf8_lossy(&text).into_owned(),
            )
        })
        .collect()
}

/// The environment of a process that uses the stand-in at this address.
fn aws_environment(url: &str) -> Vec<(String, String)> {
    [
        ("AWS_ENDPOINT_URL", url),
        ("AWS_ACCESS_KEY_ID", aws_stand_in::DEFAULT_ACCESS_KEY_ID),
        (
            "AWS_SECRET_ACCESS_KEY",
            aws_stand_in::DEFAULT_SECRET_ACCESS_KEY,
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}
