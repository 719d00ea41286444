//! Attempts in a second installation, which has no token store and no serving certificate yet, may
//! re-create missed pods, and adopts no Secret. The first installation stays as it ships.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::account::Account;
use super::adoption;
use super::request::{Row, Verdict, apply, delete, lay_over, post, strategic_patch};
use super::scene::Scene;
use super::secrets::{ACCOUNT, ANNOTATION, IMMUTABLE, LABEL, MARK, OWNER, path};
use super::shared::{NO_TLS, OPAQUE, STORE, TLS, TLS_KEY, serving_certificate, token_store};
use crate::harness::installation::Installation;
use crate::harness::namespace::{Namespace, SECRET, pod};
use crate::harness::world::OURS;
use crate::harness::{LIMIT, World, eventually};

// Guards have no namespace: these are the names of the second ones.
/// Guard of Secrets.
pub const SECRETS: &str = "second-guard-secrets";
const PODS: &str = "second-guard-pods";
// Ends of its sentences.
const PENDING: &str = "but Pending ones of a controller that re-creates them";
const STARTED: &str = "deletes no pods that have started";
const MISSED: &str = "with an ECR image and without a reference to their pull Secret";
/// Image of a pod that needs the reference.
const IMAGE: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/app:v1";

/// An installation that has no guards at first.
pub struct Second {
    /// Its account, with its token.
    pub account: Account,
    installation: Installation,
}

impl Second {
    /// Creates account and rights, and waits until they hold.
    pub async fn new(world: &Arc<World>) -> Self {
        let values = "config.repair.recreatePods=true,config.secret.adopt=never";
        let installation = Installation::new(world, values).await;
        let namespace = &installation.namespace.name;
        let account = Account::with_token(world, namespace, OURS, &installation.token).await;
        Self {
            account,
            installation,
        }
    }

    /// Creates the guards, and waits until they are in force.
    pub async fn guard(&self) {
        let guards = self.installation.rendered("guard");
        let guards = guards.replace("ecr-pull-secrets-guard-", "second-guard-");
        self.installation.apply(&[guards]);
        let mut other = token_store();
        other["type"] = json!("x");
        let namespace = &self.namespace().name;
        let store = path(namespace, STORE);
        let ownerless = format!("/api/v1/namespaces/{namespace}/pods/ownerless");
        for (request, guard) in [
            (apply("Secrets are guarded", &store, other), SECRETS),
            (delete("pods are guarded", &ownerless), PODS),
        ] {
            eventually(&request.attempt, LIMIT, || async {
                let answer = self.account.send(&request).await;
                answer.message.contains(guard).then_some(())
            })
            .await;
        }
    }

    fn namespace(&self) -> &Namespace {
        &self.installation.namespace
    }

    /// Attempts on another owner's pull Secrets.
    pub fn adoptions(scene: &Scene) -> Vec<Row> {
        adoption::never(scene, SECRETS)
    }

    /// Attempts to create a token store.
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
        let store = path(&self.namespace().name, STORE);
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
        let all = format!("/api/v1/namespaces/{}/secrets", self.namespace().name);
        rows.extend([
            apply("a store", &store, create_only).allowed(),
            post("POST a store", &all, token_store()).no_right(Verdict::Allowed),
        ]);
        rows
    }

    /// Attempts to create a serving certificate.
    pub fn certificates(&self) -> Vec<Row> {
        let account = json!({ "annotations": { ACCOUNT: OURS } });
        let path = path(&self.namespace().name, TLS);
        let attempts = [
            (
                "type service-account-token and an account",
                json!({
                    "type": "kubernetes.io/service-account-token",
                    "metadata": account,
                }),
                NO_TLS,
            ),
            ("type Opaque", json!({ "type": "Opaque" }), NO_TLS),
            ("an account", json!({ "metadata": account }), ANNOTATION),
            (
                "another key",
                json!({ "data": { "token": "eA==" } }),
                TLS_KEY,
            ),
            (
                "without our label",
                json!({ "metadata": { "labels": null } }),
                MARK,
            ),
            ("immutable", json!({ "immutable": true }), IMMUTABLE),
        ];
        let mut rows: Vec<Row> = attempts
            .into_iter()
            .map(|(attempt, overlay, says)| {
                let mut body = serving_certificate();
                lay_over(&mut body, &overlay);
                apply(&format!("a certificate, {attempt}"), &path, body).guarded(SECRETS, says)
            })
            .collect();
        let mut create_only = serving_certificate();
        create_only["metadata"]["resourceVersion"] = json!("1");
        rows.push(apply("a certificate", &path, create_only).allowed());
        rows
    }

    /// Attempts to delete and change pods.
    pub async fn pods(&self) -> Vec<Row> {
        let owner = json!({ "metadata": { "name": "owner" } });
        let owner: ConfigMap = self.namespace().create(owner).await.expect("a ConfigMap");
        let owned = |kind: &str, controller: bool| {
            // No such API exists, so that no controller and no garbage collector acts on it.
            json!({ "metadata": { "ownerReferences": [{
                "apiVersion": "example.com/v1",
                "kind": kind,
                "name": "owner",
                "uid": owner.metadata.uid,
                "controller": controller,
            }] } })
        };
        let missed = |overlay: Value| {
            let mut object = owned("ReplicaSet", true);
            object["spec"] = overlay;
            object
        };
        let phase = |phase: &str| json!({ "phase": phase });
        let statuses = |list: &str, restarts: u32, state: Value| {
            json!({ list: [{
                "name": "app",
                "image": IMAGE,
                "imageID": "",
                "ready": false,
                "restartCount": restarts,
                "state": state,
            }] })
        };
        let (waits, runs) = (
            json!({ "waiting": { "reason": "ImagePullBackOff" } }),
            json!({ "running": {} }),
        );
        let init = json!({ "initContainers": [{ "name": "app-init", "image": IMAGE }] });
        let foreign = json!({ "containers": [{ "name": "app", "image": "x" }] });
        let served = json!({ "imagePullSecrets": [{ "name": SECRET }] });
        let other = json!({ "imagePullSecrets": [{ "name": "other" }] });
        let mut crashes = statuses("containerStatuses", 3, waits.clone());
        crashes["phase"] = json!("Pending");
        let all = format!("/api/v1/namespaces/{}/pods", self.namespace().name);
        let mut rows = Vec::new();
        for (name, overlay, status, says) in [
            ("missed", missed(json!({})), json!({}), None),
            ("with-other-reference", missed(other), json!({}), None),
            (
                "waits-for-image",
                missed(json!({})),
                statuses("containerStatuses", 0, waits),
                None,
            ),
            (
                "running",
                missed(json!({})),
                phase("Running"),
                Some(PENDING),
            ),
            ("done", missed(json!({})), phase("Succeeded"), Some(PENDING)),
            (
                "owned",
                owned("ReplicaSet", false),
                json!({}),
                Some(PENDING),
            ),
            ("of-a-job", owned("Job", true), json!({}), Some(PENDING)),
            ("ownerless", json!({}), json!({}), Some(PENDING)),
            (
                "initializes",
                missed(init),
                statuses("initContainerStatuses", 0, runs),
                Some(STARTED),
            ),
            ("crashes", missed(json!({})), crashes, Some(STARTED)),
            ("foreign", missed(foreign), json!({}), Some(MISSED)),
            ("served", missed(served), json!({}), Some(MISSED)),
        ] {
            self.create_pod(name, &overlay, status).await;
            let request = delete(&format!("the pod {name}"), &format!("{all}/{name}"));
            rows.push(match says {
                None => request.allowed(),
                Some(says) => request.guarded(PODS, says),
            });
        }
        let missed = format!("{all}/missed");
        let label = json!({ "metadata": { "labels": { "x": "y" } } });
        let eviction = json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": { "name": "missed" },
        });
        rows.extend([
            delete("all pods", &all).no_right(Verdict::Guard(PODS, PENDING)),
            post("evict", &format!("{missed}/eviction"), eviction).further_right(Verdict::Allowed),
            strategic_patch("patch", &missed, label).further_right(Verdict::Allowed),
        ]);
        rows
    }

    async fn create_pod(&self, name: &str, overlay: &Value, status: Value) {
        let mut object = pod(name, IMAGE);
        lay_over(&mut object, overlay);
        let _: Pod = self.namespace().create(object).await.expect("a pod");
        let status = Patch::Merge(json!({ "status": status }));
        self.namespace()
            .api::<Pod>()
            .patch_status(name, &PatchParams::default(), &status)
            .await
            .expect("a status");
    }
}
