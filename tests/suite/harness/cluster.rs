//! A real control plane. It ends when its stdin does.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use parking_lot::Mutex;
use serde_json::Value;

use super::tools::tool;

/// etcd, kube-apiserver and kube-controller-manager on loopback.
pub struct Cluster {
    child: Mutex<Option<(Child, ChildStdin, BufReader<std::process::ChildStdout>)>>,
    /// Client of an administrator.
    pub client: Client,
    /// Kubeconfig of an administrator.
    pub kubeconfig: PathBuf,
    /// URL of the API server.
    pub server: String,
    /// Path of the CA certificate.
    pub ca: PathBuf,
    /// Line of JSON that `up` prints: addresses and paths.
    pub report: Value,
}

impl Cluster {
    /// Starts the control plane and waits until it is ready. `flags` go to `up`.
    pub async fn start(directory: &Path, flags: &[String]) -> Self {
        let mut command = Command::new(tool("cluster"));
        command.arg("up").arg("--dir").arg(directory).args(flags);
        if super::world::keep() {
            command.arg("--keep");
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the control plane starts");
        let stdin = child.stdin.take().expect("stdin is piped");
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut line = String::new();
        stdout
            .read_line(&mut line)
            .expect("the control plane prints its report");
        let report: Value = serde_json::from_str(&line).expect("a line of JSON");
        let text = |field: &str| report[field].as_str().expect("a text").to_owned();
        let kubeconfig = PathBuf::from(text("kubeconfig"));
        let config = kube::Config::from_custom_kubeconfig(
            Kubeconfig::read_from(&kubeconfig).expect("a kubeconfig"),
            &KubeConfigOptions::default(),
        )
        .await
        .expect("a kubeconfig");
        Self {
            child: Mutex::new(Some((child, stdin, stdout))),
            client: Client::try_from(config).expect("a client"),
            kubeconfig,
            server: text("server"),
            ca: PathBuf::from(text("ca")),
            report: report.clone(),
        }
    }

    /// Routes the API server's calls of a Service to these addresses, in turn.
    pub fn route(&self, service: &str, addresses: &[String]) {
        self.command(&format!("route {service} {}", addresses.join(",")));
    }

    /// Sends a command to the control plane: see `tests/cluster`.
    pub fn command(&self, command: &str) {
        let mut child = self.child.lock();
        let (_, stdin, stdout) = child.as_mut().expect("the control plane runs");
        writeln!(stdin, "{command}").expect("the control plane reads commands");
        let mut answer = String::new();
        stdout
            .read_line(&mut answer)
            .expect("the control plane answers");
        let answer: Value = serde_json::from_str(&answer).expect("a line of JSON");
        assert_eq!(answer["ok"], true, "{command}: {answer}");
    }

    /// Process of the control plane, the parent of all its components.
    #[allow(dead_code, reason = "the benchmarks use it")]
    pub fn process(&self) -> u32 {
        let child = self.child.lock();
        let (child, ..) = child.as_ref().expect("the control plane runs");
        child.id()
    }

    /// Stops the control plane and waits until it has ended.
    pub fn stop(&self) {
        if let Some((mut child, stdin, _)) = self.child.lock().take() {
            drop(stdin);
            let _ = child.wait();
        }
    }
}
