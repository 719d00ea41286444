//! The lists of a pod, without the elements that cannot decide anything: a review of 7 MiB has room
//! for two million containers without an image, and for a hundred thousand registries. Views of them
//! all would not fit into memory, and each new registry would cost a comparison with all others.
//!
//! This file alone parses the images of a pod.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::text::Text;
use crate::image::Registry;
use crate::pull_secret::MAX_REGISTRIES;

/// Private registries of one pod, sorted, each once. One more than a pull Secret has room for is
/// enough to know that there are too many.
#[derive(Clone, Debug, Default)]
pub(super) struct Registries(Vec<Registry>);

impl Registries {
    /// Whether the pod has more registries than a pull Secret has room for. No further image is
    /// parsed then.
    pub(super) fn are_too_many(&self) -> bool {
        self.0.len() > MAX_REGISTRIES
    }

    pub(super) fn as_slice(&self) -> &[Registry] {
        &self.0
    }

    pub(super) fn add(&mut self, image: &str) {
        if let Some(registry) = Registry::of_image(image)
            && !registry.is_public()
            && let Err(place) = self.0.binary_search(&registry)
        {
            self.0.insert(place, registry);
        }
    }

    /// Adds those of another list.
    pub(super) fn merge(&mut self, others: Self) {
        for registry in others.0 {
            if let Err(place) = self.0.binary_search(&registry)
                && !self.are_too_many()
            {
                self.0.insert(place, registry);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

/// Names of Secrets, each closed by [`END`]. They take less memory than their JSON.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(String);

/// A character that no Secret's name has.
const END: char = '\0';

impl Names {
    /// Whether the list has this name.
    pub(super) fn contain(&self, name: &str) -> bool {
        // Nothing follows the last end.
        self.0.split_terminator(END).any(|held| held == name)
    }

    pub(super) fn add(&mut self, name: &str) {
        if !name.is_empty() && !name.contains(END) {
            self.0.push_str(name);
            self.0.push(END);
        }
    }

    /// Forgets all names but this one.
    pub(super) fn forget_others(&mut self, name: &str) {
        let has_it = self.contain(name);
        *self = Self::default();
        if has_it {
            self.add(name);
        }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

/// A list of Secret references, or null.
#[derive(Default)]
pub(super) struct NameList(pub(super) Option<Names>);

impl<'de> Deserialize<'de> for NameList {
    fn deserialize<D: Deserializer<'de>>(list: D) -> Result<Self, D::Error> {
        let mut names = Names::default();
        let is_list = list.deserialize_option(Elements {
            into: &mut names,
            add: |names: &mut Names, reference: SecretReference<'_>| {
                names.add(reference.name.as_deref().unwrap_or_default());
            },
            is_full: |_: &Names| false,
            element: PhantomData,
        })?;
        Ok(Self(is_list.then_some(names)))
    }
}

#[derive(Deserialize)]
pub(super) struct SecretReference<'a> {
    #[serde(borrow, default)]
    pub(super) name: Option<Text<'a>>,
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
pub(super) struct ImageVolume<'a> {
    #[serde(borrow, default)]
    pub(super) reference: Option<Text<'a>>,
}

/// Adds the private registries of a list of containers.
pub(super) struct Containers<'k>(pub(super) &'k mut Registries);

impl<'de> DeserializeSeed<'de> for Containers<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, list: D) -> Result<(), D::Error> {
        let elements = Elements {
            into: self.0,
            add: |registries: &mut Registries, container: Container<'_>| {
                registries.add(container.image.as_deref().unwrap_or_default());
            },
            is_full: Registries::are_too_many,
            element: PhantomData,
        };
        list.deserialize_option(elements).map(drop)
    }
}

/// Adds the private registries of a list of volumes.
pub(super) struct Volumes<'k>(pub(super) &'k mut Registries);

impl<'de> DeserializeSeed<'de> for Volumes<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, list: D) -> Result<(), D::Error> {
        let elements = Elements {
            into: self.0,
            add: |registries: &mut Registries, volume: Volume<'_>| {
                let image = volume.image.and_then(|image| image.reference);
                registries.add(image.as_deref().unwrap_or_default());
            },
            is_full: Registries::are_too_many,
            element: PhantomData,
        };
        list.deserialize_option(elements).map(drop)
    }
}

/// Reads a list one element at a time, and keeps what `add` takes of each. Once it is full, the
/// elements are skipped. The value is false for null.
pub(super) struct Elements<'k, K, T, A, F> {
    pub(super) into: &'k mut K,
    pub(super) add: A,
    pub(super) is_full: F,
    pub(super) element: PhantomData<T>,
}

impl<'de, K, T, A, F> Visitor<'de> for Elements<'_, K, T, A, F>
where
    T: Deserialize<'de>,
    A: Fn(&mut K, T),
    F: Fn(&K) -> bool,
{
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_none<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_some<D: Deserializer<'de>>(self, list: D) -> Result<bool, D::Error> {
        list.deserialize_seq(self)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<bool, S::Error> {
        while !(self.is_full)(self.into) {
            match list.next_element::<Option<T>>()? {
                Some(Some(element)) => (self.add)(self.into, element),
                Some(None) => {}
                None => return Ok(true),
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(true)
    }
}
