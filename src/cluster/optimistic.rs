//! Writes that fail where the object is not as the caller believes it to be.
//!
//! Every write carries a resource version. `"1"` is older than any object, so a server-side apply
//! with it means "create only". An update also carries the uid: without it, an apply would bring
//! back an object that was deleted meanwhile. The answer to a write that comes late is a
//! [conflict](Refusal::is_conflict).

use std::fmt::Debug;
use std::time::Duration;

use ecr_pull_secrets_core::version::ObjectVersion;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::call::{call, call_within};
use super::refusal::Refusal;

/// The resource version of "create only".
const CREATE_ONLY: &str = "1";

/// The version of an object that was read.
pub(crate) fn version_of(metadata: &ObjectMeta) -> ObjectVersion {
    ObjectVersion {
        uid: metadata.uid.clone().unwrap_or_default(),
        version: metadata.resource_version.clone().unwrap_or_default(),
    }
}

/// A write, ready to be sent.
pub(crate) struct Write<P: Serialize> {
    params: PatchParams,
    patch: Patch<P>,
}

impl<K: Resource + Serialize + Debug> Write<K> {
    /// Creates the object, unless there is one of its name.
    pub(crate) fn create(field_manager: &str, mut object: K) -> Self {
        object.meta_mut().resource_version = Some(CREATE_ONLY.to_owned());
        Self {
            params: PatchParams::apply(field_manager),
            patch: Patch::Apply(object),
        }
    }

    /// Applies the object over the one of this version. Fields of other field managers are taken
    /// over: the version says that no other write came since.
    pub(crate) fn replace(field_manager: &str, base: &ObjectVersion, mut object: K) -> Self {
        let metadata = object.meta_mut();
        metadata.uid = Some(base.uid.clone());
        metadata.resource_version = Some(base.version.clone());
        Self {
            params: PatchParams::apply(field_manager).force(),
            patch: Patch::Apply(object),
        }
    }
}

impl Write<Value> {
    /// Merges a patch into the object of this version. A merge patch leaves alone what it does not
    /// name, also what an earlier write of the same field manager has set.
    pub(crate) fn merge(field_manager: &str, base: &ObjectVersion, mut patch: Value) -> Self {
        patch["metadata"]["uid"] = json!(base.uid);
        patch["metadata"]["resourceVersion"] = json!(base.version);
        Self {
            params: PatchParams::apply(field_manager),
            patch: Patch::Merge(patch),
        }
    }
}

impl<P: Serialize + Debug> Write<P> {
    /// Sends the write and returns the new metadata, without the content.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; a conflict when the object is not as the write says.
    pub(crate) async fn send<K>(&self, api: &Api<K>, name: &str) -> Result<ObjectMeta, Refusal>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        call(|| api.patch_metadata(name, &self.params, &self.patch))
            .await
            .map(|answer| answer.metadata)
    }

    /// Sends the write and returns the whole object.
    ///
    /// # Errors
    ///
    /// As [`Write::send`].
    pub(crate) async fn send_within<K>(
        &self,
        limit: Duration,
        api: &Api<K>,
        name: &str,
    ) -> Result<K, Refusal>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        call_within(limit, || api.patch(name, &self.params, &self.patch)).await
    }
}

/// Deletes the object of this version.
///
/// # Errors
///
/// [`Refusal`]; a conflict when there is no such object any more.
pub(crate) async fn delete<K>(api: &Api<K>, name: &str, base: &ObjectVersion) -> Result<(), Refusal>
where
    K: Clone + DeserializeOwned + Debug,
{
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(base.uid.clone()),
            resource_version: Some(base.version.clone()),
        }),
        ..DeleteParams::default()
    };
    call(|| api.delete(name, &params)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Secret;

    use super::*;

    fn base() -> ObjectVersion {
        ObjectVersion {
            uid: "u".to_owned(),
            version: "7".to_owned(),
        }
    }

    fn sent<P: Serialize>(write: &Write<P>) -> Value {
        match &write.patch {
            Patch::Apply(object) | Patch::Merge(object) => serde_json::to_value(object).unwrap(),
            _ => unreachable!("never sent"),
        }
    }

    #[test]
    fn creation_names_version_older_than_any() {
        let write = Write::create("ours", Secret::default());
        assert_eq!(sent(&write)["metadata"], json!({ "resourceVersion": "1" }));
        assert_eq!(write.params.field_manager.as_deref(), Some("ours"));
        assert!(!write.params.force);
    }

    #[test]
    fn update_names_uid_and_version() {
        let versioned = json!({ "uid": "u", "resourceVersion": "7" });
        let write = Write::replace("ours", &base(), Secret::default());
        assert_eq!(sent(&write)["metadata"], versioned);
        assert!(write.params.force);

        let patch = json!({ "metadata": { "labels": { "a": "b" } }, "spec": 1 });
        let write = Write::merge("ours", &base(), patch);
        let mut wanted = versioned;
        wanted["labels"] = json!({ "a": "b" });
        assert_eq!(sent(&write), json!({ "metadata": wanted, "spec": 1 }));
        assert!(!write.params.force);
    }
}
