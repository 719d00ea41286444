//! The lists of a pod, of which only those elements are kept that can decide something: a review of
//! 7 MiB has room for two million containers without an image, and a view of each would take more
//! memory than the process has.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

use super::{Container, SecretReference, Volume};
use crate::image::Registry;

/// An element of a list.
pub(super) trait Element {
    /// So many are kept.
    const MOST: usize = usize::MAX;

    /// Whether it can decide something.
    fn matters(&self) -> bool;
}

impl Element for Container<'_> {
    fn matters(&self) -> bool {
        is_ecr(self.image.as_deref())
    }
}

impl Element for Volume<'_> {
    fn matters(&self) -> bool {
        is_ecr(
            self.image
                .as_ref()
                .and_then(|image| image.reference.as_deref()),
        )
    }
}

impl Element for SecretReference<'_> {
    /// A name takes next to nothing, and no pod has a hundred.
    const MOST: usize = 4096;

    fn matters(&self) -> bool {
        self.name.as_deref().is_some_and(|name| !name.is_empty())
    }
}

fn is_ecr(image: Option<&str>) -> bool {
    image.is_some_and(|image| Registry::of_image(image).is_some())
}

/// What is kept of a list; nothing where there is no list.
pub(super) fn what_matters<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Element,
{
    struct List<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de> + Element> Visitor<'de> for List<T> {
        type Value = Option<Vec<T>>;

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

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut kept = Vec::new();
            while let Some(element) = list.next_element::<Option<T>>()? {
                kept.extend(element.filter(|element| kept.len() < T::MOST && element.matters()));
            }
            Ok(Some(kept))
        }
    }

    deserializer.deserialize_option(List(PhantomData))
}
