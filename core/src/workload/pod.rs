//! What a pod needs, read from the few fields that matter.
//!
//! [`Pod`] is a view: everything that we do not read stays unread, so a field that this build has
//! never heard of cannot break the decision, let alone get lost. [`decide`] is total: any view
//! gives a decision, and no decision refuses a pod.

use std::borrow::Cow;

pub(crate) use object::{Object, object};
use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, Visitor};

use self::lists::Names;
use crate::image::Registry;
use crate::selection::{Selection, Wish};

/// A string that borrows from the request where JSON allows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrow;

        impl<'de> Visitor<'de> for Borrow {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Borrow)
    }
}

impl Text<'_> {
    /// The same, borrowing from nothing.
    pub fn into_owned(self) -> Text<'static> {
        Text(Cow::Owned(self.0.into_owned()))
    }
}

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// The part of a `v1.Pod` that decides.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pod<'a> {
    #[serde(borrow, default)]
    metadata: Option<Metadata<'a>>,
    #[serde(borrow, default, deserialize_with = "object")]
    spec: Option<Spec<'a>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Metadata<'a> {
    #[serde(borrow, default)]
    labels: Option<Labels<'a>>,
    #[serde(default)]
    annotations: Option<Annotations>,
}

/// The labels that matter.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Labels<'a> {
    #[serde(borrow, default, rename = "ecr-pull-secrets.dev/inject")]
    inject: Option<Text<'a>>,
}

/// The annotations that matter.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Annotations {
    #[serde(
        default,
        rename = "kubernetes.io/config.mirror",
        deserialize_with = "present"
    )]
    mirror: bool,
}

/// The part of a pod's `spec` that matters.
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

#[derive(Deserialize)]
struct SecretReference<'a> {
    #[serde(borrow, default)]
    name: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Container<'a> {
    #[serde(borrow, default)]
    image: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Volume<'a> {
    #[serde(borrow, default)]
    image: Option<ImageVolume<'a>>,
}

#[derive(Deserialize)]
struct ImageVolume<'a> {
    #[serde(borrow, default)]
    reference: Option<Text<'a>>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

impl<'a> Pod<'a> {
    /// A view whose parts somebody read who looks at more of the object than we do.
    pub fn of_parts(
        labels: Option<Labels<'a>>,
        annotations: Option<Annotations>,
        spec: Option<Spec<'a>>,
    ) -> Self {
        let metadata = Metadata {
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
    /// The private registries of every place of a pod that names an image.
    fn registries(&self) -> impl Iterator<Item = &Registry> {
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

    /// The ServiceAccount that the pod runs as; admission has filled it in before we see the pod.
    pub fn service_account(&self) -> &str {
        self.spec
            .as_ref()
            .and_then(|spec| spec.service_account_name.as_deref())
            .filter(|name| !name.is_empty())
            .unwrap_or("default")
    }

    /// Whether `imagePullSecrets` names this Secret.
    pub fn names(&self, secret: &str) -> bool {
        list_of(self, secret) == List::Named
    }

    fn wish(&self) -> Wish {
        let label = self
            .metadata
            .as_ref()
            .and_then(|metadata| metadata.labels.as_ref());
        Wish::of_label(label.and_then(|labels| labels.inject.as_deref()))
    }

    fn is_mirror(&self) -> bool {
        self.metadata
            .as_ref()
            .and_then(|metadata| metadata.annotations.as_ref())
            .is_some_and(|annotations| annotations.mirror)
    }
}

/// What the decision depends on besides the pod and its namespace.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of the pull Secret.
    pub secret_name: String,
    /// Who gets the reference.
    pub selection: Selection,
}

/// Why a pod is none of our business. Its name is the metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// No image comes from a private ECR registry.
    NoEcrImage,
    /// A static pod's mirror: the API server forbids it any Secret.
    MirrorPod,
    /// The pod or its namespace said `false`, or neither said `true` where that is asked for.
    OptedOut,
}

impl Skip {
    /// `snake_case`, for metrics and audit annotations.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoEcrImage => "no_ecr_image",
            Self::MirrorPod => "mirror_pod",
            Self::OptedOut => "opted_out",
        }
    }
}

/// How the list `imagePullSecrets` of the pod stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// Absent or null: it has to be made.
    Absent,
    /// There is a list, maybe an empty one: one element goes to its end.
    Present,
    /// The list names the pull Secret already.
    Named,
}

/// What a pod needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing.
    Skip(Skip),
    /// A pull Secret that opens these registries, and a reference to it unless the list has one.
    Serve {
        /// How the pod's list stands.
        list: List,
        /// The registries that its images come from: sorted, each once, never empty.
        registries: Vec<Registry>,
    },
}

/// Decides what a pod needs; `namespace` is the wish of its namespace.
pub fn decide(pod: &Pod<'_>, namespace: Wish, settings: &Settings) -> Decision {
    if pod.is_mirror() {
        return Decision::Skip(Skip::MirrorPod);
    }
    let mut registries: Vec<Registry> = pod.registries().cloned().collect();
    if registries.is_empty() {
        return Decision::Skip(Skip::NoEcrImage);
    }
    if !settings.selection.admits(pod.wish(), namespace) {
        return Decision::Skip(Skip::OptedOut);
    }
    registries.sort_unstable();
    registries.dedup();
    Decision::Serve {
        list: list_of(pod, &settings.secret_name),
        registries,
    }
}

fn list_of(pod: &Pod<'_>, secret_name: &str) -> List {
    let list = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.image_pull_secrets.as_ref());
    match list {
        None => List::Absent,
        Some(names) if names.contain(secret_name) => List::Named,
        Some(_) => List::Present,
    }
}

mod lists;
mod object;
mod owned;
#[cfg(test)]
mod tests;
