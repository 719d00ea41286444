//! What is wanted of a pull Secret: the registries that it shall open, and whether anything uses it.
//!
//! Pods and the configuration say so, not the Secret: a tenant with `edit` in a namespace can write
//! anything into it. Rotation alone asks about the entries that the Secret holds, as far as the rules
//! allow them: see [`Renewals::of`]. The leader's loops note which Secrets pods name; provisioning,
//! repairs, clean-up and rotation ask. The API server answers what memory lacks, so a caller needs no
//! watch to ask.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use ecr_pull_secrets_core::identity::{Access, Subject, TokenKey};
use ecr_pull_secrets_core::image::Registry;
use ecr_pull_secrets_core::pull_secret::MAX_REGISTRIES;
use ecr_pull_secrets_core::rotation::keys::TokenKeys;
use ecr_pull_secrets_core::rules::{Rules, Verdict};
use ecr_pull_secrets_core::target::Target;
use ecr_pull_secrets_core::workload::plan::{Facts, NamespaceFact};
use ecr_pull_secrets_core::workload::standing::{PodStanding, standing};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::{Mutex, MutexGuard};

use crate::cluster::client::Clients;
use crate::cluster::namespaces::{self, Namespaces};
use crate::cluster::pages::Pages;
use crate::cluster::pods::ObservedPod;
use crate::cluster::refusal::Refusal;
use crate::config::{InForce, Live};

/// Registries that are collected of one namespace: a Secret has room for half of them, and a tenant can
/// create any number of pods.
const MAX_WANTED: usize = 2 * MAX_REGISTRIES;

/// The one place that says what is wanted.
pub(crate) struct Wants {
    live: Arc<Live>,
    clients: Clients,
    namespaces: Arc<Namespaces>,
    /// Our own namespace, in which nothing is provisioned.
    own_namespace: String,
    keys: Mutex<TokenKeys>,
    /// The Secrets that pods were seen to name since the last clean-up.
    sightings: Sightings,
}

impl Wants {
    /// Knows of no pod yet.
    pub(crate) fn new(
        live: Arc<Live>,
        clients: Clients,
        namespaces: Arc<Namespaces>,
        own_namespace: &str,
    ) -> Self {
        Self {
            live,
            clients,
            namespaces,
            own_namespace: own_namespace.to_owned(),
            keys: Mutex::default(),
            sightings: Sightings::default(),
        }
    }

    /// The registries that a Secret shall open now, and with whose rights: those of the pods that
    /// name it, and those that the configuration provisions.
    ///
    /// # Errors
    ///
    /// [`Refusal`] where the API server does not tell.
    pub(crate) async fn of(&self, target: &Target) -> Result<Vec<Access>, Refusal> {
        let config = self.live.snapshot();
        if *target.secret != *config.secret.name {
            return Ok(Vec::new());
        }
        let namespace = self.namespaces.look_up(&target.namespace).await;
        if !namespace.admits_secret() {
            return Ok(Vec::new());
        }
        let provisioned = self.provisioned_in(&config, &target.namespace).await?;
        let mut wanted: BTreeSet<Access> = provisioned.into_iter().collect();
        let mut pages = Pages::namespaced(&self.clients, &target.namespace);
        while let Some(pods) = pages.next().await? {
            for pod in &pods {
                let room = MAX_WANTED.saturating_sub(wanted.len());
                wanted.extend(of_pod(&config, pod, namespace).into_iter().take(room));
            }
        }
        Ok(wanted.into_iter().collect())
    }

    /// Whether a pull Secret is to be in the namespace at all.
    pub(crate) async fn admits(&self, namespace: &str) -> bool {
        self.namespaces.look_up(namespace).await.admits_secret()
    }

    /// The registries that the configuration provisions in a namespace with this metadata, pods or
    /// no pods: none in our own, in one that is being deleted, and in one that opted out. What the
    /// rules deny goes to `denied`.
    pub(crate) fn provisioned(
        &self,
        config: &InForce,
        metadata: &ObjectMeta,
        denied: impl FnMut(Registry),
    ) -> Vec<Access> {
        let none = BTreeMap::new();
        let name = metadata.name.as_deref().unwrap_or_default();
        let labels = metadata.labels.as_ref().unwrap_or(&none);
        if name == self.own_namespace || !namespaces::fact_of(metadata).admits_secret() {
            return Vec::new();
        }
        let registries = config.provision.registries(name, labels);
        allowed(
            &config.rules,
            Subject::of_namespace(name),
            registries,
            denied,
        )
    }

    async fn provisioned_in(
        &self,
        config: &InForce,
        namespace: &str,
    ) -> Result<Vec<Access>, Refusal> {
        if config.provision.is_empty() {
            return Ok(Vec::new());
        }
        let found = namespaces::read(&self.clients.call, namespace).await?;
        let provisioned = found.map(|found| self.provisioned(config, &found, |_| ()));
        Ok(provisioned.unwrap_or_default())
    }

    /// Notes which Secrets these pods name.
    pub(crate) fn note(&self, pods: &[ObservedPod]) {
        let config = self.live.snapshot();
        let secret: Arc<str> = config.secret.name.as_str().into();
        let naming = pods.iter().filter(|pod| pod.pod.names(&secret));
        self.sightings
            .add(naming.map(|pod| Target::new(pod.namespace(), secret.clone())));
    }

    /// The Secrets that pods were seen to name since the last call.
    pub(crate) fn take_named(&self) -> HashSet<Target> {
        self.sightings.take()
    }

    /// Whether a pod names the Secret now.
    ///
    /// # Errors
    ///
    /// [`Refusal`] where the API server does not list the pods.
    pub(crate) async fn is_named(&self, target: &Target) -> Result<bool, Refusal> {
        let mut pages = Pages::namespaced(&self.clients, &target.namespace);
        while let Some(pods) = pages.next().await? {
            if pods.iter().any(|pod| pod.pod.names(&target.secret)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the configuration wants the Secret, pods or no pods.
    ///
    /// # Errors
    ///
    /// [`Refusal`] where the API server does not show the labels of the namespace.
    pub(crate) async fn is_provisioned(
        &self,
        config: &InForce,
        target: &Target,
    ) -> Result<bool, Refusal> {
        let registries = self.provisioned_in(config, &target.namespace).await?;
        Ok(!registries.is_empty())
    }

    /// What is to be renewed, under this configuration. It holds a lock, and is taken before the
    /// ledger's: two threads that take them in different orders wait for each other.
    pub(crate) fn renewals<'a>(&'a self, config: &'a InForce) -> Renewals<'a> {
        Renewals {
            rules: &config.rules,
            keys: self.keys.lock(),
        }
    }
}

/// Answers which entries of Secrets are to be renewed.
pub(crate) struct Renewals<'a> {
    rules: &'a Rules,
    keys: MutexGuard<'a, TokenKeys>,
}

impl Renewals<'_> {
    /// The registry of an entry that is to be renewed, and the key of its token; `None` where the
    /// entry expires as it is.
    ///
    /// That is every entry that the Secret holds, as far as the rules allow it. Whether a pod or the
    /// configuration still wants the entry is not asked.
    pub(crate) fn of(
        &mut self,
        target: &Target,
        host: &Arc<str>,
    ) -> Option<(Registry, Arc<TokenKey>)> {
        let subject = Subject::of_namespace(&target.namespace);
        self.keys.of(self.rules, host, subject)
    }
}

/// Secrets that pods were seen to name.
#[derive(Debug, Default)]
struct Sightings(Mutex<HashSet<Target>>);

impl Sightings {
    fn add(&self, targets: impl Iterator<Item = Target>) {
        self.0.lock().extend(targets);
    }

    fn take(&self) -> HashSet<Target> {
        std::mem::take(&mut self.0.lock())
    }
}

/// The registries that one pod wants its Secret to open: none unless it names the Secret.
fn of_pod(config: &InForce, pod: &ObservedPod, namespace: NamespaceFact) -> Vec<Access> {
    let workload = pod.workload();
    // The other facts decide only about a reference that the pod lacks.
    let facts = Facts {
        is_asked: false,
        namespace: Some(namespace),
        account: None,
    };
    match standing(&workload, pod.phase, &facts, config) {
        Ok(PodStanding::Served(grants)) => grants,
        Ok(PodStanding::Fine | PodStanding::Missed) | Err(_) => Vec::new(),
    }
}

/// The registries that the rules allow the subject, each with its identity. The others go to
/// `denied`.
fn allowed(
    rules: &Rules,
    subject: Subject<'_>,
    registries: impl IntoIterator<Item = Registry>,
    mut denied: impl FnMut(Registry),
) -> Vec<Access> {
    let allowed =
        registries
            .into_iter()
            .filter_map(|registry| match rules.verdict(&registry, subject) {
                Verdict::Allow(identity) => Some(Access { registry, identity }),
                Verdict::Deny(_) => {
                    denied(registry);
                    None
                }
            });
    allowed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sightings_are_taken_once() {
        let sightings = Sightings::default();
        let targets = ["a", "b", "a"].map(|namespace| Target::new(namespace, "pull"));
        sightings.add(targets.into_iter());
        assert_eq!(sightings.take().len(), 2);
        assert!(sightings.take().is_empty());
    }
}
