//! The same view, borrowing from nothing: for a pod that comes from a watch and outlives its bytes.

use super::{Container, ImageVolume, Labels, Metadata, Pod, SecretReference, Spec, Text, Volume};

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
            spec: self.spec.map(spec),
        }
    }
}

fn spec(spec: Spec<'_>) -> Spec<'static> {
    let reference = |reference: SecretReference<'_>| SecretReference {
        name: text(reference.name),
    };
    let references = spec.image_pull_secrets.map(|list| {
        let list = list.into_iter();
        list.map(reference).collect()
    });
    Spec {
        image_pull_secrets: references,
        service_account_name: text(spec.service_account_name),
        containers: spec.containers.map(containers),
        init_containers: spec.init_containers.map(containers),
        ephemeral_containers: spec.ephemeral_containers.map(containers),
        volumes: spec.volumes.map(volumes),
    }
}

fn containers(containers: Vec<Container<'_>>) -> Vec<Container<'static>> {
    let containers = containers.into_iter();
    containers
        .map(|container| Container {
            image: text(container.image),
        })
        .collect()
}

/// Volumes that hold no image decide nothing.
fn volumes(volumes: Vec<Volume<'_>>) -> Vec<Volume<'static>> {
    let images = volumes.into_iter().filter_map(|volume| volume.image);
    images
        .map(|image| Volume {
            image: Some(ImageVolume {
                reference: text(image.reference),
            }),
        })
        .collect()
}

fn text(text: Option<Text<'_>>) -> Option<Text<'static>> {
    text.map(Text::into_owned)
}
