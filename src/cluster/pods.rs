//! A pod as the loops see it: the few fields that matter, read straight from the answer.

use std::borrow::Cow;

use ecr_pull_secrets_core::diagnosis::{self, RefusedPull};
use ecr_pull_secrets_core::image::Registry;
use ecr_pull_secrets_core::names::is_dns_subdomain;
use ecr_pull_secrets_core::version::ObjectVersion;
use ecr_pull_secrets_core::workload::plan::Workload;
use ecr_pull_secrets_core::workload::pod::{Annotations, Labels, Pod, StoredSpec};
use ecr_pull_secrets_core::workload::standing::PodPhase;
use ecr_pull_secrets_core::workload::text::Text;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::{Api, Resource};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};

use super::call::call;
use super::client::Clients;
use super::optimistic::version_of;
use super::pages::{PAGE_TIMEOUT, Pages};
use super::refusal::Refusal;
use super::watch::PAGE_SIZE;

impl Pages<ObservedPod> {
    /// The pods of all namespaces.
    pub(crate) fn all(clients: &Clients) -> Self {
        let api = Api::all(clients.watch.clone());
        Self::streamed(api, ListParams::default().limit(PAGE_SIZE), PAGE_TIMEOUT)
    }

    /// The pods of a namespace.
    pub(crate) fn namespaced(clients: &Clients, namespace: &str) -> Self {
        let api = Api::namespaced(clients.watch.clone(), namespace);
        Self::new(api, ListParams::default().limit(PAGE_SIZE), PAGE_TIMEOUT)
    }
}

/// A pod that is read when its turn comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedPod {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

impl NamedPod {
    /// The pod as it is now; `None` if it is gone.
    ///
    /// # Errors
    ///
    /// [`Refusal`] of the API server.
    pub(crate) async fn read(&self, clients: &Clients) -> Result<Option<ObservedPod>, Refusal> {
        let pods: Api<ObservedPod> = Api::namespaced(clients.call.clone(), &self.namespace);
        let pod = call(|| pods.get_opt(&self.name)).await?;
        Ok(pod.filter(|pod| pod.uid() == self.uid))
    }
}

/// A pod of a watch or a list.
#[derive(Clone, Debug)]
pub(crate) struct ObservedPod {
    /// Name, namespace, uid and version; nothing else.
    metadata: ObjectMeta,
    /// The fields that the decision needs.
    pub(crate) pod: Pod<'static>,
    /// The time when the API server stored it first.
    pub(crate) created: Option<Timestamp>,
    /// The controller that created it, as the object of an Event.
    pub(crate) owner: Option<ObjectReference>,
    /// The uid of the controller that created it and replaces it after a deletion.
    pub(crate) controller: Option<String>,
    pub(crate) phase: PodPhase,
    /// Whether a container of it runs or has run.
    pub(crate) has_started: bool,
    /// The pulls that ECR refused, as far as the kubelet's message tells; sorted, each once.
    pub(crate) refusals: Vec<RefusedPull>,
}

impl ObservedPod {
    pub(crate) fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// What the plan and the standing decide about: the pod as it was created.
    pub(crate) fn workload(&self) -> Workload<'_> {
        Workload {
            namespace: self.namespace(),
            pod: &self.pod,
            is_running: false,
        }
    }

    pub(crate) fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    pub(crate) fn version(&self) -> ObjectVersion {
        version_of(&self.metadata)
    }

    /// What is enough to read it again.
    pub(crate) fn named(&self) -> NamedPod {
        NamedPod {
            namespace: self.namespace().to_owned(),
            name: self.metadata.name.clone().unwrap_or_default(),
            uid: self.uid().to_owned(),
        }
    }

    /// The object of an Event about it.
    pub(crate) fn reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: self.metadata.namespace.clone(),
            name: self.metadata.name.clone(),
            uid: self.metadata.uid.clone(),
            ..ObjectReference::default()
        }
    }
}

impl Resource for ObservedPod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[derive(Deserialize)]
struct RawPod<'a> {
    #[serde(borrow, default)]
    metadata: RawMetadata<'a>,
    #[serde(borrow, default)]
    spec: Option<StoredSpec<'a>>,
    #[serde(borrow, default)]
    status: Option<RawStatus<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMetadata<'a> {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    uid: Option<String>,
    #[serde(default)]
    resource_version: Option<String>,
    #[serde(borrow, default)]
    creation_timestamp: Option<Text<'a>>,
    #[serde(default)]
    deletion_timestamp: Option<IgnoredAny>,
    #[serde(borrow, default)]
    owner_references: Option<Vec<OwnerReference<'a>>>,
    #[serde(borrow, default)]
    labels: Option<Labels<'a>>,
    #[serde(default)]
    annotations: Option<Annotations>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OwnerReference<'a> {
    #[serde(borrow, default)]
    api_version: Text<'a>,
    #[serde(borrow, default)]
    kind: Text<'a>,
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default)]
    uid: Text<'a>,
    #[serde(default)]
    controller: Option<bool>,
}

/// Controllers that replace a deleted pod and take no harm. A Job counts the deletion as a failure,
/// and what other controllers do is not known.
const REPLACING: [&str; 4] = [
    "ReplicaSet",
    "StatefulSet",
    "DaemonSet",
    "ReplicationController",
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawStatus<'a> {
    #[serde(borrow, default)]
    phase: Option<Text<'a>>,
    #[serde(borrow, default)]
    container_statuses: Option<Vec<RawContainer<'a>>>,
    #[serde(borrow, default)]
    init_container_statuses: Option<Vec<RawContainer<'a>>>,
    #[serde(borrow, default)]
    ephemeral_container_statuses: Option<Vec<RawContainer<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawContainer<'a> {
    #[serde(borrow, default)]
    image: Text<'a>,
    #[serde(default)]
    restart_count: i64,
    #[serde(borrow, default)]
    state: Option<ContainerState<'a>>,
}

#[derive(Deserialize)]
struct ContainerState<'a> {
    #[serde(default)]
    running: Option<IgnoredAny>,
    #[serde(default)]
    terminated: Option<IgnoredAny>,
    #[serde(borrow, default)]
    waiting: Option<WaitingState<'a>>,
}

#[derive(Deserialize)]
struct WaitingState<'a> {
    #[serde(borrow, default)]
    reason: Option<Text<'a>>,
    #[serde(borrow, default)]
    message: Option<Text<'a>>,
}

impl<'de> Deserialize<'de> for ObservedPod {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RawPod::deserialize(deserializer).map(Self::from)
    }
}

impl From<RawPod<'_>> for ObservedPod {
    fn from(raw: RawPod<'_>) -> Self {
        let RawMetadata {
            name,
            namespace,
            uid,
            resource_version,
            creation_timestamp,
            deletion_timestamp,
            owner_references,
            labels,
            annotations,
        } = raw.metadata;
        let owners = owner_references.into_iter().flatten();
        let owner = { owners }.find(|owner| owner.controller == Some(true));
        let replacing = owner
            .as_ref()
            .filter(|owner| REPLACING.contains(&&*owner.kind));
        let controller = replacing.map(|owner| owner.uid.to_string());
        // A tenant writes what it likes there, and the name becomes part of the Event's.
        let owner = owner.filter(|owner| is_dns_subdomain(&owner.name));
        let owner = owner.map(|owner| ObjectReference {
            api_version: Some(owner.api_version.to_string()),
            kind: Some(owner.kind.to_string()),
            namespace: namespace.clone(),
            name: Some(owner.name.to_string()),
            uid: Some(owner.uid.to_string()),
            ..ObjectReference::default()
        });
        let status = raw.status.as_ref();
        let phase = match status.and_then(|status| status.phase.as_deref()) {
            _ if deletion_timestamp.is_some() => PodPhase::Ended,
            None | Some("" | "Pending") => PodPhase::Pending,
            Some("Succeeded" | "Failed") => PodPhase::Ended,
            Some(_) => PodPhase::Running,
        };
        Self {
            metadata: ObjectMeta {
                name,
                namespace,
                uid,
                resource_version,
                ..ObjectMeta::default()
            },
            pod: Pod::of_parts(labels, annotations, raw.spec.map(|stored| stored.0)).into_owned(),
            created: creation_timestamp.and_then(|time| time.parse().ok()),
            owner,
            controller,
            phase,
            has_started: status
                .is_some_and(|status| status.containers().any(RawContainer::has_run)),
            refusals: status.map(RawStatus::refusals).unwrap_or_default(),
        }
    }
}

impl<'a> RawStatus<'a> {
    fn containers(&self) -> impl Iterator<Item = &RawContainer<'a>> {
        let all = [
            &self.container_statuses,
            &self.init_container_statuses,
            &self.ephemeral_container_statuses,
        ];
        all.into_iter().flatten().flatten()
    }

    fn refusals(&self) -> Vec<RefusedPull> {
        let mut pulls: Vec<RefusedPull> = self
            .containers()
            .filter_map(RawContainer::refusal)
            .collect();
        pulls.sort_unstable();
        pulls.dedup();
        pulls
    }
}

impl RawContainer<'_> {
    fn has_run(&self) -> bool {
        let state = self.state.as_ref();
        self.restart_count > 0
            || state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    }

    fn refusal(&self) -> Option<RefusedPull> {
        let waiting = self.state.as_ref()?.waiting.as_ref()?;
        let message = waiting.message.as_deref().unwrap_or_default();
        let cause = diagnosis::of_waiting(waiting.reason.as_deref()?, message)?;
        let registry = Registry::of_image(&self.image).filter(|registry| !registry.is_public())?;
        Some(RefusedPull { cause, registry })
    }
}

#[cfg(test)]
mod tests;
