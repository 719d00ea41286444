//! Which namespaces there are, and what their labels ask for.
//!
//! A watch of metadata keeps every namespace in memory. A namespace that the watch has not brought
//! yet is read from the API server: it can be a millisecond older than the request for its pod.

use std::collections::HashMap;

use ecr_pull_secrets_core::names::is_dns_label;
use ecr_pull_secrets_core::selection::Wish;
use ecr_pull_secrets_core::workload::plan::NamespaceFact;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use parking_lot::RwLock;

use super::call::call;
use super::client::Clients;
use super::look_ups::LookUps;
use super::refusal::Refusal;
use super::watch::{Announce, collection, follow};

/// All namespaces of the cluster.
pub(crate) struct Namespaces {
    known: RwLock<HashMap<String, NamespaceFact>>,
    client: Client,
    look_ups: LookUps,
}

impl Namespaces {
    /// Knows none yet, and makes no call.
    pub(crate) fn new(clients: &Clients) -> Self {
        Self {
            known: RwLock::default(),
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
                listed.extend(entry(&namespace.metadata));
            }
            Event::InitDone => *self.known.write() = std::mem::take(&mut listed),
            Event::Apply(namespace) => self.known.write().extend(entry(&namespace.metadata)),
            Event::Delete(namespace) => {
                self.known
                    .write()
                    .remove(namespace.metadata.name.as_deref().unwrap_or_default());
            }
        })
        .await;
    }

    /// From memory only.
    pub(crate) fn cached(&self, name: &str) -> Option<NamespaceFact> {
        self.known.read().get(name).copied()
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
        match self.look_ups.run(|| api.get_metadata_opt(name)).await {
            Some(Some(namespace)) => {
                entry(&namespace.metadata).map_or(NamespaceFact::Unknown, |(_, known)| known)
            }
            Some(None) => NamespaceFact::Missing,
            None => NamespaceFact::Unknown,
        }
    }
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
