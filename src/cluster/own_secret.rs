//! Secrets in our own namespace that the replicas share: made by whichever comes first, and changed
//! key by key, so that what a later version put there stays.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ecr_pull_secrets_core::pull_secret::{MANAGED_BY, OWNER, annotation};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::client::Clients;
use super::pull_secrets::within;
use super::refusal::Refusal;

/// One of them.
#[derive(Clone)]
pub(crate) struct OwnSecret {
    watched: Api<Secret>,
    called: Api<Secret>,
    name: &'static str,
    kind: &'static str,
    format: String,
}

impl OwnSecret {
    /// Talks to nobody yet. `namespace` is ours, `kind` the Secret's type, `format` the version of
    /// what is in it.
    pub(crate) fn new(
        clients: &Clients,
        namespace: &str,
        name: &'static str,
        kind: &'static str,
        format: String,
    ) -> Self {
        Self {
            watched: Api::namespaced(clients.watch.clone(), namespace),
            called: Api::namespaced(clients.call.clone(), namespace),
            name,
            kind,
            format,
        }
    }

    /// What to watch it with.
    pub(crate) fn watched(&self) -> Api<Secret> {
        self.watched.clone()
    }

    /// What is there now.
    ///
    /// # Errors
    ///
    /// [`Refusal`] of the API server.
    pub(crate) async fn read(&self) -> Result<Option<Secret>, Refusal> {
        within(|| self.called.get_opt(self.name)).await
    }

    /// Creates it where there was none, or changes these keys of the one that was seen; a key
    /// without a value is removed. Returns the new metadata.
    ///
    /// # Errors
    ///
    /// [`Refusal::Changed`] when it is not the one that was seen any more, [`Refusal::Owned`] when
    /// there was to be none.
    pub(crate) async fn write(
        &self,
        seen: Option<&ObjectMeta>,
        data: BTreeMap<String, Option<Vec<u8>>>,
    ) -> Result<ObjectMeta, Refusal> {
        let data: BTreeMap<String, Value> = data
            .into_iter()
            .map(|(key, value)| (key, value.map(|value| BASE64_STANDARD.encode(value)).into()))
            .collect();
        let labels = json!({ MANAGED_BY: OWNER });
        let (params, patch) = match seen {
            // Older than any object: "create only".
            None => (
                PatchParams::apply(OWNER),
                Patch::Apply(json!({
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {
                        "name": self.name,
                        "resourceVersion": "1",
                        "labels": labels,
                        "annotations": { annotation::FORMAT: self.format },
                    },
                    "type": self.kind,
                    "data": data,
                })),
            ),
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
                    },
                    "data": data,
                })),
            ),
        };
        let answer = within(|| self.called.patch_metadata(self.name, &params, &patch)).await?;
        Ok(answer.metadata)
    }
}
