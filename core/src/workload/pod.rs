//! The fields of a pod that decide.
//!
//! [`Pod`] is a view. All other fields stay unread, so a field that this build does not know can
//! neither break the decision nor get lost.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::lists::{Containers, NameList, Names, Registries, Volumes};
use super::object::object;
use super::text::Text;
use crate::image::Registry;
use crate::selection::Wish;

/// The bytes that are kept of a text. A name of Kubernetes has at most 253, so a longer one is as
/// invalid as its beginning.
const MAX_TEXT_BYTES: usize = 256;

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
    #[serde(
        borrow,
        default,
        rename = "ecr-pull-secrets.dev/inject",
        deserialize_with = "short"
    )]
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
#[derive(Clone, Debug, Default)]
pub struct Spec<'a> {
    image_pull_secrets: Option<Names>,
    service_account_name: Option<Text<'a>>,
    /// Registries of every field that names an image.
    registries: Registries,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum SpecField {
    ImagePullSecrets,
    ServiceAccountName,
    Containers,
    InitContainers,
    EphemeralContainers,
    Volumes,
    #[serde(other)]
    Other,
}

/// All lists of images share one set of registries, so the fields are read by hand.
impl<'de: 'a, 'a> Deserialize<'de> for Spec<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SpecFields;

        impl<'de> Visitor<'de> for SpecFields {
            type Value = Spec<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a pod's spec")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Spec<'de>, A::Error> {
                let mut spec = Spec::default();
                let mut seen = [false; SpecField::Other as usize];
                while let Some(field) = fields.next_key()? {
                    let is_repeated = seen.get_mut(field as usize);
                    if is_repeated.is_some_and(|seen| std::mem::replace(seen, true)) {
                        return Err(A::Error::custom("duplicate field in a pod's spec"));
                    }
                    match field {
                        SpecField::ImagePullSecrets => {
                            spec.image_pull_secrets = fields.next_value::<NameList>()?.0;
                        }
                        SpecField::ServiceAccountName => {
                            let name: Option<Text<'_>> = fields.next_value()?;
                            spec.service_account_name =
                                name.map(|name| name.truncated(MAX_TEXT_BYTES));
                        }
                        SpecField::Containers
                        | SpecField::InitContainers
                        | SpecField::EphemeralContainers => {
                            fields.next_value_seed(Containers(&mut spec.registries))?;
                        }
                        SpecField::Volumes => {
                            fields.next_value_seed(Volumes(&mut spec.registries))?;
                        }
                        SpecField::Other => {
                            fields.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(spec)
            }
        }

        deserializer.deserialize_map(SpecFields)
    }
}

fn short<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Text<'de>>, D::Error> {
    let text = Option::<Text<'de>>::deserialize(deserializer)?;
    Ok(text.map(|text| text.truncated(MAX_TEXT_BYTES)))
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
                registries: spec.registries,
            }),
        }
    }

    /// The private registries of every field that names an image, sorted, each once. At most one more
    /// than a pull Secret has room for.
    pub(super) fn registries(&self) -> &[Registry] {
        let spec = self.spec.as_ref();
        spec.map_or(&[], |spec| spec.registries.as_slice())
    }

    /// Whether the pod has images of more private registries than a pull Secret has room for.
    pub fn has_too_many_registries(&self) -> bool {
        let spec = self.spec.as_ref();
        spec.is_some_and(|spec| spec.registries.are_too_many())
    }

    /// Forgets every name in `imagePullSecrets` but this one. A review can have 7 MiB of names, and
    /// may wait for seconds.
    pub fn forget_other_names(&mut self, secret: &str) {
        let names = self
            .spec
            .as_mut()
            .and_then(|spec| spec.image_pull_secrets.as_mut());
        if let Some(names) = names {
            names.forget_others(secret);
        }
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
