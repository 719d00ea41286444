//! A control plane with the chart's defaults, and as many replicas as a test wants: none at first.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_stand_in::client::Client as Aws;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::harness::cluster::Cluster;
use crate::harness::interrupt::clean_up_on_interrupt;
use crate::harness::namespace::Namespace;
use crate::harness::replica::{Replica, Settings};
use crate::harness::world::{
    CONFIG, OURS, aws_environment, install_chart, keep, logs, write_kubeconfig,
};
use crate::harness::{LIMIT, eventually};

/// The Secret with CA and leaf.
pub const TLS: &str = "ecr-pull-secrets-tls";
const REGISTRATION: &str = "zz-ecr-pull-secrets";

/// See above.
pub struct Site {
    /// The control plane.
    pub cluster: Cluster,
    /// The stand-in for AWS.
    pub aws: Aws,
    /// Of our ServiceAccount.
    pub kubeconfig: PathBuf,
    /// Every CA's key that there ever was, and every leaf's.
    keys: Mutex<Vec<String>>,
    replicas: Mutex<Vec<Arc<Replica>>>,
    born: AtomicU32,
    land: AtomicU32,
    directory: TempDir,
    _stand_in: aws_stand_in::Handle,
}

impl Site {
    /// Starts it; `stop` is called on Ctrl-C.
    pub async fn start(stop: fn()) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("ecr-pull-secrets-")
            .disable_cleanup(keep())
            .tempdir()
            .unwrap();
        let path = directory.path();
        clean_up_on_interrupt(path.to_owned(), stop);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stand_in = aws_stand_in::serve(listener).expect("the stand-in starts");
        let cluster = Cluster::start(&path.join("cluster"), &[]).await;
        install_chart(&cluster.kubeconfig, &[]);
        let kubeconfig = path.join("ours.kubeconfig");
        write_kubeconfig(&cluster, &kubeconfig).await;
        Self {
            cluster,
            aws: stand_in.client(),
            kubeconfig,
            keys: Mutex::default(),
            replicas: Mutex::default(),
            born: AtomicU32::new(0),
            land: AtomicU32::new(0),
            directory,
            _stand_in: stand_in,
        }
    }

    /// As right after an install.
    pub async fn clear(&self) {
        for replica in std::mem::take(&mut *self.replicas.lock().unwrap()) {
            replica.stop();
        }
        let _ = self.secrets().delete(TLS, &DeleteParams::default()).await;
        self.set_bundle(None).await;
        self.annotate(Value::Null).await;
    }

    /// Starts so many replicas at the same instant, without waiting for anything.
    pub fn begin(&self, count: usize, lifetime: &str) -> Vec<Arc<Replica>> {
        let mut environment = aws_environment(self.aws.url());
        let lifetime = lifetime.to_owned();
        environment.push(("ECR_PULL_SECRETS_CERTIFICATE_LIFETIME", lifetime));
        let replicas: Vec<_> = (0..count)
            .map(|_| {
                let name = format!("replica-{}", self.born.fetch_add(1, Ordering::Relaxed));
                Arc::new(Replica::start(&Settings {
                    directory: self.directory.path(),
                    name: &name,
                    kubeconfig: &self.kubeconfig,
                    certificates: None,
                    config: CONFIG,
                    environment: &environment,
                    log_level: "trace",
                }))
            })
            .collect();
        self.replicas.lock().unwrap().extend(replicas.clone());
        replicas
    }

    /// Starts so many replicas, and has the API server ask them when they are ready.
    pub async fn open(&self, count: usize, lifetime: &str) -> Vec<Arc<Replica>> {
        let replicas = self.begin(count, lifetime);
        let mut addresses = Vec::new();
        for replica in &replicas {
            replica.ready().await;
            addresses.push(replica.https.to_string());
        }
        self.cluster.route(&format!("{OURS}/{OURS}"), &addresses);
        replicas
    }

    /// A namespace and a region of its own.
    pub async fn namespace(&self) -> Namespace {
        let number = self.land.fetch_add(1, Ordering::Relaxed);
        let region = self.aws.region(&format!("serving-land-{number}"));
        Namespace::of_cluster(self.cluster.client.clone(), region, json!({})).await
    }

    /// Secrets beside us, as an administrator.
    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.cluster.client.clone(), OURS)
    }

    /// The Secret with CA and leaf, once it is there.
    pub async fn secret(&self) -> Secret {
        let secrets = self.secrets();
        let secret = eventually("the Secret with CA and leaf", LIMIT, || async {
            secrets.get_opt(TLS).await.expect("a look")
        })
        .await;
        let keys = ["tls.key", "ca.key"].map(|key| text(&secret, key));
        self.keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(keys);
        secret
    }

    /// A part of every key that `secret` returned: what must be in no log.
    pub fn keys(&self) -> Vec<String> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = keys.iter().filter_map(|key| key.lines().nth(1));
        lines.map(str::to_owned).collect()
    }

    /// Changes the Secret.
    pub async fn spoil(&self, patch: Value) {
        self.secrets()
            .patch(TLS, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .expect("a Secret");
    }

    /// What the API server trusts.
    pub async fn bundle(&self) -> Vec<u8> {
        let registration = self.registrations().get(REGISTRATION).await;
        let webhooks = registration.expect("the registration").webhooks;
        let webhook = webhooks.expect("webhooks").remove(0);
        webhook
            .client_config
            .ca_bundle
            .map_or(Vec::new(), |bundle| bundle.0)
    }

    /// Sets it.
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

    /// Tells cert-manager to fill it in, or not.
    pub async fn annotate(&self, value: Value) {
        let patch = json!({ "metadata": { "annotations": {
            "cert-manager.io/inject-ca-from": value,
        }}});
        self.registrations()
            .patch(REGISTRATION, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .expect("the registration");
    }

    /// Waits until the API server trusts what is in the Secret.
    pub async fn trusted(&self) {
        eventually("the caBundle is that of the Secret", LIMIT, || async {
            let bundle = text(&self.secret().await, "ca.crt").into_bytes();
            (bundle == self.bundle().await).then_some(())
        })
        .await;
    }

    /// How many reviews the API server did without, so far.
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

    /// The registration.
    pub fn registrations(&self) -> Api<MutatingWebhookConfiguration> {
        Api::all(self.cluster.client.clone())
    }

    /// What every process of ours logged so far: names and texts.
    pub fn logs(&self) -> Vec<(String, String)> {
        logs(self.directory.path())
    }

    /// Ends all of it.
    pub fn stop(&self) {
        for replica in self.replicas.lock().unwrap().iter() {
            replica.stop();
        }
        self.cluster.stop();
        if keep() {
            println!("kept: {}", self.directory.path().display());
        } else {
            let _ = std::fs::remove_dir_all(self.directory.path());
        }
    }
}

/// A value of a Secret.
pub fn text(secret: &Secret, key: &str) -> String {
    let value = secret.data.as_ref().and_then(|data| data.get(key));
    let value = value.map(|value| value.0.clone()).unwrap_or_default();
    String::from_utf8(value).expect("text")
}
