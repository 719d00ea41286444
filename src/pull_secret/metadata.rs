//! The metadata of a Secret, as the core reads it.

use ecr_pull_secrets_core::pull_secret::held::SecretMetadata;
use ecr_pull_secrets_core::target::Target;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// What says whose the Secret is, what it holds and which field manager wrote it.
pub(crate) fn secret_metadata(metadata: &ObjectMeta) -> SecretMetadata<'_> {
    let managed_fields = metadata.managed_fields.iter().flatten();
    SecretMetadata {
        resource_version: metadata.resource_version.as_deref(),
        uid: metadata.uid.as_deref(),
        labels: metadata.labels.as_ref(),
        annotations: metadata.annotations.as_ref(),
        managed_fields: managed_fields
            .filter_map(|entry| {
                let manager = entry.manager.as_deref().unwrap_or_default();
                Some((manager, &entry.fields_v1.as_ref()?.0))
            })
            .collect(),
    }
}

/// The place of the Secret.
pub(crate) fn target(metadata: &ObjectMeta) -> Target {
    let text = |field: &Option<String>| field.as_deref().unwrap_or_default().into();
    Target {
        namespace: text(&metadata.namespace),
        secret: text(&metadata.name),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn managed_fields_keep_their_managers() {
        let metadata = serde_json::from_value(json!({
            "namespace": "team", "name": "pull", "resourceVersion": "7", "uid": "u",
            "managedFields": [
                { "manager": "ecr-pull-secrets", "fieldsV1": { "f:type": {} } },
                { "fieldsV1": { "f:data": { "f:.dockerconfigjson": {} } } },
                { "manager": "kubectl-annotate" },
            ],
        }));
        let metadata = metadata.expect("metadata");
        let read = secret_metadata(&metadata);
        let managers: Vec<&str> = read.managed_fields.iter().map(|(name, _)| *name).collect();
        assert_eq!(managers, ["ecr-pull-secrets", ""]);
        assert!(read.is_edited());
        assert_eq!((read.version(), read.uid), (7, Some("u")));
        assert_eq!(target(&metadata), Target::new("team", "pull"));
    }
}
