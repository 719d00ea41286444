//! A Secret of the API server, as the core and as Events see it.

use ecr_pull_secrets_core::pull_secret::DATA_KEY;
use ecr_pull_secrets_core::pull_secret::ownership::Existing;
use k8s_openapi::api::core::v1::{ObjectReference, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// What decides whose it is.
pub(crate) fn view(secret: &Secret) -> Existing<'_> {
    let data = secret.data.as_ref();
    Existing {
        secret_type: secret.type_.as_deref().unwrap_or("Opaque"),
        immutable: secret.immutable.unwrap_or(false),
        labels: secret.metadata.labels.as_ref(),
        annotations: secret.metadata.annotations.as_ref(),
        keys: data
            .into_iter()
            .flatten()
            .map(|(key, _)| key.as_str())
            .collect(),
        docker_config: data
            .and_then(|data| data.get(DATA_KEY))
            .map(|bytes| &*bytes.0)
            .unwrap_or_default(),
    }
}

/// What an Event about it refers to.
pub(crate) fn reference(metadata: &ObjectMeta) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Secret".to_owned()),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        ..ObjectReference::default()
    }
}
