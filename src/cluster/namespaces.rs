//! Which namespaces there are, and what their labels and annotations ask for.
//!
//! A watch of metadata keeps every namespace in memory. A namespace that the watch has not brought
//! yet is read from the API server: it can be a millisecond older than the request for its pod.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use ecr_pull_secrets_core::names::is_dns_label;
use ecr_pull_secrets_core::pull_secret::annotation;
use ecr_pull_secrets_core::selection::Wish;
use ecr_pull_secrets_core::workload::claim::NamespaceFact;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use parking_lot::RwLock;

use super::call::{CALL_TIMEOUT, call};
use super::client::Clients;
use super::look_ups::LookUps;
use super::pages::Pages;
use super::refusal::Refusal;
use super::watch::{Announce, PAGE_SIZE, collection, follow};

/// All namespaces of the cluster.
pub(crate) struct Namespaces {
    known: RwLock<HashMap<String, NamespaceFact>>,
    /// Those with the annotation [`annotation::REMOVE`]: few.
    removals: RwLock<HashSet<String>>,
    edition: AtomicU64,
    client: Client,
    look_ups: LookUps,
}

impl Namespaces {
    /// Knows none yet, and makes no call.
    pub(crate) fn new(clients: &Clients) -> Self {
        Self {
            known: RwLock::default(),
            removals: RwLock::default(),
            edition: AtomicU64::default(),
            client: clients.call.clone(),
            look_ups: clients.look_ups.clone(),
        }
    }

    /// Keeps them up to date, until dropped.
    pub(crate) async fn watch(&self, client: Client, announce: Announce) {
        let events = collection(
            Api::<PartialObjectMeta<Namespace>>::all(client),
            watcher::Config::default(),
        );
        let mut listed = HashMap::new();
        follow("namespaces", events, announce, |event| match event {
            Event::Init => listed.clear(),
            Event::InitApply(namespace) => {
                self.note_removal(&namespace.metadata);
                listed.extend(entry(&namespace.metadata));
            }
            Event::InitDone => {
                *self.known.write() = std::mem::take(&mut listed);
                self.changed();
            }
            Event::Apply(namespace) => {
                self.note_removal(&namespace.metadata);
                if let Some((name, fact)) = entry(&namespace.metadata)
                    && self.known.write().insert(name, fact) != Some(fact)
                {
                    self.changed();
                }
            }
            Event::Delete(namespace) => {
                let name = namespace.metadata.name.as_deref().unwrap_or_default();
                self.removals.write().remove(name);
                self.known.write().remove(name);
                self.changed();
            }
        })
        .await;
    }

    /// Enters a namespace that a list brought, for a process that does not watch them.
    pub(crate) fn saw(&self, metadata: &ObjectMeta) {
        self.known.write().extend(entry(metadata));
    }

    /// Reads a namespace again and enters it, for a process that does not watch them.
    ///
    /// # Errors
    ///
    /// [`Refusal`], never a conflict.
    pub(crate) async fn read_again(&self, name: &str) -> Result<NamespaceFact, Refusal> {
        let found = read(&self.client, name).await?;
        let fact = found.as_ref().map_or(NamespaceFact::Missing, fact_of);
        self.known.write().insert(name.to_owned(), fact);
        Ok(fact)
    }

    /// From memory only.
    pub(crate) fn cached(&self, name: &str) -> Option<NamespaceFact> {
        self.known.read().get(name).copied()
    }

    /// A number that is another one whenever memory may answer something else.
    pub(crate) fn edition(&self) -> u64 {
        self.edition.load(Ordering::Acquire)
    }

    fn changed(&self) {
        self.edition.fetch_add(1, Ordering::Release);
    }

    /// Whether the namespace asks that what its pull Secret shall not hold is removed at once.
    pub(crate) fn asks_removal(&self, name: &str) -> bool {
        self.removals.read().contains(name)
    }

    fn note_removal(&self, metadata: &ObjectMeta) {
        let name = metadata.name.as_deref().unwrap_or_default();
        let annotations = metadata.annotations.as_ref();
        let value = annotations.and_then(|all| all.get(annotation::REMOVE));
        let mut removals = self.removals.write();
        let is_news = if value.is_some_and(|value| value == "true") {
            removals.insert(name.to_owned())
        } else {
            removals.remove(name)
        };
        drop(removals);
        if is_news {
            self.changed();
        }
    }

    /// From memory, or from the API server.
    pub(crate) async fn look_up(&self, name: &str) -> NamespaceFact {
        if let Some(known) = self.cached(name) {
            return known;
        }
        // The sender of the review chooses the name, which goes into the path of the call.
        if !is_dns_label(name) {
            return NamespaceFact::Missing;
        }
        let api: Api<Namespace> = Api::all(self.client.clone());
        let read = async { call(|| api.get_metadata_opt(name)).await.ok() };
        match self.look_ups.namespaces.run(name, read).await {
            Some(Some(namespace)) => {
                entry(&namespace.metadata).map_or(NamespaceFact::Unknown, |(_, known)| known)
            }
            Some(None) => NamespaceFact::Missing,
            None => NamespaceFact::Unknown,
        }
    }
}

/// The metadata of all namespaces with these labels, page by page.
pub(crate) fn pages(client: &Client, labels: Option<&str>) -> Pages<PartialObjectMeta<Namespace>> {
    let params = ListParams {
        label_selector: labels.map(str::to_owned),
        ..ListParams::default().limit(PAGE_SIZE)
    };
    Pages::new(Api::all(client.clone()), params, CALL_TIMEOUT)
}

/// Reads the metadata of a namespace, for a caller that needs its labels as they are now.
///
/// # Errors
///
/// [`Refusal`], never a conflict.
pub(crate) async fn read(client: &Client, name: &str) -> Result<Option<ObjectMeta>, Refusal> {
    let api: Api<Namespace> = Api::all(client.clone());
    let found = call(|| api.get_metadata_opt(name)).await?;
    Ok(found.map(|namespace| namespace.metadata))
}

fn entry(metadata: &ObjectMeta) -> Option<(String, NamespaceFact)> {
    Some((metadata.name.clone()?, fact_of(metadata)))
}

/// The state of the namespace with this metadata.
pub(crate) fn fact_of(metadata: &ObjectMeta) -> NamespaceFact {
    let label = metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(Wish::LABEL));
    let wish = Wish::of_label(label.map(String::as_str));
    match metadata.deletion_timestamp {
        Some(_) => NamespaceFact::Terminating(wish),
        None => NamespaceFact::Active(wish),
    }
}
