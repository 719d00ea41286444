//! The pull Secrets: only this file reads, writes and deletes them. The [ledger] watches their
//! metadata, and [`super::policy`] tries a forbidden write as a dry run.
//!
//! Every write is [optimistic]. The content of a Secret leaves the API server
//! only where [`PullSecretApi::read`] asks for it; lists and answers to writes bring metadata.
//!
//! [ledger]: crate::pull_secret::ledger

use std::collections::BTreeMap;
use std::sync::Arc;

use ecr_pull_secrets_core::pull_secret::content::Content;
use ecr_pull_secrets_core::pull_secret::ownership::Existing;
use ecr_pull_secrets_core::pull_secret::{
    DATA_KEY, LEGACY_DATA_KEY, LEGACY_SECRET_TYPE, MANAGED_BY, OWNER, SECRET_TYPE, annotation,
};
use ecr_pull_secrets_core::target::Target;
use ecr_pull_secrets_core::version::ObjectVersion;
use jiff::{Timestamp, Unit};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ObjectReference, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::{Api, Client};
use secrecy::ExposeSecret as _;
use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::call::{CALL_TIMEOUT, call};
use super::optimistic::{self, Write};
use super::pages::Pages;
use super::refusal::Refusal;
use super::watch::PAGE_SIZE;

/// The field manager of [`annotation::UNUSED_SINCE`]. An apply of [`OWNER`] would remove what
/// [`OWNER`] had set before.
const CLEANUP_MANAGER: &str = "ecr-pull-secrets-cleanup";

/// Secrets whose content is read at a time, or written if there is much of it. The client holds up to
/// 1.4 MB of an answer twice, and 1 MiB of it decoded: 16 MiB for all. An API server answers such a
/// read within some milliseconds.
const MAX_CONTENTS: usize = 4;
/// The longest content that is written without a slot, in bytes: that of some twenty registries.
const SMALL_CONTENT_BYTES: usize = 64 * 1024;

/// The pull Secrets of all namespaces; one per process, because its clones share a limit.
///
/// Slots are given in the order of the calls. The loops read or write one Secret of a target at a time, and
/// pods that ask for a foreign Secret share what was read of its version: so a tenant with large Secrets is
/// in the queue only a few times, unless its pods come while each version is new.
#[derive(Clone)]
pub(crate) struct PullSecretApi {
    client: Client,
    contents: Arc<Semaphore>,
}

impl PullSecretApi {
    /// Makes no call yet.
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            contents: Arc::new(Semaphore::new(MAX_CONTENTS)),
        }
    }

    /// Reads the Secret with its content, which a caller drops before it waits for anything else.
    ///
    /// # Errors
    ///
    /// [`Refusal`], never a conflict.
    pub(crate) async fn read(&self, target: &Target) -> Result<Option<Secret>, Refusal> {
        let api = self.api(target);
        let _slot = self.slot().await;
        call(|| api.get_opt(&target.secret)).await
    }

    /// The metadata of all Secrets of a name, page by page.
    pub(crate) fn pages(&self, name: &str) -> Pages<PartialObjectMeta<Secret>> {
        // The name in the field selector is what lets RBAC say `resourceNames`.
        let params = ListParams::default()
            .fields(&format!("metadata.name={name}"))
            .limit(PAGE_SIZE);
        Pages::new(Api::all(self.client.clone()), params, CALL_TIMEOUT)
    }

    /// Creates the Secret, or writes its content over the version that was read and judged ours to
    /// write. Returns the new metadata.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; a conflict when the Secret is not as `base` says.
    pub(crate) async fn apply(
        &self,
        target: &Target,
        base: Option<&ObjectVersion>,
        content: &Content,
    ) -> Result<ObjectMeta, Refusal> {
        let length = content.docker_config.expose_secret().len();
        let _slot = if length > SMALL_CONTENT_BYTES {
            self.slot().await
        } else {
            None
        };
        let secret = secret(target, content);
        let write = match base {
            None => Write::create(OWNER, secret),
            Some(base) => Write::replace(OWNER, base, secret),
        };
        write.send(&self.api(target), &target.secret).await
    }

    /// Removes the annotation in which `kubectl apply` leaves a copy of the whole Secret.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; a conflict when the Secret is not of this version.
    pub(crate) async fn drop_last_applied(
        &self,
        target: &Target,
        base: &ObjectVersion,
    ) -> Result<ObjectMeta, Refusal> {
        self.annotate(target, OWNER, base, annotation::LAST_APPLIED, None)
            .await
    }

    /// Marks the Secret as unused since then, or as used.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; a conflict when the Secret is not of this version.
    pub(crate) async fn mark_unused(
        &self,
        target: &Target,
        base: &ObjectVersion,
        since: Option<Timestamp>,
    ) -> Result<ObjectMeta, Refusal> {
        let since = since.and_then(|since| since.round(Unit::Second).ok());
        let value = since.map(|since| since.to_string());
        self.annotate(
            target,
            CLEANUP_MANAGER,
            base,
            annotation::UNUSED_SINCE,
            value,
        )
        .await
    }

    /// Deletes the Secret.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; a conflict when the Secret is not of this version.
    pub(crate) async fn remove(
        &self,
        target: &Target,
        base: &ObjectVersion,
    ) -> Result<(), Refusal> {
        optimistic::delete(&self.api(target), &target.secret, base).await
    }

    async fn annotate(
        &self,
        target: &Target,
        field_manager: &str,
        base: &ObjectVersion,
        annotation: &str,
        value: Option<String>,
    ) -> Result<ObjectMeta, Refusal> {
        let patch = json!({ "metadata": { "annotations": { annotation: value } } });
        Write::merge(field_manager, base, patch)
            .send(&self.api(target), &target.secret)
            .await
    }

    /// A slot for the content of a Secret, once there is one. It is never closed.
    async fn slot(&self) -> Option<SemaphorePermit<'_>> {
        self.contents.acquire().await.ok()
    }

    fn api(&self, target: &Target) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &target.namespace)
    }
}

fn secret(target: &Target, content: &Content) -> Secret {
    let annotations = content
        .annotations
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()));
    let data = ByteString(content.docker_config.expose_secret().as_bytes().to_vec());
    Secret {
        metadata: ObjectMeta {
            name: Some(target.secret.to_string()),
            namespace: Some(target.namespace.to_string()),
            labels: Some(BTreeMap::from([(MANAGED_BY.to_owned(), OWNER.to_owned())])),
            annotations: Some(annotations.collect()),
            ..ObjectMeta::default()
        },
        type_: Some(SECRET_TYPE.to_owned()),
        data: Some(BTreeMap::from([(DATA_KEY.to_owned(), data)])),
        ..Secret::default()
    }
}

/// The parts of a Secret that decide whose it is.
pub(crate) fn view(secret: &Secret) -> Existing<'_> {
    let data = secret.data.as_ref();
    let secret_type = secret.type_.as_deref().unwrap_or("Opaque");
    let config_key = match secret_type {
        LEGACY_SECRET_TYPE => LEGACY_DATA_KEY,
        _ => DATA_KEY,
    };
    Existing {
        secret_type,
        immutable: secret.immutable.unwrap_or(false),
        labels: secret.metadata.labels.as_ref(),
        annotations: secret.metadata.annotations.as_ref(),
        keys: data
            .into_iter()
            .flatten()
            .map(|(key, _)| key.as_str())
            .collect(),
        docker_config: data
            .and_then(|data| data.get(config_key))
            .map(|bytes| &*bytes.0)
            .unwrap_or_default(),
    }
}

/// The object of an Event about a Secret.
pub(crate) fn reference(metadata: &ObjectMeta) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Secret".to_owned()),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests;
