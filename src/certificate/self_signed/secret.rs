//! The Secret in our own namespace that holds CA and leaf, for all replicas.

use std::sync::Arc;

use ecr_pull_secrets_core::certificate::trust::StoredCertificates;
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

pub(super) const NAME: &str = "ecr-pull-secrets-tls";
const TYPE: &str = "kubernetes.io/tls";
/// The version of the Secret's format.
const FORMAT: &str = "1";

/// The Secret as it was read.
#[derive(Clone)]
pub(super) struct Stored {
    /// The uid and the version of the Secret.
    pub(super) metadata: ObjectMeta,
    pub(super) material: Material,
    is_managed: bool,
    is_of_our_type: bool,
}

impl Stored {
    /// The part that decides about the next step.
    pub(super) fn certificates(&self) -> StoredCertificates<'_> {
        StoredCertificates {
            held: self.material.held(),
            is_of_our_type: self.is_of_our_type,
            is_managed: self.is_managed,
        }
    }
}

#[derive(Clone)]
pub(super) struct SecretApi {
    secret: OwnSecret,
    /// The DNS name by which the API server calls us.
    pub(super) service: String,
    /// The provider of the keys.
    pub(super) provider: Arc<CryptoProvider>,
}

impl SecretApi {
    /// Calls nothing yet; `namespace` is ours.
    pub(super) fn new(clients: &Clients, namespace: &str, provider: Arc<CryptoProvider>) -> Self {
        Self {
            secret: OwnSecret::new(clients, namespace, NAME, TYPE, FORMAT.to_owned()),
            service: service(namespace),
            provider,
        }
    }

    /// The API to watch the Secret with.
    pub(super) fn watched(&self) -> Api<Secret> {
        self.secret.watched()
    }

    /// Parses the Secret that the API server returned.
    pub(super) fn stored(&self, secret: Secret) -> Stored {
        let labels = secret.metadata.labels.as_ref();
        let manager = labels.and_then(|labels| labels.get(MANAGED_BY));
        Stored {
            is_managed: manager.is_some_and(|manager| manager == OWNER),
            is_of_our_type: secret.type_.as_deref() == Some(TYPE),
            material: Material::read(&secret, &self.service, &self.provider),
            metadata: ObjectMeta {
                managed_fields: None,
                ..secret.metadata
            },
        }
    }

    /// Reads the Secret from the API server.
    pub(super) async fn read(&self) -> Result<Option<Stored>, Refusal> {
        let secret = self.secret.read().await?;
        Ok(secret.map(|secret| self.stored(secret)))
    }

    /// Creates the Secret, or changes the version that was seen.
    ///
    /// # Errors
    ///
    /// [`Refusal::Changed`] if another replica was first.
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
            is_managed: true,
            is_of_our_type: true,
        })
    }
}
