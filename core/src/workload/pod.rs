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
use super::uses::{StoredContainers, StoredVolumes, Uses};
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
    /// Whether an ephemeral container has an image from one of them.
    is_ephemeral: bool,
    /// Whether another field names one of them: the pod needed its reference when it was created.
    is_lasting: bool,
    /// The Secrets that the pod uses otherwise: of a stored pod alone.
    used_secrets: Names,
}

/// The same part of a stored pod, with the Secrets that it mounts or reads into its environment.
#[derive(Clone, Debug, Default)]
pub struct StoredSpec<'a>(pub Spec<'a>);

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

impl<'de: 'a, 'a> Deserialize<'de> for Spec<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(SpecFields { is_stored: false })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for StoredSpec<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spec = deserializer.deserialize_map(SpecFields { is_stored: true })?;
        Ok(Self(spec))
    }
}

/// All lists of images share one set of registries, so the fields are read by hand.
struct SpecFields {
    is_stored: bool,
}

impl<'de> Visitor<'de> for SpecFields {
    type Value = Spec<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pod's spec")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Spec<'de>, A::Error> {
        let mut spec = Spec::default();
        let mut ephemeral = Registries::default();
        let mut seen = [false; SpecField::Other as usize];
        while let Some(field) = fields.next_key()? {
            let is_repeated = seen.get_mut(field as usize);
            if is_repeated.is_some_and(|seen| std::mem::replace(seen, true)) {
                return Err(A::Error::custom("duplicate field in a pod's spec"));
            }
            let registries = match field {
                SpecField::EphemeralContainers => &mut ephemeral,
                _ => &mut spec.registries,
            };
            let secrets = self.is_stored.then_some(&mut spec.used_secrets);
            match (field, secrets) {
                (SpecField::ImagePullSecrets, _) => {
                    spec.image_pull_secrets = fields.next_value::<NameList>()?.0;
                }
                (SpecField::ServiceAccountName, _) => {
                    let name: Option<Text<'_>> = fields.next_value()?;
                    spec.service_account_name = name.map(|name| name.truncated(MAX_TEXT_BYTES));
                }
                (SpecField::Volumes, None) => fields.next_value_seed(Volumes(registries))?,
                (SpecField::Volumes, Some(secrets)) => {
                    let uses = Uses {
                        registries,
                        secrets,
                    };
                    fields.next_value_seed(StoredVolumes(uses))?;
                }
                (SpecField::Other, _) => {
                    fields.next_value::<IgnoredAny>()?;
                }
                // Containers of each kind.
                (_, None) => fields.next_value_seed(Containers(registries))?,
                (_, Some(secrets)) => {
                    let uses = Uses {
                        registries,
                        secrets,
                    };
                    fields.next_value_seed(StoredContainers(uses))?;
                }
            }
        }
        spec.is_lasting = !spec.registries.as_slice().is_empty();
        spec.is_ephemeral = !ephemeral.as_slice().is_empty();
        spec.registries.merge(ephemeral);
        Ok(spec)
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
                is_ephemeral: spec.is_ephemeral,
                is_lasting: spec.is_lasting,
                used_secrets: spec.used_secrets,
            }),
        }
    }

    /// The private registries of every field that names an image, sorted, each once. At most one more
    /// than a pull Secret has room for.
    pub(super) fn registries(&self) -> &[Registry] {
        let spec = self.spec.as_ref();
        spec.map_or(&[], |spec| spec.registries.as_slice())
    }

    /// Whether the pod has a `spec`, as every pod of an API server has. Without it, the reference has no place.
    pub(super) fn has_spec(&self) -> bool {
        self.spec.is_some()
    }

    /// Whether an ephemeral container has an image from a private registry.
    pub(super) fn has_ephemeral_registry(&self) -> bool {
        self.spec.as_ref().is_some_and(|spec| spec.is_ephemeral)
    }

    /// Whether anything but an ephemeral container has an image from a private registry.
    pub(super) fn has_lasting_registry(&self) -> bool {
        self.spec.as_ref().is_some_and(|spec| spec.is_lasting)
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

    /// Whether a stored pod names this Secret, mounts it, or reads it into its environment.
    pub fn uses(&self, secret: &str) -> bool {
        let spec = self.spec.as_ref();
        self.names(secret) || spec.is_some_and(|spec| spec.used_secrets.contain(secret))
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
