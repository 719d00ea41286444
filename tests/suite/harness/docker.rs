//! Reads pull Secrets as the kubelet does.

use k8s_openapi::api::core::v1::Secret;
use serde_json::Value;

/// Value of an annotation of ours; empty without it.
pub fn annotation<'a>(secret: &'a Secret, name: &str) -> &'a str {
    let name = format!("ecr-pull-secrets.dev/{name}");
    secret
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(&name))
        .map_or("", String::as_str)
}

/// The docker config as JSON.
pub fn config(secret: &Secret) -> Value {
    let bytes = &secret.data.as_ref().expect("data")[".dockerconfigjson"];
    serde_json::from_slice(&bytes.0).expect("a docker config is JSON")
}

/// The `auth` of a host; empty without it.
pub fn auth(secret: &Secret, host: &str) -> String {
    config(secret)["auths"][host]["auth"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// All hosts, sorted.
pub fn hosts(secret: &Secret) -> Vec<String> {
    let config = config(secret);
    config["auths"]
        .as_object()
        .expect("auths")
        .keys()
        .cloned()
        .collect()
}
