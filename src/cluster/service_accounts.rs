//! ServiceAccounts that list the Secrets which their pods may name.
//!
//! With `kubernetes.io/enforce-mountable-secrets: "true"`, the API server refuses a pod whose
//! `imagePullSecrets` are not all in the ServiceAccount's own list. It does so *after* our patch, and
//! whatever our `failurePolicy` is. A pod of such an account gets no reference, unless the account
//! lists the pull Secret. Of all other accounts only a hash stays in memory. An account that the
//! watch has not brought yet is read from the API server.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use ecr_pull_secrets_core::identity::Subject;
use ecr_pull_secrets_core::names::is_dns_subdomain;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use parking_lot::RwLock;

use super::client::Clients;
use super::look_ups::LookUps;
use super::watch::{Announce, follow};

const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";
/// The longest list that stays in memory, because a tenant chooses its length. An account with a
/// longer one is read from the API server for each review that asks.
const MAX_LISTED: usize = 64;

#[derive(Default)]
struct Accounts {
    hasher: RandomState,
    /// All accounts that do not enforce, as hashes.
    free: HashSet<u64>,
    /// The Secrets that an enforcing account lists, as hashes.
    enforcing: HashMap<u64, Box<[u64]>>,
}

impl Accounts {
    fn enter(&mut self, account: &ServiceAccount) {
        let key = self.key_of(account);
        if let Some(listed) = enforced(account) {
            self.free.remove(&key);
            let listed: Box<[u64]> = listed
                .take(MAX_LISTED + 1)
                .map(|name| self.hasher.hash_one(name))
                .collect();
            if listed.len() > MAX_LISTED {
                self.enforcing.remove(&key);
            } else {
                self.enforcing.insert(key, listed);
            }
        } else {
            self.enforcing.remove(&key);
            self.free.insert(key);
        }
    }

    fn remove(&mut self, account: &ServiceAccount) {
        let key = self.key_of(account);
        self.free.remove(&key);
        self.enforcing.remove(&key);
    }

    /// `None`: the account is not known.
    fn forbids(&self, subject: Subject<'_>, secret: &str) -> Option<bool> {
        let key = self.key(subject.namespace, account_of(subject));
        if self.free.contains(&key) {
            return Some(false);
        }
        let listed = self.enforcing.get(&key)?;
        Some(!listed.contains(&self.hasher.hash_one(secret)))
    }

    fn key_of(&self, account: &ServiceAccount) -> u64 {
        let metadata = &account.metadata;
        self.key(
            metadata.namespace.as_deref().unwrap_or_default(),
            metadata.name.as_deref().unwrap_or_default(),
        )
    }

    fn key(&self, namespace: &str, name: &str) -> u64 {
        self.hasher.hash_one((namespace, name))
    }
}

/// All ServiceAccounts of the cluster.
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
        let events = watcher(
            Api::<ServiceAccount>::all(client),
            watcher::Config::default(),
        );
        let mut listed = Accounts::default();
        follow("serviceaccounts", events, announce, |event| match event {
            Event::Init => listed = Accounts::default(),
            Event::InitApply(account) => listed.enter(&account),
            Event::InitDone => *self.accounts.write() = std::mem::take(&mut listed),
            Event::Apply(account) => self.accounts.write().enter(&account),
            Event::Delete(account) => self.accounts.write().remove(&account),
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
        match self.look_ups.run(|| api.get_opt(name)).await {
            Some(Some(account)) => is_restricted(&account, secret),
            _ => false,
        }
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

fn is_restricted(account: &ServiceAccount, secret: &str) -> bool {
    enforced(account).is_some_and(|mut listed| !listed.any(|listed| listed == secret))
}

/// The Secrets that the pods of an account may name; `None` where they may name any.
fn enforced(account: &ServiceAccount) -> Option<impl Iterator<Item = &str>> {
    let annotations = account.metadata.annotations.as_ref()?;
    let is_enforced = annotations.get(ENFORCE)? == "true";
    let listed = account.image_pull_secrets.iter().flatten();
    is_enforced.then(|| listed.map(|reference| reference.name.as_str()))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::LocalObjectReference;

    use super::*;

    fn account(enforce: &str, secret: &str) -> ServiceAccount {
        let mut account = ServiceAccount::default();
        account.metadata.annotations = Some([(ENFORCE.to_owned(), enforce.to_owned())].into());
        account.image_pull_secrets = Some(vec![LocalObjectReference {
            name: secret.to_owned(),
        }]);
        account
    }

    #[test]
    fn only_enforcing_account_without_our_secret_is_restricted() {
        assert!(is_restricted(&account("true", "other"), "pull"));
        assert!(!is_restricted(&account("true", "pull"), "pull"));
        assert!(!is_restricted(&account("false", "other"), "pull"));
        assert!(!is_restricted(&ServiceAccount::default(), "pull"));
    }

    #[test]
    fn enforcing_account_is_asked_for_one_secret() {
        let mut accounts = Accounts::default();
        let mut account = account("true", "pull");
        account.metadata.namespace = Some("team".to_owned());
        account.metadata.name = Some("default".to_owned());
        let subject = Subject {
            namespace: "team",
            service_account: Some("default"),
        };
        assert_eq!(accounts.forbids(subject, "pull"), None);
        accounts.enter(&account);
        assert_eq!(accounts.forbids(subject, "pull"), Some(false));
        assert_eq!(accounts.forbids(subject, "other"), Some(true));

        account.metadata.annotations = None;
        accounts.enter(&account);
        assert_eq!(accounts.forbids(subject, "other"), Some(false));
        accounts.remove(&account);
        assert_eq!(accounts.forbids(subject, "other"), None);
    }

    #[test]
    fn list_beyond_limit_is_not_kept() {
        let mut accounts = Accounts::default();
        let mut account = account("true", "other");
        let reference = LocalObjectReference {
            name: "other".to_owned(),
        };
        account.image_pull_secrets = Some(vec![reference.clone(); MAX_LISTED]);
        let mut longer = account.clone();
        longer.image_pull_secrets = Some(vec![reference; MAX_LISTED + 1]);

        accounts.enter(&account);
        assert_eq!(accounts.enforcing.len(), 1);
        accounts.enter(&longer);
        assert!(accounts.enforcing.is_empty() && accounts.free.is_empty());
    }
}
