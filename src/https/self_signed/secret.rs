//! The Secret in our own namespace that holds CA and leaf, for all replicas.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ecr_pull_secrets_core::pull_secret::{MANAGED_BY, OWNER, annotation};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{Patch, PatchParams};
use rustls::crypto::CryptoProvider;
use serde_json::{Map, Value, json};

use super::material::Material;
use crate::cluster::apply::within;
use crate::cluster::connect::Clients;
use crate::cluster::refusal::Refusal;
use crate::https::certificate::service;

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
    /// For the watch.
    pub(super) watched: Api<Secret>,
    called: Api<Secret>,
    /// What the API server calls us.
    pub(super) service: String,
    /// Of the keys.
    pub(super) provider: Arc<CryptoProvider>,
}

impl SecretApi {
    /// Talks to nobody yet; `namespace` is ours.
    pub(super) fn new(clients: &Clients, namespace: &str, provider: Arc<CryptoProvider>) -> Self {
        Self {
            watched: Api::namespaced(clients.watch.clone(), namespace),
            called: Api::namespaced(clients.call.clone(), namespace),
            service: service(namespace),
            provider,
        }
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
        let secret = within(|| self.called.get_opt(NAME)).await?;
        Ok(secret.map(|secret| self.stored(secret)))
    }

    /// Makes the Secret where there was none, or changes the one that was seen.
    ///
    /// # Errors
    ///
    /// [`Refusal::Changed`] when that is not so any more.
    pub(super) async fn write(
        &self,
        seen: Option<&ObjectMeta>,
        material: Material,
    ) -> Result<Stored, Refusal> {
        let data: Map<String, Value> = material
            .data()
            .into_iter()
            .map(|(key, value)| (key.to_owned(), BASE64_STANDARD.encode(value).into()))
            .collect();
        let labels = json!({ MANAGED_BY: OWNER });
        let annotations = json!({ annotation::FORMAT: FORMAT });
        let (params, patch) = match seen {
            // Older than any object: "create only".
            None => (
                PatchParams::apply(OWNER),
                Patch::Apply(json!({
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {
                        "name": NAME,
                        "resourceVersion": "1",
                        "labels": labels,
                        "annotations": annotations,
                    },
                    "type": TYPE,
                    "data": data,
                })),
            ),
            // Nothing but these keys: what a later version put there stays.
            Some(metadata) => (
                PatchParams {
                    field_manager: Some(OWNER.to_owned()),
                    ..PatchParams::default()
                },
                Patch::Merge(json!({
                    "metadata": {
                        "uid": metadata.uid,
                        "resourceVersion": metadata.resource_version,
                        "labels": labels,
                        "annotations": annotations,
                    },
                    "data": data,
                })),
            ),
        };
        let answer = within(|| self.called.patch_metadata(NAME, &params, &patch)).await?;
        Ok(Stored {
            metadata: ObjectMeta {
                managed_fields: None,
                ..answer.metadata
            },
            material,
            is_ours: true,
            is_of_our_type: true,
        })
    }
}
