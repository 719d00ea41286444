//! What each pull Secret holds: a [`Book`] behind a lock, kept by a watch of metadata.
//!
//! Our own writes enter the book at once. The watch replaces them only with newer metadata.

use std::sync::Arc;

use ecr_pull_secrets_core::pull_secret::book::Book;
use ecr_pull_secrets_core::pull_secret::content::Grant;
use ecr_pull_secrets_core::pull_secret::held::{SecretChange, SecretReading};
use ecr_pull_secrets_core::target::Target;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use parking_lot::{RwLock, RwLockReadGuard};

use super::metadata::{secret_metadata, target};
use crate::cluster::watch::{Announce, collection, follow};

/// A Secret that changed, and how.
pub(crate) type Changed = (Target, SecretChange);

/// The pull Secrets of the cluster. It knows none at first.
#[derive(Debug, Default)]
pub struct Ledger(RwLock<Book>);

impl Ledger {
    /// The book as it is now. A writer waits while a caller reads.
    #[inline]
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Book> {
        self.0.read()
    }

    /// Keeps the Secrets of one name up to date until dropped. `changed` is called for every one that
    /// changed.
    pub(crate) async fn watch(
        &self,
        client: Client,
        secret: &str,
        announce: Announce,
        changed: impl Fn(Target, SecretChange),
    ) {
        let name: Arc<str> = secret.into();
        // The name in the field selector is what lets RBAC use `resourceNames`.
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let events = collection(Api::<PartialObjectMeta<Secret>>::all(client), config);
        follow("secrets", events, announce, |event| match event {
            Event::Init => self.0.write().begin_list(&name),
            Event::InitApply(secret) => {
                self.saw(&secret.metadata);
            }
            Event::Apply(secret) => {
                let change = self.saw(&secret.metadata);
                changed(target(&secret.metadata), change);
            }
            Event::InitDone => {
                let changes = self.0.write().end_list(&name);
                // A Secret may have changed while there was no watch.
                for (namespace, change) in changes {
                    changed(Target::new(namespace, name.clone()), change);
                }
            }
            Event::Delete(secret) => {
                let metadata = &secret.metadata;
                let (target, version) = (target(metadata), secret_metadata(metadata).version());
                self.0.write().lost(&target, version);
                changed(target, SecretChange::Deleted);
            }
        })
        .await;
    }

    /// Enters what a write or a live read brought.
    pub fn saw(&self, metadata: &ObjectMeta) -> SecretChange {
        let reading = SecretReading::of(&secret_metadata(metadata));
        let target = target(metadata);
        self.0.write().saw(&target, reading)
    }

    /// Enters that a live read found no Secret.
    pub(crate) fn missed(&self, target: &Target) {
        self.0.write().missed(target);
    }

    /// Enters that a live read found a Secret that is not ours to write.
    pub(crate) fn refuses(&self, metadata: &ObjectMeta) {
        let version = secret_metadata(metadata).version();
        self.0.write().refuses(&target(metadata), version);
    }

    /// Enters that content of another field manager serves the registries of these grants until
    /// then.
    pub(crate) fn tolerate(&self, metadata: &ObjectMeta, grants: &[Grant], until: Timestamp) {
        let reading = SecretReading::of(&secret_metadata(metadata));
        let target = target(metadata);
        self.0.write().tolerate(&target, reading, grants, until);
    }

    /// Whether the Secret exists, as far as is known.
    pub fn holds(&self, target: &Target) -> bool {
        self.read().holds(target)
    }
}
