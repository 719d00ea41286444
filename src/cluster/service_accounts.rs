//! ServiceAccounts that list the Secrets which their pods may name.
//!
//! With `kubernetes.io/enforce-mountable-secrets: "true"`, the API server refuses a pod whose
//! `imagePullSecrets` are not all in the ServiceAccount's own list. It does so *after* our patch, and
//! whatever our `failurePolicy` is. A pod of such an account gets no reference, unless the account
//! lists the pull Secret.
//!
//! The watch brings metadata alone, because a tenant chooses the length of the list. Of most accounts
//! a hash stays in memory. The list of an enforcing account is read from the API server when the first
//! review asks, and what it said stays until the account changes. An account that the watch has not
//! brought yet is read as well, and so is one beyond the number that stays in memory.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use ecr_pull_secrets_core::identity::Subject;
use ecr_pull_secrets_core::names::is_dns_subdomain;
use ecr_pull_secrets_core::shares::SlotShares;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use parking_lot::RwLock;

use super::call::call;
use super::client::Clients;
use super::look_ups::LookUps;
use super::pages::{PAGE_TIMEOUT, Pages};
use super::views::ENFORCE;
use super::watch::{Announce, PAGE_SIZE, collection, follow};

/// The most accounts in memory. A tenant may create as many as the API server can store.
const MAX_ACCOUNTS: usize = 262_144;
/// The most of them of one namespace.
const MAX_ACCOUNTS_OF_NAMESPACE: usize = 4096;
/// The most answers that stay in memory for one account: a pull Secret has few names.
const MAX_ANSWERS: usize = 16;

/// The accounts of a namespace, or of all.
pub(crate) fn pages(clients: &Clients, namespace: Option<&str>) -> Pages<ServiceAccount> {
    let (client, params) = (
        clients.watch.clone(),
        ListParams::default().limit(PAGE_SIZE),
    );
    match namespace {
        Some(namespace) => Pages::new(Api::namespaced(client, namespace), params, PAGE_TIMEOUT),
        None => Pages::streamed(Api::all(client), params, PAGE_TIMEOUT),
    }
}

struct Accounts {
    hasher: RandomState,
    /// One slot for each account below.
    shares: SlotShares,
    /// Accounts that do not enforce, as hashes.
    free: HashSet<u64>,
    enforcing: HashMap<u64, Enforcing>,
}

/// An account that enforces.
struct Enforcing {
    /// The hash of the version that the watch brought.
    version: u64,
    /// Whether this version lists a Secret, by the hash of its name.
    lists: Vec<(u64, bool)>,
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            hasher: RandomState::default(),
            shares: SlotShares::new(MAX_ACCOUNTS, MAX_ACCOUNTS_OF_NAMESPACE),
            free: HashSet::default(),
            enforcing: HashMap::default(),
        }
    }
}

/// An account as the watch brought it, hashed.
struct SeenAccount<'a> {
    namespace: &'a str,
    key: u64,
    version: u64,
    enforces: bool,
}

impl Accounts {
    fn read<'a>(&self, metadata: &'a ObjectMeta) -> SeenAccount<'a> {
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        SeenAccount {
            namespace,
            key: self.key(namespace, metadata.name.as_deref().unwrap_or_default()),
            version: self.version(metadata),
            enforces: enforces(metadata),
        }
    }

    /// Enters an account, if it is known or has a slot. Of any other account nothing is known.
    fn enter(&mut self, account: &SeenAccount<'_>) {
        let SeenAccount {
            namespace,
            key,
            version,
            enforces,
        } = *account;
        let is_known = self.free.contains(&key) || self.enforcing.contains_key(&key);
        if !is_known && self.shares.take(namespace).is_err() {
            return;
        }
        if !enforces {
            self.enforcing.remove(&key);
            self.free.insert(key);
            return;
        }
        self.free.remove(&key);
        let known = self.enforcing.get(&key);
        if known.is_none_or(|known| known.version != version) {
            let lists = Vec::new();
            self.enforcing.insert(key, Enforcing { version, lists });
        }
    }

    fn remove(&mut self, account: &SeenAccount<'_>) {
        let was_free = self.free.remove(&account.key);
        if was_free || self.enforcing.remove(&account.key).is_some() {
            self.shares.give_back(account.namespace);
        }
    }

    /// Enters whether an account lists a Secret, if the watch has brought the same version of it.
    fn learn(&mut self, subject: Subject<'_>, version: u64, secret: &str, is_listed: bool) {
        let key = self.key(subject.namespace, account_of(subject));
        let secret = self.hasher.hash_one(secret);
        let known = self.enforcing.get_mut(&key);
        if let Some(known) = known.filter(|known| known.version == version) {
            known.lists.retain(|(name, _)| *name != secret);
            known.lists.truncate(MAX_ANSWERS - 1);
            known.lists.push((secret, is_listed));
        }
    }

    /// `None`: the account, or what it lists, is not known.
    fn forbids(&self, subject: Subject<'_>, secret: &str) -> Option<bool> {
        let key = self.key(subject.namespace, account_of(subject));
        if self.free.contains(&key) {
            return Some(false);
        }
        let secret = self.hasher.hash_one(secret);
        let mut lists = self.enforcing.get(&key)?.lists.iter();
        let (_, is_listed) = lists.find(|(name, _)| *name == secret)?;
        Some(!is_listed)
    }

    fn version(&self, metadata: &ObjectMeta) -> u64 {
        self.hasher.hash_one(metadata.resource_version.as_deref())
    }

    fn key(&self, namespace: &str, name: &str) -> u64 {
        self.hasher.hash_one((namespace, name))
    }
}

/// The ServiceAccounts of the cluster.
pub(crate) struct ServiceAccounts {
    accounts: RwLock<Accounts>,
    client: Client,
    look_ups: LookUps,
}

impl ServiceAccounts {
    /// Knows none yet, and makes no call.
    pub(crate) fn new(clients: &Clients) -> Self {
        Self {
            accounts: RwLock::default(),
            client: clients.call.clone(),
            look_ups: clients.look_ups.clone(),
        }
    }

    /// Keeps them up to date, until dropped.
    pub(crate) async fn watch(&self, client: Client, announce: Announce) {
        let events = collection(
            Api::<PartialObjectMeta<ServiceAccount>>::all(client),
            watcher::Config::default(),
        );
        let mut listed = Accounts::default();
        follow("serviceaccounts", events, announce, |event| match event {
            Event::Init => listed = Accounts::default(),
            Event::InitApply(account) => {
                let seen = listed.read(&account.metadata);
                listed.enter(&seen);
            }
            Event::InitDone => *self.accounts.write() = std::mem::take(&mut listed),
            Event::Apply(account) => {
                let seen = self.accounts.read().read(&account.metadata);
                self.accounts.write().enter(&seen);
            }
            Event::Delete(account) => {
                let seen = self.accounts.read().read(&account.metadata);
                self.accounts.write().remove(&seen);
            }
        })
        .await;
    }

    /// Whether the API server would refuse a pod of this ServiceAccount because it names the Secret.
    /// An account that cannot be read in time counts as free: the restriction is deprecated and
    /// rare, and a pod without its reference cannot pull.
    pub(crate) async fn forbids(&self, subject: Subject<'_>, secret: &str) -> bool {
        if let Some(forbids) = self.cached(subject, secret) {
            return forbids;
        }
        let name = account_of(subject);
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), subject.namespace);
        let read = async {
            // Another review may have brought the answer during the wait for a slot.
            if let Some(forbids) = self.cached(subject, secret) {
                return Some(forbids);
            }
            let account = call(|| api.get_opt(name)).await.ok()??;
            let is_listed = lists(&account, secret);
            let mut accounts = self.accounts.write();
            let version = accounts.version(&account.metadata);
            accounts.learn(subject, version, secret, is_listed);
            Some(enforces(&account.metadata) && !is_listed)
        };
        let forbids = self.look_ups.accounts.run(subject.namespace, read).await;
        forbids.unwrap_or(false)
    }

    /// The answer of [`ServiceAccounts::forbids`], from memory only.
    pub(crate) fn cached(&self, subject: Subject<'_>, secret: &str) -> Option<bool> {
        if !is_dns_subdomain(account_of(subject)) {
            // No ServiceAccount has such a name, and it must not go into a path.
            return Some(false);
        }
        self.accounts.read().forbids(subject, secret)
    }
}

/// The name of the ServiceAccount; `default` where the pod names none.
fn account_of(subject: Subject<'_>) -> &str {
    subject.service_account.unwrap_or("default")
}

/// Whether the pods of an account may name only the Secrets that it lists.
fn enforces(metadata: &ObjectMeta) -> bool {
    let annotations = metadata.annotations.as_ref();
    let enforce = annotations.and_then(|annotations| annotations.get(ENFORCE));
    enforce.is_some_and(|enforce| enforce == "true")
}

/// Whether an account lists the Secret at all: for pulls, or among those that its pods may mount.
pub(crate) fn mentions(account: &ServiceAccount, secret: &str) -> bool {
    let mut mountable = account.secrets.iter().flatten();
    let is_mountable = mountable.any(|reference| reference.name.as_deref() == Some(secret));
    is_mountable || lists(account, secret)
}

fn lists(account: &ServiceAccount, secret: &str) -> bool {
    let mut listed = account.image_pull_secrets.iter().flatten();
    listed.any(|reference| reference.name == secret)
}

#[cfg(test)]
mod tests;
