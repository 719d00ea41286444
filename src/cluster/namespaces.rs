//! Which namespaces there are, and what they wish.
//!
//! A watch of metadata keeps every namespace in memory. One that the watch has not brought yet (a
//! namespace can be younger than the pod's request by a millisecond) is asked for.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use ecr_pull_secrets_core::selection::Wish;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};

use super::client::Clients;
use super::look_ups::LookUps;
use super::watch::{Announce, follow};

/// What we know about a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// It is there, with this wish.
    Active(Wish),
    /// It is being deleted: nothing new can be made in it.
    Terminating(Wish),
    /// There is none of this name.
    Missing,
    /// The API server did not say in time.
    Unknown,
}

impl Known {
    /// What the label of the namespace asks for. One that could not be looked at counts as in: a
    /// reference too many does no harm, one too few cannot be added later.
    pub(crate) fn wish(self) -> Wish {
        match self {
            Self::Active(wish) | Self::Terminating(wish) => wish,
            Self::Missing => Wish::None,
            Self::Unknown => Wish::In,
        }
    }
}

/// All namespaces of the cluster.
pub(crate) struct Namespaces {
    known: RwLock<HashMap<String, Known>>,
    client: Client,
    look_ups: LookUps,
}

impl Namespaces {
    /// Knows none yet.
    pub(crate) fn new(clients: &Clients) -> Self {
        Self {
            known: RwLock::default(),
            client: clients.call.clone(),
            look_ups: clients.look_ups.clone(),
        }
    }

    /// Keeps them up to date, for ever.
    pub(crate) async fn watch(&self, client: Client, announce: Announce) {
        let events = watcher(
            Api::<PartialObjectMeta<Namespace>>::all(client),
            watcher::Config::default(),
        );
        let mut listed = HashMap::new();
        follow("namespaces", events, announce, |event| match event {
            Event::Init => listed.clear(),
            Event::InitApply(namespace) => {
                listed.extend(entry(&namespace.metadata));
            }
            Event::InitDone => *self.write() = std::mem::take(&mut listed),
            Event::Apply(namespace) => self.write().extend(entry(&namespace.metadata)),
            Event::Delete(namespace) => {
                self.write()
                    .remove(namespace.metadata.name.as_deref().unwrap_or_default());
            }
        })
        .await;
    }

    /// From memory only.
    pub(crate) fn cached(&self, name: &str) -> Option<Known> {
        self.known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .copied()
    }

    /// From memory, or from the API server.
    pub(crate) async fn look_up(&self, name: &str) -> Known {
        if let Some(known) = self.cached(name) {
            return known;
        }
        // The name comes from whoever sent the review, and goes into the path of calls.
        if !is_label(name) {
            return Known::Missing;
        }
        let api: Api<Namespace> = Api::all(self.client.clone());
        match self.look_ups.run(api.get_metadata_opt(name)).await {
            Some(Some(namespace)) => {
                entry(&namespace.metadata).map_or(Known::Unknown, |(_, known)| known)
            }
            Some(None) => Known::Missing,
            None => Known::Unknown,
        }
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<String, Known>> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the API server takes as a namespace's name (RFC 1123).
fn is_label(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn entry(metadata: &ObjectMeta) -> Option<(String, Known)> {
    let label = metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(Wish::LABEL));
    let wish = Wish::of_label(label.map(String::as_str));
    let known = match metadata.deletion_timestamp {
        Some(_) => Known::Terminating(wish),
        None => Known::Active(wish),
    };
    Some((metadata.name.clone()?, known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_the_name_of_a_dns_label() {
        for name in ["a", "0", "team-a", &"a".repeat(63)] {
            assert!(is_label(name), "{name}");
        }
        for name in [
            "",
            "-a",
            "a-",
            "A",
            "a.b",
            "a/b",
            "a?b",
            "\u{e4}",
            &"a".repeat(64),
        ] {
            assert!(!is_label(name), "{name}");
        }
    }

    #[test]
    fn a_namespace_that_could_not_be_looked_at_keeps_no_pod_from_its_reference() {
        assert_eq!(Known::Unknown.wish(), Wish::In);
        assert_eq!(Known::Missing.wish(), Wish::None);
        assert_eq!(Known::Active(Wish::Out).wish(), Wish::Out);
        assert_eq!(Known::Terminating(Wish::In).wish(), Wish::In);
    }
}
