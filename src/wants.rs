//! What is wanted of a pull Secret: the registries that it shall open, and whether anything uses it.
//!
//! Pods and the configuration say so, not the Secret: a tenant with `edit` in a namespace can write
//! anything into it. What the Secret says is believed only about what it *holds*.
//!
//! The leader notes what it sees: each pod that waits, all pods once in a sweep, and each namespace
//! that is provisioned. Rotation asks what that means for the entries of a Secret
//! ([`Wants::renewals`]), without any call. Repairs ask the API server what pods want now
//! ([`Wants::of`]).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use ecr_pull_secrets_core::identity::{Access, Subject, TokenKey};
use ecr_pull_secrets_core::image::Registry;
use ecr_pull_secrets_core::pull_secret::flight;
use ecr_pull_secrets_core::rotation::fate::{EntryFate, fate};
use ecr_pull_secrets_core::rotation::keys::TokenKeys;
use ecr_pull_secrets_core::rotation::wanted::{Sweep, WantedRegistries};
use ecr_pull_secrets_core::selection::Wish;
use ecr_pull_secrets_core::target::Target;
use ecr_pull_secrets_core::workload::claim::{NamespaceFact, SecretClaim, Unserved};
use ecr_pull_secrets_core::workload::plan::Facts;
use ecr_pull_secrets_core::workload::standing::{PodStanding, standing, wanted};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::{Mutex, MutexGuard};

use crate::cluster::client::Clients;
use crate::cluster::namespaces::{self, Namespaces};
use crate::cluster::pages::Pages;
use crate::cluster::pods::ObservedPod;
use crate::cluster::refusal::Refusal;
use crate::cluster::service_accounts;
use crate::config::{InForce, Live};

/// The one place that says what is wanted.
pub(crate) struct Wants {
    live: Arc<Live>,
    clients: Clients,
    namespaces: Arc<Namespaces>,
    keys: Mutex<TokenKeys>,
    seen: Mutex<SeenPods>,
}

/// What this replica has seen in its term of leadership; nothing while it does not lead.
#[derive(Default)]
struct SeenPods {
    is_leading: bool,
    wanted: WantedRegistries,
}

/// What a Secret shall open now.
#[derive(Debug)]
pub(crate) struct WantedNow {
    /// What wants it: the claim that counts in more namespaces, where there are two.
    pub(crate) claim: SecretClaim,
    /// The registries, each with the identity that opens it. Not empty.
    pub(crate) registries: Vec<Access>,
}

impl Wants {
    /// Knows of no pod yet.
    pub(crate) fn new(live: Arc<Live>, clients: Clients, namespaces: Arc<Namespaces>) -> Self {
        Self {
            live,
            clients,
            namespaces,
            keys: Mutex::default(),
            seen: Mutex::default(),
        }
    }

    /// A term of leadership begins or ends: what was seen before may be outdated.
    pub(crate) fn begin_term(&self, is_leading: bool) {
        let nothing_to_provision = self.live.snapshot().provision.is_empty();
        let mut seen = self.seen.lock();
        seen.is_leading = is_leading;
        seen.wanted.forget();
        if nothing_to_provision {
            seen.wanted.provision_is_known();
        }
    }

    /// Begins to list all pods.
    pub(crate) fn begin_sweep(&self) -> Sweep {
        self.seen.lock().wanted.begin_sweep()
    }

    /// Ends the list: registries that no pod wanted since it began are not wanted any more.
    pub(crate) fn end_sweep(&self, sweep: Sweep) {
        self.seen.lock().wanted.end_sweep(sweep);
    }

    /// Notes what these pods want.
    pub(crate) fn note(&self, config: &InForce, pods: &[ObservedPod]) {
        let mut seen = self.seen.lock();
        for pod in pods {
            if !pod.pod.uses(&config.secret.name) {
                continue;
            }
            let target = config.target(pod.namespace());
            if !pod.pod.names(&config.secret.name) {
                seen.wanted.note_name(&target);
                continue;
            }
            match wanted(&pod.pod, pod.phase) {
                Some((wish, registries)) => {
                    let hosts = registries.map(Registry::host);
                    seen.wanted.note_pod(&target, wish, hosts);
                }
                None => seen.wanted.note_name(&target),
            }
        }
    }

    /// Notes what the configuration wants of a Secret now.
    pub(crate) fn provision(&self, target: &Target, registries: &[Access]) {
        let hosts = registries.iter().map(|access| access.registry.host());
        self.seen.lock().wanted.provision(target, hosts);
    }

    /// Every namespace was checked for what the configuration wants there.
    pub(crate) fn provision_is_known(&self) {
        self.seen.lock().wanted.provision_is_known();
    }

    /// A number that is another one whenever rotation may have something else to do.
    pub(crate) fn edition(&self) -> u64 {
        self.seen.lock().wanted.edition()
    }

    /// Whether something uses the Secret: a pod names, mounts or reads it, or the configuration wants
    /// it. `None` if that has not been seen yet. ServiceAccounts are not seen here.
    pub(crate) fn is_used(&self, target: &Target) -> Option<bool> {
        let seen = self.seen.lock();
        let is_named = seen.wanted.is_named(target);
        let is_provisioned = seen.wanted.is_provisioned(target);
        match (is_named, is_provisioned) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            (None, _) | (_, None) => None,
        }
    }

    /// The registries that a Secret shall open now, and with whose rights: those of the pods that
    /// name it, and those that the configuration provisions.
    ///
    /// # Errors
    ///
    /// [`Refusal`] where the API server does not tell.
    pub(crate) async fn of(&self, target: &Target) -> Result<Option<WantedNow>, Refusal> {
        let config = self.live.snapshot();
        if *target.secret != *config.secret.name {
            return Ok(None);
        }
        let namespace = self.namespaces.look_up(&target.namespace).await;
        let provisioned = self.provisioned_in(&config, &target.namespace).await?;
        let mut claim = (!provisioned.is_empty()).then_some(SecretClaim::Configuration);
        let mut all: BTreeSet<Access> = provisioned.into_iter().collect();
        // No pod is listed where none counts, whatever its label says.
        if SecretClaim::Pods(Wish::In).counts(&config, &target.namespace, namespace) {
            let mut pages = Pages::namespaced(&self.clients, &target.namespace);
            while let Some(pods) = pages.next().await? {
                for pod in &pods {
                    let registries = of_pod(&config, pod, namespace);
                    if !registries.is_empty() {
                        let pods = SecretClaim::Pods(pod.pod.wish());
                        claim = Some(claim.map_or(pods, |claim| claim.or(pods)));
                    }
                    flight::collect(&mut all, registries);
                }
            }
        }
        Ok(claim.map(|claim| WantedNow {
            claim,
            registries: all.into_iter().collect(),
        }))
    }

    /// Why no pod of the namespace counts, whatever its label says; `None` if one may.
    pub(crate) async fn unserved(&self, namespace: &str) -> Option<Unserved> {
        let fact = self.namespaces.look_up(namespace).await;
        SecretClaim::Pods(Wish::In).unserved(&self.live.snapshot(), namespace, fact)
    }

    /// The registries that the configuration provisions in a namespace with this metadata, pods or
    /// no pods, and whatever its label says: none in our own, and in one that is being deleted. What
    /// the rules deny goes to `denied`.
    pub(crate) fn provisioned(
        &self,
        config: &InForce,
        metadata: &ObjectMeta,
        denied: impl FnMut(Registry),
    ) -> Vec<Access> {
        let none = BTreeMap::new();
        let name = metadata.name.as_deref().unwrap_or_default();
        let labels = metadata.labels.as_ref().unwrap_or(&none);
        if !SecretClaim::Configuration.counts(config, name, namespaces::fact_of(metadata)) {
            return Vec::new();
        }
        let registries = config.provision.registries(name, labels);
        let subject = Subject::of_namespace(name);
        config.rules.grants(subject, registries, denied)
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

    /// Whether a pod or a ServiceAccount uses the Secret now.
    ///
    /// # Errors
    ///
    /// [`Refusal`] where the API server does not list them.
    pub(crate) async fn is_used_now(&self, target: &Target) -> Result<bool, Refusal> {
        let mut pages = Pages::namespaced(&self.clients, &target.namespace);
        while let Some(pods) = pages.next().await? {
            if pods.iter().any(|pod| pod.pod.uses(&target.secret)) {
                return Ok(true);
            }
        }
        let mut pages = service_accounts::pages(&self.clients, Some(&target.namespace));
        while let Some(accounts) = pages.next().await? {
            if accounts
                .iter()
                .any(|one| service_accounts::mentions(one, &target.secret))
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The namespaces in which a ServiceAccount lists this Secret.
    ///
    /// # Errors
    ///
    /// [`Refusal`] where the API server does not list the accounts.
    pub(crate) async fn listed_by_accounts(
        &self,
        secret: &str,
    ) -> Result<HashSet<String>, Refusal> {
        let mut namespaces = HashSet::new();
        let mut pages = service_accounts::pages(&self.clients, None);
        while let Some(accounts) = pages.next().await? {
            let listing = accounts
                .into_iter()
                .filter(|one| service_accounts::mentions(one, secret));
            namespaces.extend(listing.filter_map(|one| one.metadata.namespace));
        }
        Ok(namespaces)
    }

    /// What becomes of the entries of Secrets, under this configuration. It holds locks, and is taken
    /// before the ledger's: two threads that take them in different orders wait for each other.
    pub(crate) fn renewals<'a>(&'a self, config: &'a InForce) -> Renewals<'a> {
        Renewals {
            config,
            namespaces: &self.namespaces,
            keys: self.keys.lock(),
            seen: self.seen.lock(),
        }
    }
}

/// Answers which entries of Secrets are to be renewed.
pub(crate) struct Renewals<'a> {
    config: &'a InForce,
    namespaces: &'a Namespaces,
    keys: MutexGuard<'a, TokenKeys>,
    seen: MutexGuard<'a, SeenPods>,
}

/// An entry of a Secret, and what becomes of it.
#[derive(Debug)]
pub(crate) enum Entry {
    /// It is renewed.
    Renewed(Renewal),
    /// It expires and stays. A token of this key would renew it.
    Left(Arc<TokenKey>),
    /// It expires and is then removed.
    Withdrawn,
    /// No key opens it, and the namespace is not known or is going.
    Lost,
}

/// An entry that is to be renewed.
#[derive(Debug)]
pub(crate) struct Renewal {
    pub(crate) registry: Registry,
    pub(crate) key: Arc<TokenKey>,
    /// What wants it.
    pub(crate) claim: SecretClaim,
}

impl Renewals<'_> {
    /// What becomes of the entry of a host.
    pub(crate) fn of(&mut self, target: &Target, host: &Arc<str>) -> Entry {
        let subject = Subject::of_namespace(&target.namespace);
        let opened = self.keys.of(&self.config.rules, host, subject);
        let fact = self.namespaces.cached(&target.namespace);
        let is_allowed = opened.is_some();
        let fate = fate(
            &self.seen.wanted,
            self.config,
            target,
            host,
            fact,
            is_allowed,
        );
        match (fate, opened) {
            (EntryFate::Renew(claim), Some((registry, key))) => Entry::Renewed(Renewal {
                registry,
                key,
                claim,
            }),
            (EntryFate::Expire, Some((_, key))) => Entry::Left(key),
            (EntryFate::Withdraw, _) => Entry::Withdrawn,
            (EntryFate::Renew(_) | EntryFate::Expire, None) => Entry::Lost,
        }
    }

    /// Whether this replica leads, and so knows what is renewed.
    pub(crate) fn is_leading(&self) -> bool {
        self.seen.is_leading
    }

    /// The entry if it is to be renewed.
    pub(crate) fn renewal(&mut self, target: &Target, host: &Arc<str>) -> Option<Renewal> {
        match self.of(target, host) {
            Entry::Renewed(renewal) => Some(renewal),
            Entry::Left(_) | Entry::Withdrawn | Entry::Lost => None,
        }
    }

    /// The key of the entry if pods may pull with it, as far as this replica has seen: none, while it
    /// does not lead; any, until it has seen all pods.
    pub(crate) fn pulled_with(
        &mut self,
        target: &Target,
        host: &Arc<str>,
    ) -> Option<Arc<TokenKey>> {
        if !self.seen.is_leading {
            return None;
        }
        let is_swept = self.seen.wanted.is_swept();
        match self.of(target, host) {
            Entry::Renewed(renewal) => Some(renewal.key),
            Entry::Left(key) => (!is_swept).then_some(key),
            Entry::Withdrawn | Entry::Lost => None,
        }
    }
}

/// The registries that one pod wants its Secret to open: none unless it names the Secret.
fn of_pod(config: &InForce, pod: &ObservedPod, namespace: NamespaceFact) -> Vec<Access> {
    let workload = pod.workload();
    // The other fact decides only about a reference that the pod lacks.
    let facts = Facts {
        namespace: Some(namespace),
        account: None,
    };
    match standing(&workload, pod.phase, &facts, config) {
        Ok(PodStanding::Served(grants)) => grants,
        Ok(PodStanding::Fine | PodStanding::Missed) | Err(_) => Vec::new(),
    }
}
