//! A second installation, for tests that would disturb the first one: a namespace with an account and
//! the rights that the chart gives it. It has its own token store. It has no guards before a test
//! applies them, and no lease, because the leader of the first installation serves the whole cluster.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::launch::Launch;
use super::namespace::Namespace;
use super::replica::Replica;
use super::tools::{root, run, tool};
use super::world::OURS;
use super::{LIMIT, World, eventually};

/// A second installation in a namespace of its own.
pub struct Installation {
    /// Namespace of the installation.
    pub namespace: Namespace,
    /// Token of its account.
    pub token: String,
    world: Arc<World>,
    kubeconfig: NamedTempFile,
    values: String,
}

impl Installation {
    /// Creates the account and its rights, for these values of the chart, and waits until they hold.
    pub async fn new(world: &Arc<World>, values: &str) -> Self {
        let labels = json!({ "ecr-pull-secrets.dev/inject": "false" });
        let mut this = Self {
            namespace: Namespace::with_labels(world, labels).await,
            token: String::new(),
            world: world.clone(),
            kubeconfig: NamedTempFile::new().expect("a file"),
            values: values.to_owned(),
        };
        let name = &this.namespace.name;
        let rights: Vec<String> = this
            .rendered("rbac")
            .split("\n---\n")
            .map(|document| {
                // A binding names itself and then its role.
                let names = match document {
                    _ if document.contains("kind: ClusterRoleBinding") => 2,
                    _ if document.contains("kind: ClusterRole") => 1,
                    _ => 0,
                };
                let renamed = format!("  name: {OURS}-{name}\n");
                document.replacen(&format!("  name: {OURS}\n"), &renamed, names)
            })
            .map(|document| document.replace("resources: [leases]", "resources: [none]"))
            .collect();
        this.apply(&[this.rendered("serviceaccount"), rights.join("\n---\n")]);
        let accounts = this.namespace.api::<ServiceAccount>();
        let (params, request) = (PostParams::default(), TokenRequest::default());
        let answer = accounts.create_token_request(OURS, &params, &request).await;
        let token = answer
            .expect("an answer")
            .status
            .and_then(|status| status.token);
        this.token = token.expect("a token");
        let kubeconfig = fs::read_to_string(&world.kubeconfig).expect("a kubeconfig");
        let mut kubeconfig: Value = serde_json::from_str(&kubeconfig).expect("JSON");
        kubeconfig["users"][0]["user"]["token"] = json!(this.token);
        fs::write(this.kubeconfig.path(), kubeconfig.to_string()).expect("a file");
        eventually("the rights of the installation", LIMIT, || async {
            // Both calls fail until their right holds.
            let secrets = [
                "get",
                "secrets/ecr-pull-secrets-tokens",
                "--ignore-not-found",
            ];
            let namespaces = ["get", "namespaces", "--output=name"];
            let may = |arguments: [&str; 3]| {
                let mut kubectl = Command::new(tool("kubectl"));
                kubectl.arg("--kubeconfig").arg(this.kubeconfig.path());
                let output = kubectl.args(["--namespace", name]).args(arguments).output();
                output.expect("kubectl runs").status.success()
            };
            (may(secrets) && may(namespaces)).then_some(())
        })
        .await;
        this
    }

    /// A template of the chart, rendered for this installation.
    pub fn rendered(&self, template: &str) -> String {
        let mut helm = Command::new(tool("helm"));
        helm.args(["template", OURS])
            .arg(root().join("manifests/helm"))
            .args(["--namespace", &self.namespace.name])
            .args(["--set", &self.values])
            .args(["--show-only", &format!("templates/{template}.yaml")]);
        run(&mut helm)
    }

    /// Applies manifests as an administrator.
    pub fn apply(&self, documents: &[String]) {
        let file = NamedTempFile::new().expect("a file");
        fs::write(file.path(), documents.join("\n---\n")).expect("a file");
        let mut kubectl = self.world.kubectl();
        kubectl
            .args(["--namespace", &self.namespace.name, "apply", "--filename"])
            .arg(file.path());
        run(&mut kubectl);
    }

    /// Starts a replica, which the API server does not call.
    pub fn replica(&self, name: &str) -> Replica {
        self.launch(name).start()
    }

    /// A replica that is about to start.
    pub fn launch(&self, name: &str) -> Launch {
        let name = format!("{}-{name}", self.namespace.name);
        self.world
            .replica(&name)
            .kubeconfig(self.kubeconfig.path())
            .env("ECR_PULL_SECRETS_NAMESPACE", &self.namespace.name)
    }
}
