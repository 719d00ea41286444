//! The lists of a pod, of which only that is kept which can decide something: a review of 7 MiB has
//! room for two million containers without an image, and a view of each would take more memory than
//! the process has. An image is parsed here and nowhere else.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

use super::{Container, SecretReference, Text, Volume};
use crate::image::Registry;

/// The names of Secrets, each closed by [`END`]: however many a pod has, they take less than the
/// text that they came in.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(String);

/// No Secret's name has it.
const END: char = '\0';

impl Names {
    /// Whether this one is among them.
    pub(super) fn contain(&self, name: &str) -> bool {
        // After the last end there is nothing.
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

/// Of a list of Secret references, the names; nothing where there is no list.
pub(super) fn names<'de, D: Deserializer<'de>>(list: D) -> Result<Option<Names>, D::Error> {
    read(list, |names: &mut Names, reference: SecretReference<'_>| {
        names.add(reference.name.as_deref().unwrap_or_default());
    })
}

/// Of a list of containers, the private registries; nothing where there is no list.
pub(super) fn containers<'de, D: Deserializer<'de>>(
    list: D,
) -> Result<Option<Vec<Registry>>, D::Error> {
    read(list, |registries, container: Container<'_>| {
        add(registries, container.image.as_ref());
    })
}

/// Of a list of volumes, the private registries; nothing where there is no list.
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

/// Keeps of each element what `keep` takes of it.
fn read<'de, D, T, K>(deserializer: D, keep: impl FnMut(&mut K, T)) -> Result<Option<K>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
    K: Default,
{
    struct List<T, K, F>(F, PhantomData<(T, K)>);

    impl<'de, T, K, F> Visitor<'de> for List<T, K, F>
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

    deserializer.deserialize_option(List(keep, PhantomData))
}
