//! The same view, borrowing from nothing: for a pod that comes from a watch and outlives its bytes.

use super::{Labels, Metadata, Pod, Spec, Text};

impl Pod<'_> {
    /// The same, borrowing from nothing.
    pub fn into_owned(self) -> Pod<'static> {
        Pod {
            metadata: self.metadata.map(|metadata| Metadata {
                labels: metadata.labels.map(|labels| Labels {
                    inject: text(labels.inject),
                }),
                annotations: metadata.annotations,
            }),
            spec: self.spec.map(|spec| Spec {
                image_pull_secrets: spec.image_pull_secrets,
                service_account_name: text(spec.service_account_name),
                containers: spec.containers,
                init_containers: spec.init_containers,
                ephemeral_containers: spec.ephemeral_containers,
                volumes: spec.volumes,
            }),
        }
    }
}

fn text(text: Option<Text<'_>>) -> Option<Text<'static>> {
    text.map(Text::into_owned)
}
