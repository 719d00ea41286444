//! Secrets in our own namespace that the replicas share.
//!
//! The first replica that needs one creates it. Changes go key by key, so that a key of a later
//! version stays.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ecr_pull_secrets_core::pull_secret::{MANAGED_BY, OWNER, annotation};
use ecr_pull_secrets_core::version::ObjectVersion;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use serde_json::json;

use super::call::call;
use super::client::Clients;
use super::optimistic::Write;
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
    /// Makes no call yet. `namespace` is ours, `kind` the Secret's type, `format` the version of its
    /// content.
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

    /// The API to watch it with.
    pub(crate) fn watched(&self) -> Api<Secret> {
        self.watched.clone()
    }

    /// Reads it.
    ///
    /// # Errors
    ///
    /// [`Refusal`], never a conflict.
    pub(crate) async fn read(&self) -> Result<Option<Secret>, Refusal> {
        call(|| self.called.get_opt(self.name)).await
    }

    /// Creates it where there was none, or changes these keys of the version that was read; a key
    /// without a value is removed. Returns the new metadata.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; a conflict when the Secret is not the one that was read.
    pub(crate) async fn write(
        &self,
        base: Option<&ObjectVersion>,
        data: BTreeMap<String, Option<Vec<u8>>>,
    ) -> Result<ObjectMeta, Refusal> {
        self.write_with(base, data, BTreeMap::new()).await
    }

    /// The same, and sets annotations.
    ///
    /// # Errors
    ///
    /// As [`OwnSecret::write`].
    pub(crate) async fn write_with(
        &self,
        base: Option<&ObjectVersion>,
        data: BTreeMap<String, Option<Vec<u8>>>,
        annotations: BTreeMap<String, String>,
    ) -> Result<ObjectMeta, Refusal> {
        let Some(base) = base else {
            let secret = self.whole(data, annotations);
            return Write::create(OWNER, secret)
                .send(&self.called, self.name)
                .await;
        };
        let data: BTreeMap<String, Option<String>> = data
            .into_iter()
            .map(|(key, value)| (key, value.map(|value| BASE64_STANDARD.encode(value))))
            .collect();
        let mut metadata = json!({ "labels": { MANAGED_BY: OWNER } });
        if !annotations.is_empty() {
            metadata["annotations"] = json!(annotations);
        }
        let patch = json!({ "metadata": metadata, "data": data });
        Write::merge(OWNER, base, patch)
            .send(&self.called, self.name)
            .await
    }

    fn whole(
        &self,
        data: BTreeMap<String, Option<Vec<u8>>>,
        mut annotations: BTreeMap<String, String>,
    ) -> Secret {
        annotations.insert(annotation::FORMAT.to_owned(), self.format.clone());
        let data = data
            .into_iter()
            .filter_map(|(key, value)| Some((key, ByteString(value?))));
        Secret {
            metadata: ObjectMeta {
                name: Some(self.name.to_owned()),
                labels: Some([(MANAGED_BY.to_owned(), OWNER.to_owned())].into()),
                annotations: Some(annotations),
                ..ObjectMeta::default()
            },
            type_: Some(self.kind.to_owned()),
            data: Some(data.collect()),
            ..Secret::default()
        }
    }
}
