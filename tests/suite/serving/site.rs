//! A world whose replicas sign their own certificate, and short ways to change it.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::replica::Replica;
use crate::harness::world::OURS;
use crate::harness::{LIMIT, World, eventually};

/// Name of the Secret with CA and leaf.
pub const TLS: &str = "ecr-pull-secrets-tls";
const REGISTRATION: &str = "zz-ecr-pull-secrets";

/// A world without replicas at first. Each test starts those that it needs.
pub struct Site {
    world: Arc<World>,
    /// Every CA's and every leaf's key so far.
    keys: Mutex<Vec<String>>,
}

impl Deref for Site {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl Site {
    /// Starts control plane and AWS, and installs the chart.
    pub async fn start() -> Self {
        Self {
            world: World::builder().self_signed().start().await,
            keys: Mutex::default(),
        }
    }

    /// Resets the site to the state after an install: no replica, no certificate, no `caBundle`.
    pub async fn clear(&self) {
        for replica in self.take_replicas() {
            replica.stop();
        }
        let _ = self.secrets().delete(TLS, &DeleteParams::default()).await;
        self.set_bundle(None).await;
        self.annotate(Value::Null).await;
    }

    /// Starts replicas at the same instant, without waiting for anything.
    pub fn begin(&self, count: usize, lifetime: &str) -> Vec<Arc<Replica>> {
        let one =
            |_| self.add_replica(|new| new.env("ECR_PULL_SECRETS_CERTIFICATE_LIFETIME", lifetime));
        (0..count).map(one).collect()
    }

    /// Starts replicas, and routes the Service to them when they are ready.
    pub async fn open(&self, count: usize, lifetime: &str) -> Vec<Arc<Replica>> {
        let replicas = self.begin(count, lifetime);
        self.route_to(&replicas).await;
        replicas
    }

    /// API of the Secrets in our own namespace.
    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.cluster.client.clone(), OURS)
    }

    /// The Secret with CA and leaf, once it exists.
    pub async fn secret(&self) -> Secret {
        let secrets = self.secrets();
        let secret = eventually("the Secret with CA and leaf", LIMIT, || async {
            secrets.get_opt(TLS).await.expect("an answer")
        })
        .await;
        let keys = ["tls.key", "ca.key"].map(|key| text(&secret, key));
        self.keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(keys);
        secret
    }

    /// A line of every key that `secret` returned: none may be in a log.
    pub fn keys(&self) -> Vec<String> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = keys.iter().filter_map(|key| key.lines().nth(1));
        lines.map(str::to_owned).collect()
    }

    /// Corrupts the Secret with CA and leaf.
    pub async fn corrupt(&self, patch: Value) {
        self.secrets()
            .patch(TLS, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .expect("a Secret");
    }

    /// The `caBundle`: the CAs that the API server trusts.
    pub async fn bundle(&self) -> Vec<u8> {
        let registration = self.registrations().get(REGISTRATION).await;
        let webhooks = registration.expect("the registration").webhooks;
        let webhook = webhooks.expect("webhooks").remove(0);
        webhook
            .client_config
            .ca_bundle
            .map_or(Vec::new(), |bundle| bundle.0)
    }

    /// Sets the `caBundle`.
    pub async fn set_bundle(&self, bundle: Option<&[u8]>) {
        let bundle = bundle.map(|bundle| k8s_openapi::ByteString(bundle.to_vec()));
        let patch = json!([{
            "op": "add",
            "path": "/webhooks/0/clientConfig/caBundle",
            "value": bundle,
        }]);
        let patch = Patch::Json::<()>(serde_json::from_value(patch).expect("a patch"));
        self.registrations()
            .patch(REGISTRATION, &PatchParams::default(), &patch)
            .await
            .expect("the registration");
    }

    /// Sets or removes the annotation by which cert-manager sets the `caBundle`.
    pub async fn annotate(&self, value: Value) {
        let patch = json!({ "metadata": { "annotations": {
            "cert-manager.io/inject-ca-from": value,
        }}});
        self.registrations()
            .patch(REGISTRATION, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .expect("the registration");
    }

    /// Waits until the `caBundle` is the Secret's CA.
    pub async fn trusted(&self) {
        eventually("the caBundle is that of the Secret", LIMIT, || async {
            let bundle = text(&self.secret().await, "ca.crt").into_bytes();
            (bundle == self.bundle().await).then_some(())
        })
        .await;
    }

    /// Number of reviews that failed open so far, as the API server counts.
    pub async fn missed(&self) -> f64 {
        let request = http::Request::get("/metrics").body(Vec::new());
        let metrics = self
            .cluster
            .client
            .request_text(request.expect("a request"));
        let metrics = metrics.await.expect("metrics");
        let counts = metrics.lines().filter(|line| {
            line.starts_with("apiserver_admission_webhook_fail_open_count{")
                && line.contains("pods.ecr-pull-secrets.dev")
        });
        counts
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// API of the registration.
    pub fn registrations(&self) -> Api<MutatingWebhookConfiguration> {
        Api::all(self.cluster.client.clone())
    }
}

/// A value of a Secret, as text; empty without it.
pub fn text(secret: &Secret, key: &str) -> String {
    let value = secret.data.as_ref().and_then(|data| data.get(key));
    let value = value.map(|value| value.0.clone()).unwrap_or_default();
    String::from_utf8(value).expect("text")
}
