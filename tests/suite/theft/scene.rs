//! The scene of the attempts: namespaces in which an administrator has put something worth stealing. No
//! attempt writes there, so one scene serves all of them.

use std::sync::Arc;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Secret, ServiceAccount};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::account::Account;
use super::adoption::WISH;
use super::request::{EVENTS, LEASE, REGISTRATION, Row, SECRETS, apply, json_patch, post};
use super::shared::{self, LEASES, STORE};
use crate::harness::namespace::{Namespace, SECRET};
use crate::harness::world::OURS;
use crate::harness::{LIMIT, World, eventually};

/// API path of registrations.
pub const WEBHOOKS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";

/// Name of a foreign registration.
pub const OTHERS: &str = "theft-others";

/// Annotation in which `kubectl apply` keeps a copy of the object, with its token.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

static SCENE: OnceCell<Scene> = OnceCell::const_new();

/// Names of namespaces.
pub struct Scene {
    /// Foreign objects: a Secret `gold`, an account `rich`, a pod `p`, a ConfigMap `cm`, and an event of
    /// the kubelet, `kubelet-said`.
    pub victim: String,
    /// A pull Secret that the program wrote for a pod, and an event of ours, `ours`.
    pub managed: String,
    /// No object.
    pub empty: String,
    /// A pull Secret of ours with a foreign label, annotation and key.
    pub edited: String,
    /// A pull Secret of ours with a foreign owner and finalizer.
    pub owned: String,
    /// A foreign pull Secret, written with `kubectl apply`.
    pub foreign: String,
    /// The same after adoption.
    pub adopted: String,
    /// The same as `foreign`, with a key beside the docker config.
    pub wider: String,
    /// The same as `foreign`, with the user's wish to have it adopted.
    pub offered: String,
    /// A Secret with our name and label that is no pull Secret.
    pub opaque: String,
}

impl Scene {
    /// The one scene; the first caller sets it.
    pub async fn get(world: &Arc<World>) -> &'static Self {
        SCENE.get_or_init(|| Self::set(world)).await
    }

    async fn set(world: &Arc<World>) -> Self {
        guards_are_in_force(world).await;
        others_registration(world).await;
        serving_certificate(world).await;
        Self {
            victim: victim(world).await,
            managed: managed(world).await,
            empty: namespace(world).await.name,
            edited: edited(world).await,
            owned: owned(world).await,
            foreign: foreign(world, json!({})).await,
            adopted: foreign(world, marks()).await,
            wider: wider(world).await,
            offered: foreign(world, json!({ "annotations": { WISH: "true" } })).await,
            opaque: opaque(world).await,
        }
    }
}

/// A pull Secret as the program writes it.
pub fn pull_secret() -> Value {
    let mut metadata = marks();
    metadata["name"] = json!(SECRET);
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/dockerconfigjson",
        "metadata": metadata,
        // {"auths":{}}
        "data": { ".dockerconfigjson": "eyJhdXRocyI6e319" },
    })
}

/// An event in the core API, from a source.
pub fn event(namespace: &str, speaker: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": { "generateName": "event-", "namespace": namespace },
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Secret",
            "namespace": namespace,
            "name": "x",
        },
        "reason": "r",
        "message": "m",
        "source": { "component": speaker },
        "type": "Normal",
    })
}

/// An event in the API that the program uses.
pub fn group_event(namespace: &str, speaker: &str) -> Value {
    json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": { "generateName": "event-", "namespace": namespace },
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": speaker,
        "reportingInstance": "x",
        "action": "a",
        "reason": "r",
        "regarding": {
            "apiVersion": "v1",
            "kind": "Secret",
            "namespace": namespace,
            "name": "x",
        },
        "note": "n",
        "type": "Normal",
    })
}

/// Label and annotation of everything that the program writes.
pub fn marks() -> Value {
    json!({
        "labels": { "app.kubernetes.io/managed-by": "ecr-pull-secrets" },
        "annotations": { "ecr-pull-secrets.dev/format": "1" },
    })
}

/// Creates the Secret of a self-signed installation: the replicas here have files.
async fn serving_certificate(world: &Arc<World>) {
    let secrets: Api<Secret> = Api::namespaced(world.cluster.client.clone(), OURS);
    let secret = serde_json::from_value(shared::serving_certificate()).expect("a Secret");
    let made = secrets.create(&PostParams::default(), &secret).await;
    made.expect("a Secret");
}

/// Waits until the guards are in force: the API server reads new policies once a second.
async fn guards_are_in_force(world: &Arc<World>) {
    // With every right, so that only a guard can deny.
    let account = Account::ours_with_every_right(world);
    let mut secret = pull_secret();
    secret["type"] = json!("Opaque");
    let secrets = format!("/api/v1/namespaces/default/secrets/{SECRET}");
    let registration = format!("{WEBHOOKS}/zz-ecr-pull-secrets");
    let none = json!([{ "op": "remove", "path": "/webhooks" }]);
    let events = "/apis/events.k8s.io/v1/namespaces/default/events";
    let event = group_event("default", "kubelet");
    let lease = format!("{LEASES}/default/leases/{OURS}");
    let probes = [
        apply("Secrets are guarded", &secrets, secret).guarded(SECRETS, ""),
        json_patch("the registration is guarded", &registration, none).guarded(REGISTRATION, ""),
        post("events are guarded", events, event).guarded(EVENTS, ""),
        apply("leases are guarded", &lease, shared::lease(OURS)).guarded(LEASE, ""),
    ];
    for Row {
        request,
        with_every_right,
        ..
    } in probes
    {
        let complaint = eventually(&request.attempt, LIMIT, || async {
            let answer = account.send(&request).await;
            let complaint = account.complaint(&request, &with_every_right, &answer);
            // A success means that the guard is not in force yet.
            (!answer.status.is_success()).then_some(complaint)
        })
        .await;
        assert_eq!(complaint, None);
    }
}

/// Labels that make the program leave a namespace alone.
async fn namespace(world: &Arc<World>) -> Namespace {
    Namespace::with_labels(world, json!({ "ecr-pull-secrets.dev/inject": "false" })).await
}

/// Creates a foreign registration without a webhook, so that it affects no other test.
async fn others_registration(world: &Arc<World>) {
    let all: Api<MutatingWebhookConfiguration> = Api::all(world.cluster.client.clone());
    let mut object = MutatingWebhookConfiguration::default();
    object.metadata.name = Some(OTHERS.to_owned());
    let created = all.create(&PostParams::default(), &object).await;
    created.expect("a registration");
}

async fn victim(world: &Arc<World>) -> String {
    let victim = namespace(world).await;
    let gold = json!({ "metadata": { "name": "gold" }, "stringData": { "k": "v" } });
    let _: Secret = victim.create(gold).await.expect("a Secret");
    let rich = json!({ "metadata": { "name": "rich" } });
    let _: ServiceAccount = victim.create(rich).await.expect("a ServiceAccount");
    let map = json!({ "metadata": { "name": "cm" }, "data": { "a": "b" } });
    let _: ConfigMap = victim.create(map).await.expect("a ConfigMap");
    let mut said = event(&victim.name, "kubelet");
    said["metadata"]["name"] = json!("kubelet-said");
    let _: Event = victim.create(said).await.expect("an event");
    victim.pod("p", "x").await;
    victim.name
}

async fn opaque(world: &Arc<World>) -> String {
    let opaque = namespace(world).await;
    let secret = json!({ "metadata": marks(), "type": "Opaque" });
    opaque.foreign_secret(OURS, secret).await;
    opaque.name
}

/// The program's own work for a pod. It creates the token store as well.
async fn managed(world: &Arc<World>) -> String {
    let managed = Namespace::new(world).await;
    managed.pod("pod", &managed.image("app")).await;
    managed.secret_comes().await;
    let ours: Api<Secret> = Api::namespaced(world.cluster.client.clone(), OURS);
    eventually("the token store", LIMIT, || async {
        ours.get_opt(STORE).await.expect("an answer")
    })
    .await;
    let mut said = event(&managed.name, OURS);
    said["metadata"]["name"] = json!("ours");
    let _: Event = managed.create(said).await.expect("an event");
    managed.name
}

async fn like_managed(world: &Arc<World>) -> Namespace {
    let namespace = namespace(world).await;
    namespace.foreign_secret(OURS, pull_secret()).await;
    namespace
}

async fn edited(world: &Arc<World>) -> String {
    let edited = like_managed(world).await;
    let foreign = json!({ "by": "x" });
    let edit = json!({ "metadata": { "labels": foreign, "annotations": foreign }, "data": { "k": "eA==" } });
    edited.foreign_secret("another", edit).await;
    edited.name
}

async fn owned(world: &Arc<World>) -> String {
    let owned = like_managed(world).await;
    let owner = json!({ "metadata": { "name": "owner" } });
    let owner: ConfigMap = owned.create(owner).await.expect("a ConfigMap");
    let owner = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "owner",
        "uid": owner.metadata.uid,
    });
    let edit = json!({ "metadata": { "ownerReferences": [owner], "finalizers": ["x.io/y"] } });
    owned.foreign_secret("another", edit).await;
    owned.name
}

async fn wider(world: &Arc<World>) -> String {
    let wider = namespace(world).await;
    let mut secret = pull_secret();
    secret["metadata"] = json!({});
    secret["data"]["k"] = json!("eA==");
    wider.foreign_secret("another", secret).await;
    wider.name
}

async fn foreign(world: &Arc<World>, metadata: Value) -> String {
    let foreign = namespace(world).await;
    let mut secret = pull_secret();
    secret["metadata"] = metadata;
    secret["metadata"]["annotations"][LAST_APPLIED] = json!("{}");
    foreign
        .foreign_secret("kubectl-client-side-apply", secret)
        .await;
    foreign.name
}
