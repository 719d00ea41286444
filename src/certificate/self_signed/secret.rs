//! The Secret in our own namespace that holds CA and leaf, for all replicas.

use std::sync::Arc;

use ecr_pull_secrets_core::pull_secret::{MANAGED_BY, OWNER};
use ecr_pull_secrets_core::version::ObjectVersion;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use rustls::crypto::CryptoProvider;

use super::material::Material;
use crate::certificate::served::service;
use crate::cluster::client::Clients;
use crate::cluster::own_secret::OwnSecret;
use crate::cluster::refusal::Refusal;

/// Its name.
pub(super) const NAME: &str = "ecr-pull-secrets-tls";
const TYPE: &str = "kubernetes.io/tls";
/// The version of what is in it.
const FORMAT: &str = "1";

/// The Secret, as it was seen.
#[derive(Clone)]
pub(super) struct Stored {
    /// Its version.
    pub(super) metadata: ObjectMeta,
    /// What it holds.
    pub(super) material: Material,
    /// Whether it is marked as ours.
    pub(super) is_ours: bool,
    /// Whether it is of the type that we write. The type of a Secret never changes.
    pub(super) is_of_our_type: bool,
}

/// The Secret's API.
#[derive(Clone)]
pub(super) struct SecretApi {
    secret: OwnSecret,
    /// What the API server calls us.
    pub(super) service: String,
    /// Of the keys.
    pub(super) provider: Arc<CryptoProvider>,
}

impl SecretApi {
    /// Talks to nobody yet; `namespace` is ours.
    pub(super) fn new(clients: &Clients, namespace: &str, provider: Arc<CryptoProvider>) -> Self {
        Self {
            secret: OwnSecret::new(clients, namespace, NAME, TYPE, FORMAT.to_owned()),
            service: service(namespace),
            provider,
        }
    }

    /// What to watch it with.
    pub(super) fn watched(&self) -> Api<Secret> {
        self.secret.watched()
    }

    /// Looks at what the API server said.
    pub(super) fn stored(&self, secret: Secret) -> Stored {
        let labels = secret.metadata.labels.as_ref();
        let manager = labels.and_then(|labels| labels.get(MANAGED_BY));
        Stored {
            is_ours: manager.is_some_and(|manager| manager == OWNER),
            is_of_our_type: secret.type_.as_deref() == Some(TYPE),
            material: Material::read(&secret, &self.service, &self.provider),
            metadata: ObjectMeta {
                managed_fields: None,
                ..secret.metadata
            },
        }
    }

    /// What is there now.
    ///
    /// # Errors
    ///
    /// [`Refusal`] of the API server.
    pub(super) async fn read(&self) -> Result<Option<Stored>, Refusal> {
        let secret = self.secret.read().await?;
        Ok(secret.map(|secret| self.stored(secret)))
    }

    /// Makes the Secret where there was none, or changes the one that was seen.
    ///
    /// # Errors
    ///
    /// [`Refusal::Changed`] when that is not so any more.
    pub(super) async fn write(
        &self,
        base: Option<&ObjectVersion>,
        material: Material,
    ) -> Result<Stored, Refusal> {
        let data = material.data().into_iter();
        let data = data.map(|(key, value)| (key.to_owned(), Some(value)));
        let metadata = self.secret.write(base, data.collect()).await?;
        Ok(Stored {
            metadata: ObjectMeta {
                managed_fields: None,
                ..metadata
            },
            material,
            is_ours: true,
            is_of_our_type: true,
        })
    }
}
