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

/// Asserts that a Secret was not written since `before`. On failure says who did so, and when.
#[track_caller]
pub fn assert_unwritten(before: &Secret, after: &Secret) {
    // Neither part holds a token.
    let told = |secret: &Secret| {
        let managers = secret.metadata.managed_fields.clone();
        let managers: Vec<_> = managers.into_iter().flatten().collect();
        let writers = managers.iter().map(|one| (&one.manager, &one.time));
        let writers = format!("{:?}", writers.collect::<Vec<_>>());
        let metadata = &secret.metadata;
        (
            metadata.resource_version.clone(),
            metadata.annotations.clone(),
            writers,
        )
    };
    assert_eq!(told(after), told(before), "the Secret was written");
}
