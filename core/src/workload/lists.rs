//! The lists of a pod, without the elements that cannot decide anything: a review of 7 MiB has room
//! for two million containers without an image, and views of them all would not fit into memory.
//!
//! This file alone parses the images of a pod.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

use super::text::Text;
use crate::image::Registry;

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

    fn add(&mut self, name: &str) {
        if !name.is_empty() && !name.contains(END) {
            self.0.push_str(name);
            self.0.push(END);
        }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.0.capacity()
    }
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

/// Reads the names of a list of Secret references; `None` where there is no list.
pub(super) fn names<'de, D: Deserializer<'de>>(list: D) -> Result<Option<Names>, D::Error> {
    read(list, |names: &mut Names, reference: SecretReference<'_>| {
        names.add(reference.name.as_deref().unwrap_or_default());
    })
}

/// Reads the private registries of a list of containers; `None` where there is no list.
pub(super) fn containers<'de, D: Deserializer<'de>>(
    list: D,
) -> Result<Option<Vec<Registry>>, D::Error> {
    read(list, |registries, container: Container<'_>| {
        add(registries, container.image.as_ref());
    })
}

/// Reads the private registries of a list of volumes; `None` where there is no list.
pub(super) fn volumes<'de, D: Deserializer<'de>>(
    list: D,
) -> Result<Option<Vec<Registry>>, D::Error> {
    read(list, |registries, volume: Volume<'_>| {
        let reference = volume.image.as_ref();
        add(
            registries,
            reference.and_then(|image| image.reference.as_ref()),
        );
    })
}

fn add(registries: &mut Vec<Registry>, image: Option<&Text<'_>>) {
    if let Some(registry) = image.and_then(|image| Registry::of_image(image))
        && !registry.is_public()
        // Most pods have one registry.
        && registries.last() != Some(&registry)
    {
        registries.push(registry);
    }
}

/// Reads a list one element at a time, and keeps what `keep` takes of each.
fn read<'de, D, T, K>(deserializer: D, keep: impl FnMut(&mut K, T)) -> Result<Option<K>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
    K: Default,
{
    struct Elements<T, K, F>(F, PhantomData<(T, K)>);

    impl<'de, T, K, F> Visitor<'de> for Elements<T, K, F>
    where
        T: Deserialize<'de>,
        K: Default,
        F: FnMut(&mut K, T),
    {
        type Value = Option<K>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_none<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, list: D) -> Result<Self::Value, D::Error> {
            list.deserialize_seq(self)
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut kept = K::default();
            while let Some(element) = list.next_element::<Option<T>>()? {
                if let Some(element) = element {
                    (self.0)(&mut kept, element);
                }
            }
            Ok(Some(kept))
        }
    }

    deserializer.deserialize_option(Elements(keep, PhantomData))
}
