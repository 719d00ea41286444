//! The Secrets that a stored pod uses beside its `imagePullSecrets`: it mounts them, or reads them into
//! environment variables. Builders such as kaniko mount the pull Secret as their docker config.
//!
//! Only the leader reads this. A review is read without it: what these fields look like must not
//! decide whether a pod gets its reference.

use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer};

use super::lists::{Elements, ImageVolume, Names, Registries, SecretReference};
use super::text::Text;

/// What the lists of a stored pod are read into: its registries, and the Secrets that it uses.
pub(super) struct Uses<'k> {
    pub(super) registries: &'k mut Registries,
    pub(super) secrets: &'k mut Names,
}

impl Uses<'_> {
    fn add_image(&mut self, image: Option<Text<'_>>) {
        if !self.registries.are_too_many() {
            self.registries.add(image.as_deref().unwrap_or_default());
        }
    }

    fn add_secret(&mut self, secret: Option<Text<'_>>) {
        let name = secret.as_deref().unwrap_or_default();
        if !self.secrets.contain(name) {
            self.secrets.add(name);
        }
    }
}

/// A list whose elements may be null, or null itself.
type Nullable<T> = Option<Vec<Option<T>>>;

fn each<T>(list: Nullable<T>) -> impl Iterator<Item = T> {
    list.into_iter().flatten().flatten()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredContainer<'a> {
    #[serde(borrow, default)]
    image: Option<Text<'a>>,
    #[serde(borrow, default)]
    env: Nullable<Variable<'a>>,
    #[serde(borrow, default)]
    env_from: Nullable<VariableSource<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Variable<'a> {
    #[serde(borrow, default)]
    value_from: Option<ValueSource<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ValueSource<'a> {
    #[serde(borrow, default)]
    secret_key_ref: Option<SecretReference<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VariableSource<'a> {
    #[serde(borrow, default)]
    secret_ref: Option<SecretReference<'a>>,
}

#[derive(Deserialize)]
struct StoredVolume<'a> {
    #[serde(borrow, default)]
    image: Option<ImageVolume<'a>>,
    #[serde(borrow, default)]
    secret: Option<SecretVolume<'a>>,
    #[serde(borrow, default)]
    projected: Option<ProjectedVolume<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SecretVolume<'a> {
    #[serde(borrow, default)]
    secret_name: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct ProjectedVolume<'a> {
    #[serde(borrow, default)]
    sources: Nullable<ProjectedSource<'a>>,
}

#[derive(Deserialize)]
struct ProjectedSource<'a> {
    #[serde(borrow, default)]
    secret: Option<SecretReference<'a>>,
}

/// Reads a list of containers.
pub(super) struct StoredContainers<'k>(pub(super) Uses<'k>);

impl<'de> DeserializeSeed<'de> for StoredContainers<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(mut self, list: D) -> Result<(), D::Error> {
        let elements = Elements {
            into: &mut self.0,
            add: |uses: &mut Uses<'_>, container: StoredContainer<'_>| {
                uses.add_image(container.image);
                let variables = each(container.env).filter_map(|one| one.value_from);
                let variables = variables.filter_map(|source| source.secret_key_ref);
                let sources = each(container.env_from).filter_map(|one| one.secret_ref);
                for reference in variables.chain(sources) {
                    uses.add_secret(reference.name);
                }
            },
            is_full: |_: &Uses<'_>| false,
            element: PhantomData,
        };
        list.deserialize_option(elements).map(drop)
    }
}

/// Reads a list of volumes.
pub(super) struct StoredVolumes<'k>(pub(super) Uses<'k>);

impl<'de> DeserializeSeed<'de> for StoredVolumes<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(mut self, list: D) -> Result<(), D::Error> {
        let elements = Elements {
            into: &mut self.0,
            add: |uses: &mut Uses<'_>, volume: StoredVolume<'_>| {
                uses.add_image(volume.image.and_then(|image| image.reference));
                uses.add_secret(volume.secret.and_then(|secret| secret.secret_name));
                let sources = volume.projected.and_then(|volume| volume.sources);
                for secret in each(sources).filter_map(|source| source.secret) {
                    uses.add_secret(secret.name);
                }
            },
            is_full: |_: &Uses<'_>| false,
            element: PhantomData,
        };
        list.deserialize_option(elements).map(drop)
    }
}
