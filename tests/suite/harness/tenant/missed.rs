//! Pods that admission missed, beside a Secret of our name that has another owner and is as large as can
//! be: a leader reads it to find out whether it keeps the reference from the pods.

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::Tenant;
use crate::harness::namespace::{SECRET, pod, references};

/// Pods that lack the reference.
pub const MISSED: usize = 200;
/// Bytes that a Secret may have, less what its content has beside its text.
const CONTENT: usize = 1024 * 1024 - 128;
/// Values in a content of 512 KiB: each takes far more memory once it is parsed.
const VALUES: usize = 74_000;

impl Tenant {
    /// Makes the Secret, and the pods: no replica runs yet.
    pub(super) async fn make_missed_pods(&self) {
        let secret = json!({
            "metadata": { "name": SECRET },
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": { ".dockerconfigjson": content(0) },
        });
        self.missed
            .create::<Secret>(secret)
            .await
            .expect("the API server takes it");
        let image = self.missed.image("app");
        let pods = (0..MISSED).map(|number| {
            let mut missed = pod(&missed_pod(number), &image);
            missed["spec"]["schedulerName"] = json!("none");
            self.missed.create::<Pod>(missed)
        });
        for created in join_all(pods).await {
            let created = created.expect("the API server takes it");
            assert!(references(&created).is_empty(), "a replica runs");
        }
    }

    /// Changes the Secret, and a label of each pod, so that a leader checks all of them again.
    pub async fn stir_missed_pods(&self, round: usize) {
        let (merge, params) = (|change| Patch::Merge(change), PatchParams::default());
        let change = json!({ "stringData": { ".dockerconfigjson": content(round) } });
        let secrets = self.missed.api::<Secret>();
        let changed = secrets.patch(SECRET, &params, &merge(change)).await;
        changed.expect("a content");
        let label = merge(json!({ "metadata": { "labels": { "round": round.to_string() } } }));
        let pods = self.missed.api::<Pod>();
        let names: Vec<String> = (0..MISSED).map(missed_pod).collect();
        let patches = names.iter().map(|name| pods.patch(name, &params, &label));
        for patched in join_all(patches).await {
            patched.expect("a label");
        }
    }
}

fn missed_pod(number: usize) -> String {
    format!("missed-{number}")
}

/// A content that the kubelet takes, one that it does not, and one of many values, by turns.
fn content(round: usize) -> String {
    match round % 3 {
        0 => json!({ "auths": { "ghcr.io": { "email": "x".repeat(CONTENT) } } }).to_string(),
        1 => json!({ "auths": { "ghcr.io": { "auth": "%".repeat(CONTENT) } } }).to_string(),
        _ => json!({ "auths": {}, "values": vec![json!({ "": 0 }); VALUES] }).to_string(),
    }
}
