//! Server-side apply of pull Secrets: the only calls of ours that write one.
//!
//! Every apply carries a resource version. `"1"` is older than any object, so it means "create
//! only"; an update also carries the uid, or it would bring back a Secret that was deleted
//! meanwhile. No call waits longer than [`CALL_TIMEOUT`].

use std::collections::BTreeMap;

use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::pull_secret::content::Content;
use ecr_pull_secrets_core::pull_secret::{DATA_KEY, MANAGED_BY, OWNER, SECRET_TYPE, annotation};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use secrecy::ExposeSecret as _;
use serde_json::json;
use tokio::time::timeout;

use super::client::CALL_TIMEOUT;
use super::refusal::{Refusal, refusal};

/// What an apply stands on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Base<'a> {
    /// There is no Secret, or so we think.
    Absent,
    /// The Secret with this metadata, which was read and found to be ours to write. Fields that
    /// others own are taken over: the version says that nobody wrote since.
    Read(&'a ObjectMeta),
}

/// The pull Secrets of all namespaces, all of one name.
#[derive(Clone)]
pub struct PullSecretApi {
    client: Client,
    name: String,
}

impl PullSecretApi {
    /// Talks to nobody yet.
    pub fn new(client: Client, name: &str) -> Self {
        Self {
            client,
            name: name.to_owned(),
        }
    }

    /// Reads the Secret, content and all.
    ///
    /// # Errors
    ///
    /// [`Refusal`], never `Changed` or `Owned`.
    pub(crate) async fn read(&self, namespace: &str) -> Result<Option<Secret>, Refusal> {
        let api = self.api(namespace);
        within(|| api.get_opt(&self.name)).await
    }

    /// Writes content. Returns the new metadata.
    ///
    /// # Errors
    ///
    /// [`Refusal::Changed`] when the base does not hold any more, [`Refusal::Owned`] when there was
    /// to be no Secret and somebody else's is there.
    pub(crate) async fn apply(
        &self,
        namespace: &str,
        base: Base<'_>,
        content: &Content,
    ) -> Result<ObjectMeta, Refusal> {
        let (resource_version, uid, force) = match base {
            Base::Absent => (Some("1".to_owned()), None, false),
            Base::Read(metadata) => (
                metadata.resource_version.clone(),
                metadata.uid.clone(),
                true,
            ),
        };
        let annotations = content
            .annotations
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()));
        let data = ByteString(content.docker_config.expose_secret().as_bytes().to_vec());
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(namespace.to_owned()),
                labels: Some(BTreeMap::from([(MANAGED_BY.to_owned(), OWNER.to_owned())])),
                annotations: Some(annotations.collect()),
                resource_version,
                uid,
                ..ObjectMeta::default()
            },
            type_: Some(SECRET_TYPE.to_owned()),
            data: Some(BTreeMap::from([(DATA_KEY.to_owned(), data)])),
            ..Secret::default()
        };
        let params = PatchParams {
            force,
            ..PatchParams::apply(OWNER)
        };
        let patch = Patch::Apply(&secret);
        let api = self.api(namespace);
        within(|| api.patch_metadata(&self.name, &params, &patch))
            .await
            .map(|answer| answer.metadata)
    }

    /// Removes the copy of the whole Secret that `kubectl apply` leaves in an annotation.
    ///
    /// # Errors
    ///
    /// [`Refusal::Changed`] when the Secret is not the one of `metadata` any more.
    pub(crate) async fn drop_last_applied(
        &self,
        metadata: &ObjectMeta,
    ) -> Result<ObjectMeta, Refusal> {
        let patch = Patch::Merge(json!({ "metadata": {
            "uid": metadata.uid,
            "resourceVersion": metadata.resource_version,
            "annotations": { annotation::LAST_APPLIED: null },
        }}));
        let params = PatchParams {
            field_manager: Some(OWNER.to_owned()),
            ..PatchParams::default()
        };
        let api = self.api(metadata.namespace.as_deref().unwrap_or_default());
        within(|| api.patch_metadata(&self.name, &params, &patch))
            .await
            .map(|answer| answer.metadata)
    }

    fn api(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// One call, and at once a second one where the first found a connection that had died while it
/// was idle. Every call of ours can be made twice: the resource version sees to it.
///
/// # Errors
///
/// [`Refusal`], also when there is no answer within [`CALL_TIMEOUT`].
pub(crate) async fn within<T, F>(mut call: impl FnMut() -> F) -> Result<T, Refusal>
where
    F: Future<Output = kube::Result<T>>,
{
    let twice = async {
        match call().await {
            Err(kube::Error::Service(_) | kube::Error::HyperError(_)) => call().await,
            answer => answer,
        }
    };
    match timeout(CALL_TIMEOUT, twice).await {
        Ok(answer) => answer.map_err(|error| refusal(&error)),
        Err(_) => {
            let detail = format!("no answer within {} s", CALL_TIMEOUT.as_secs());
            Err(Refusal::Because(Cause::ApiServerUnreachable, detail))
        }
    }
}
