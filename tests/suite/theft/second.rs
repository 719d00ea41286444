//! Attempts in a second installation, made for them: one that has no token store yet, and that may
//! create missed pods again. It has an account, rights and guards of its own, so that the first one
//! stays as it ships.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::account::Account;
use super::request::{Request, Row, Verdict, apply, delete, get, lay_over, post, strategic_patch};
use super::secrets::{ACCOUNT, ANNOTATION, IMMUTABLE, LABEL, MARK, OWNER, path};
use super::shared::{OPAQUE, STORE, token_store};
use crate::harness::namespace::{Namespace, pod};
use crate::harness::tools::{root, run, tool};
use crate::harness::world::OURS;
use crate::harness::{LIMIT, World, eventually};

// Guards have no namespace; these are the second ones.
const SECRETS: &str = "second-guard-secrets";
const REST: &str = "second-guard-rest";
const PENDING: &str = "deletes pods that are Pending and a controller's, and nothing else";

/// An installation without guards, at first.
pub struct Second {
    /// Where it is, and where pods are that it may delete.
    pub namespace: Namespace,
    /// Its account, by its token.
    pub account: Account,
    guards: String,
}

impl Second {
    /// Makes account and rights from the chart, and waits for them.
    pub async fn new(world: &Arc<World>) -> Self {
        let labels = json!({ "ecr-pull-secrets.dev/inject": "false" });
        let namespace = Namespace::with_labels(world, labels).await;
        let template = |name: &str| {
            let mut helm = Command::new(tool("helm"));
            helm.args(["template", OURS])
                .arg(root().join("manifests/helm"))
                .args(["--namespace", &namespace.name])
                .args(["--set", "config.repair.recreatePods=true"])
                .args(["--show-only", &format!("templates/{name}.yaml")]);
            run(&mut helm)
        };
        // The rights hold in this namespace only: everywhere else they are the first one's.
        let rights: Vec<String> = template("rbac")
            .split("\n---\n")
            .filter(|document| !document.contains("kind: ClusterRoleBinding"))
            .map(|document| match document.contains("kind: ClusterRole\n") {
                true => document.replacen("  name: ecr-pull-secrets\n", "  name: second\n", 1),
                false => document.to_owned(),
            })
            .collect();
        let parts = [template("serviceaccount"), rights.join("\n---\n")];
        kubectl_apply(world, &namespace, &parts.join("\n---\n"));
        let binding = json!({
            "metadata": { "name": "second" },
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "second",
            },
            "subjects": [{ "kind": "ServiceAccount", "name": OURS, "namespace": namespace.name }],
        });
        let _: RoleBinding = namespace.create(binding).await.expect("a RoleBinding");
        let request = TokenRequest::default();
        let token = namespace
            .api::<ServiceAccount>()
            .create_token_request(OURS, &PostParams::default(), &request)
            .await
            .expect("an answer");
        let token = token.status.and_then(|status| status.token);
        let account =
            Account::with_token(world, &namespace.name, OURS, &token.expect("a token")).await;
        let guards = template("guard").replace("ecr-pull-secrets-guard-", "second-guard-");
        let pods = get(
            "pods",
            &format!("/api/v1/namespaces/{}/pods", namespace.name),
        );
        eventually("the rights of the second installation", LIMIT, || async {
            account.send(&pods).await.status.is_success().then_some(())
        })
        .await;
        Self {
            namespace,
            account,
            guards,
        }
    }

    /// Makes the guards, and waits until they are in force.
    pub async fn guard(&self, world: &Arc<World>) {
        kubectl_apply(world, &self.namespace, &self.guards);
        let mut other = token_store();
        other["type"] = json!("x");
        let store = path(&self.namespace.name, STORE);
        for (request, guard) in [
            (apply("Secrets are guarded", &store, other), SECRETS),
            (
                // It takes RBAC a right to get as far as this guard.
                delete(
                    "the rest is guarded",
                    &format!("/api/v1/namespaces/{}/pods/nobodys", self.namespace.name),
                ),
                REST,
            ),
        ] {
            eventually(&request.attempt, LIMIT, || async {
                let answer = self.account.send(&request).await;
                answer.message.contains(guard).then_some(())
            })
            .await;
        }
    }

    /// What may be written where there is no token store yet.
    pub fn stores(&self) -> Vec<Row> {
        let account = json!({ "annotations": { ACCOUNT: OURS } });
        let owner = json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "1" }]);
        let metadata = |fields: Value| json!({ "metadata": fields });
        let token = "kubernetes.io/service-account-token";
        let attempts = [
            (
                "type service-account-token and an account",
                json!({ "type": token, "metadata": account }),
                OPAQUE,
            ),
            (
                "type dockerconfigjson",
                json!({
                    "type": "kubernetes.io/dockerconfigjson",
                    "data": { ".dockerconfigjson": "e30=" },
                }),
                OPAQUE,
            ),
            ("an account", metadata(account.clone()), ANNOTATION),
            (
                "a label",
                metadata(json!({ "labels": { "x": "y" } })),
                LABEL,
            ),
            (
                "without our label",
                metadata(json!({ "labels": null })),
                MARK,
            ),
            ("immutable", json!({ "immutable": true }), IMMUTABLE),
            (
                "an owner",
                metadata(json!({ "ownerReferences": owner })),
                OWNER,
            ),
            (
                "a finalizer",
                metadata(json!({ "finalizers": ["x.io/y"] })),
                OWNER,
            ),
        ];
        let store = path(&self.namespace.name, STORE);
        let mut rows: Vec<Row> = attempts
            .into_iter()
            .map(|(attempt, overlay, says)| {
                let mut body = token_store();
                lay_over(&mut body, &overlay);
                apply(&format!("a store, {attempt}"), &store, body).guarded(SECRETS, says)
            })
            .collect();
        let mut create_only = token_store();
        create_only["metadata"]["resourceVersion"] = json!("1");
        let all = format!("/api/v1/namespaces/{}/secrets", self.namespace.name);
        rows.extend([
            apply("a store", &store, create_only).allowed(),
            post("POST a store", &all, token_store()).no_right(Verdict::Allowed),
        ]);
        rows
    }

    /// Which pods may be deleted, and what else may be done to them.
    pub async fn pods(&self) -> Vec<Row> {
        let owner = json!({ "metadata": { "name": "owner" } });
        let owner: ConfigMap = self.namespace.create(owner).await.expect("a ConfigMap");
        for (name, controller, phase) in [
            ("missed", Some(true), "Pending"),
            ("running", Some(true), "Running"),
            ("done", Some(true), "Succeeded"),
            ("owned", Some(false), "Pending"),
            ("nobodys", None, "Pending"),
        ] {
            let mut object = pod(name, "x");
            if let Some(controller) = controller {
                object["metadata"]["ownerReferences"] = json!([{
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "name": "owner",
                    "uid": owner.metadata.uid,
                    "controller": controller,
                }]);
            }
            let _: Pod = self.namespace.create(object).await.expect("a pod");
            let status = Patch::Merge(json!({ "status": { "phase": phase } }));
            self.namespace
                .api::<Pod>()
                .patch_status(name, &PatchParams::default(), &status)
                .await
                .expect("a phase");
        }
        let all = format!("/api/v1/namespaces/{}/pods", self.namespace.name);
        let one = |name: &str| format!("{all}/{name}");
        let denied = || Verdict::Guard(REST, PENDING);
        let label = json!({ "metadata": { "labels": { "x": "y" } } });
        let eviction = json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": { "name": "missed" },
        });
        let guarded = |attempt: &str, name: &str| -> Row {
            let request: Request = delete(attempt, &one(name));
            request.guarded(REST, PENDING)
        };
        vec![
            delete("a Pending pod of a controller", &one("missed")).allowed(),
            guarded("a Running pod", "running"),
            guarded("a pod that is done", "done"),
            guarded("a Pending pod with an owner that is no controller", "owned"),
            guarded("a Pending pod of nobody", "nobodys"),
            delete("all pods", &all).no_right(denied()),
            post("evict", &format!("{}/eviction", one("missed")), eviction).no_right(denied()),
            strategic_patch("patch", &one("missed"), label).no_right(denied()),
        ]
    }
}

fn kubectl_apply(world: &World, namespace: &Namespace, documents: &str) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), documents).expect("a file");
    let mut kubectl = world.kubectl();
    kubectl
        .args(["--namespace", &namespace.name, "apply", "--filename"])
        .arg(file.path());
    run(&mut kubectl);
}
