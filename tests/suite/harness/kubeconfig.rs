//! The rights of our ServiceAccount, as a file.

use std::fs;
use std::path::Path;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use super::cluster::Cluster;
use super::world::OURS;

/// Lifetime of the token: longer than any run.
const TOKEN_SECONDS: i64 = 86_400;

/// Writes a kubeconfig with a new token of our ServiceAccount.
pub async fn write(cluster: &Cluster, path: &Path) {
    let token = token(cluster, &[], TOKEN_SECONDS).await;
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "ours",
        "contexts": [{ "name": "ours", "context": { "cluster": "c", "user": "u" } }],
        "clusters": [{ "name": "c", "cluster": {
            "server": cluster.server,
            "certificate-authority": cluster.ca,
        }}],
        "users": [{ "name": "u", "user": { "token": token } }],
    });
    fs::write(path, kubeconfig.to_string()).expect("a file");
}

/// A new token of our ServiceAccount, as the kubelet gets it. Without an audience it is for the API server.
pub async fn token(cluster: &Cluster, audiences: &[&str], seconds: i64) -> String {
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), OURS);
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: Some(audiences.iter().map(ToString::to_string).collect()),
            expiration_seconds: Some(seconds),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let token = accounts
        .create_token_request(OURS, &PostParams::default(), &request)
        .await
        .expect("a token of our ServiceAccount");
    let token = token.status.expect("a status").token;
    token.expect("a token")
}
