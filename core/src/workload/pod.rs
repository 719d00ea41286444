//! The fields of a pod that decide.
//!
//! [`Pod`] is a view. All other fields stay unread, so a field that this build does not know can
//! neither break the decision nor get lost.

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};

use super::lists::{self, Names};
use super::object::object;
use super::text::Text;
use crate::image::Registry;
use crate::selection::Wish;

/// The part of a `v1.Pod` that decides.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pod<'a> {
    #[serde(borrow, default)]
    metadata: Option<PodMetadata<'a>>,
    #[serde(borrow, default, deserialize_with = "object")]
    spec: Option<Spec<'a>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct PodMetadata<'a> {
    #[serde(borrow, default)]
    labels: Option<Labels<'a>>,
    #[serde(default)]
    annotations: Option<Annotations>,
}

/// The labels of a pod that decide.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Labels<'a> {
    #[serde(borrow, default, rename = "ecr-pull-secrets.dev/inject")]
    inject: Option<Text<'a>>,
}

/// The annotations of a pod that decide.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Annotations {
    #[serde(
        default,
        rename = "kubernetes.io/config.mirror",
        deserialize_with = "present"
    )]
    mirror: bool,
}

/// The part of a pod's `spec` that decides.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec<'a> {
    #[serde(default, deserialize_with = "lists::names")]
    image_pull_secrets: Option<Names>,
    #[serde(borrow, default)]
    service_account_name: Option<Text<'a>>,
    #[serde(default, deserialize_with = "lists::containers")]
    containers: Option<Vec<Registry>>,
    #[serde(default, deserialize_with = "lists::containers")]
    init_containers: Option<Vec<Registry>>,
    #[serde(default, deserialize_with = "lists::containers")]
    ephemeral_containers: Option<Vec<Registry>>,
    #[serde(default, deserialize_with = "lists::volumes")]
    volumes: Option<Vec<Registry>>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// The state of a pod's list `imagePullSecrets`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferenceList {
    /// No list, or null.
    Absent,
    /// A list without the pull Secret; it may be empty.
    Present,
    /// A list with the pull Secret.
    Named,
}

impl<'a> Pod<'a> {
    /// A view from its parts, for a caller that reads more fields of the object.
    pub fn of_parts(
        labels: Option<Labels<'a>>,
        annotations: Option<Annotations>,
        spec: Option<Spec<'a>>,
    ) -> Self {
        let metadata = PodMetadata {
            labels,
            annotations,
        };
        Self {
            metadata: Some(metadata),
            spec,
        }
    }
}

impl Pod<'_> {
    /// The same view, borrowed from nothing: for a pod of a watch, which outlives its bytes.
    pub fn into_owned(self) -> Pod<'static> {
        let owned = |text: Option<Text<'_>>| text.map(Text::into_owned);
        Pod {
            metadata: self.metadata.map(|metadata| PodMetadata {
                labels: metadata.labels.map(|labels| Labels {
                    inject: owned(labels.inject),
                }),
                annotations: metadata.annotations,
            }),
            spec: self.spec.map(|spec| Spec {
                image_pull_secrets: spec.image_pull_secrets,
                service_account_name: owned(spec.service_account_name),
                containers: spec.containers,
                init_containers: spec.init_containers,
                ephemeral_containers: spec.ephemeral_containers,
                volumes: spec.volumes,
            }),
        }
    }

    /// The private registries of every field that names an image, in no order, maybe repeated.
    pub(super) fn registries(&self) -> impl Iterator<Item = &Registry> {
        let lists = self.spec.iter().flat_map(|spec| {
            [
                &spec.containers,
                &spec.init_containers,
                &spec.ephemeral_containers,
                &spec.volumes,
            ]
        });
        lists.flatten().flatten()
    }

    /// The pod's ServiceAccount. The API server fills it in before it calls the webhook.
    pub fn service_account(&self) -> &str {
        self.spec
            .as_ref()
            .and_then(|spec| spec.service_account_name.as_deref())
            .filter(|name| !name.is_empty())
            .unwrap_or("default")
    }

    /// Whether `imagePullSecrets` names this Secret.
    pub fn names(&self, secret: &str) -> bool {
        self.reference_list(secret) == ReferenceList::Named
    }

    /// The state of `imagePullSecrets` with regard to this Secret.
    pub(super) fn reference_list(&self, secret: &str) -> ReferenceList {
        let list = self
            .spec
            .as_ref()
            .and_then(|spec| spec.image_pull_secrets.as_ref());
        match list {
            None => ReferenceList::Absent,
            Some(names) if names.contain(secret) => ReferenceList::Named,
            Some(_) => ReferenceList::Present,
        }
    }

    /// The wish that the pod's own label states.
    pub fn wish(&self) -> Wish {
        let labels = self
            .metadata
            .as_ref()
            .and_then(|metadata| metadata.labels.as_ref());
        Wish::of_label(labels.and_then(|labels| labels.inject.as_deref()))
    }

    /// Whether the kubelet created the pod as the mirror of a static pod.
    pub(super) fn is_mirror(&self) -> bool {
        self.metadata
            .as_ref()
            .and_then(|metadata| metadata.annotations.as_ref())
            .is_some_and(|annotations| annotations.mirror)
    }
}

#[cfg(test)]
mod tests;
