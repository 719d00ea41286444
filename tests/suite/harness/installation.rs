//! A second installation, for what would disturb the first one: a namespace with an account and the
//! rights that the chart gives it. It has its own token store. It has no guards, unless it is asked
//! for them, and no lease: what the leader of the first one does is done for all of the cluster.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::namespace::Namespace;
use super::replica::Replica;
use super::tools::{root, run, tool};
use super::world::{CONFIG, OURS};
use super::{LIMIT, World, eventually};

/// See above.
pub struct Installation {
    /// Where it is.
    pub namespace: Namespace,
    /// The token of its account.
    pub token: String,
    world: Arc<World>,
    kubeconfig: NamedTempFile,
    values: String,
}

impl Installation {
    /// Makes the account and its rights, for these values of the chart, and waits for them.
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
                // Of the account's name, the second one in a binding is the role's.
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
            // As long as one is missing, the answer is a no.
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

    /// A file of the chart as this installation has it.
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

    /// A replica of it, which the API server does not know.
    pub fn replica(&self, name: &str) -> Replica {
        let mut environment = self.world.aws_environment();
        let namespace = self.namespace.name.clone();
        environment.push(("ECR_PULL_SECRETS_NAMESPACE", namespace));
        let name = format!("{}-{name}", self.namespace.name);
        self.world
            .replica_as(self.kubeconfig.path(), &name, CONFIG, &environment)
    }
}
