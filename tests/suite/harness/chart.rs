//! Installs the chart as a user would: with its defaults, and the values that a world needs.

use std::path::Path;
use std::process::Command;

use aws_stand_in::{DEFAULT_ACCESS_KEY_ID, DEFAULT_SECRET_ACCESS_KEY};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::builder::port;
use super::kubeconfig;
use super::tools::{root, run, tool};
use super::world::{OURS, World};

impl World {
    /// Installs the chart and starts the replicas: on the node, or as processes behind the Service.
    pub async fn install(&self) {
        if self.options.node.is_some() {
            self.install_on_node();
        } else {
            self.install_chart(&[]);
        }
        if let Some(directory) = self.certificates() {
            self.trust(&directory.join("ca.crt"));
        }
        kubeconfig::write(&self.cluster, &self.kubeconfig).await;
        if self.options.replicas > 0 {
            for _ in 0..self.options.replicas {
                self.add_replica(|launch| launch);
            }
            self.route().await;
        }
    }

    /// A command of helm about the chart.
    pub fn helm(&self, command: &str) -> Command {
        let mut helm = Command::new(tool("helm"));
        helm.args([command, OURS])
            .arg(root().join("manifests/helm"))
            .args(["--namespace", OURS, "--kubeconfig"])
            .arg(&self.cluster.kubeconfig);
        helm
    }

    /// Waits until the Deployment has rolled out.
    pub fn rolled_out_within(&self, seconds: u32) {
        self.run_kubectl(&format!(
            "-n {OURS} rollout status deployment {OURS} --timeout={seconds}s"
        ));
    }

    fn install_chart(&self, flags: &[&str]) {
        let mut helm = self.helm("install");
        helm.arg("--create-namespace").args(flags);
        run(helm.args(&self.options.helm_flags));
    }

    /// The namespace admits restricted pods only. The AWS keys are spelt as articles about CronJobs
    /// spell them.
    fn install_on_node(&self) {
        self.run_kubectl(&format!("create namespace {OURS}"));
        self.run_kubectl(&format!(
            "label namespace {OURS} pod-security.kubernetes.io/enforce=restricted"
        ));
        self.run_kubectl(&format!(
            "-n {OURS} create secret generic ecr-pull-secrets-aws \
             --from-literal=aws_access_key_id={DEFAULT_ACCESS_KEY_ID} \
             --from-literal=aws_secret_access_key={DEFAULT_SECRET_ACCESS_KEY}"
        ));
        // Pods reach the stand-in at the node's address.
        let node = self.cluster.report["node"]["node_ip"].as_str();
        let node = node.expect("an address");
        let url = format!("http://{node}:{}", port(&self.aws));
        let environment = json!([{ "name": "AWS_ENDPOINT_URL", "value": url }]);
        self.install_chart(&["--set-json", &format!("extraEnv={environment}")]);
        self.rolled_out_within(120);
    }

    /// Sets the `caBundle`, as an administrator with a certificate of their own does.
    fn trust(&self, ca: &Path) {
        let ca = std::fs::read(ca).expect("a CA");
        let patch = json!([{
            "op": "add",
            "path": "/webhooks/0/clientConfig/caBundle",
            "value": BASE64_STANDARD.encode(ca),
        }]);
        let mut kubectl = self.kubectl();
        kubectl.args(["patch", "mutatingwebhookconfiguration"]);
        kubectl.args(["zz-ecr-pull-secrets", "--type=json", "--patch"]);
        run(kubectl.arg(patch.to_string()));
    }
}
