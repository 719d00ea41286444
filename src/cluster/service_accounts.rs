//! ServiceAccounts that list the Secrets which their pods may name.
//!
//! With `kubernetes.io/enforce-mountable-secrets: "true"` the API server refuses a pod whose
//! `imagePullSecrets` are not all in the ServiceAccount's own list, *after* our patch and whatever
//! our `failurePolicy` is. So for those the reference is not added. Of all others nothing is kept
//! but a hash that says "seen": a ServiceAccount that is younger than the watch is asked for.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{PoisonError, RwLock};

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};

use super::client::Clients;
use super::look_ups::LookUps;
use super::watch::{Announce, follow};

const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";

#[derive(Default)]
struct Seen {
    all: HashSet<u64>,
    restricted: HashSet<u64>,
}

/// All ServiceAccounts of the cluster.
pub(crate) struct ServiceAccounts {
    seen: RwLock<Seen>,
    hasher: RandomState,
    secret_name: String,
    client: Client,
    look_ups: LookUps,
}

impl ServiceAccounts {
    /// Knows none yet.
    pub(crate) fn new(clients: &Clients, secret_name: &str) -> Self {
        Self {
            seen: RwLock::default(),
            hasher: RandomState::new(),
            secret_name: secret_name.to_owned(),
            client: clients.call.clone(),
            look_ups: clients.look_ups.clone(),
        }
    }

    /// Keeps them up to date, for ever.
    pub(crate) async fn watch(&self, client: Client, announce: Announce) {
        let events = watcher(
            Api::<ServiceAccount>::all(client),
            watcher::Config::default(),
        );
        let mut listed = Seen::default();
        follow("serviceaccounts", events, announce, |event| match event {
            Event::Init => listed = Seen::default(),
            Event::InitApply(account) => self.note(&mut listed, &account),
            Event::InitDone => *self.write() = std::mem::take(&mut listed),
            Event::Apply(account) => self.note(&mut self.write(), &account),
            Event::Delete(account) => {
                let key = self.key_of(&account);
                let mut seen = self.write();
                seen.all.remove(&key);
                seen.restricted.remove(&key);
            }
        })
        .await;
    }

    /// Whether the API server would refuse a pod of this ServiceAccount for naming the pull
    /// Secret. One that cannot be looked up in time counts as unrestricted: the restriction is
    /// deprecated and rare, a pod without its reference is lost.
    pub(crate) async fn forbids(&self, namespace: &str, name: &str) -> bool {
        if let Some(forbids) = self.cached(namespace, name) {
            return forbids;
        }
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        match self.look_ups.run(api.get_opt(name)).await {
            Some(Some(account)) => is_restricted(&account, &self.secret_name),
            _ => false,
        }
    }

    /// What [`ServiceAccounts::forbids`] says, from memory only.
    pub(crate) fn cached(&self, namespace: &str, name: &str) -> Option<bool> {
        if !is_subdomain(name) {
            // No ServiceAccount has such a name, and it must not end up in a path.
            return Some(false);
        }
        let key = self.hasher.hash_one((namespace, name));
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        let is_known = seen.all.contains(&key);
        is_known.then(|| seen.restricted.contains(&key))
    }

    fn note(&self, seen: &mut Seen, account: &ServiceAccount) {
        let key = self.key_of(account);
        seen.all.insert(key);
        if is_restricted(account, &self.secret_name) {
            seen.restricted.insert(key);
        } else {
            seen.restricted.remove(&key);
        }
    }

    fn key_of(&self, account: &ServiceAccount) -> u64 {
        let metadata = &account.metadata;
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        self.hasher.hash_one((
            text(&metadata.namespace).as_str(),
            text(&metadata.name).as_str(),
        ))
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Seen> {
        self.seen.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The grammar of a ServiceAccount's name.
fn is_subdomain(name: &str) -> bool {
    let is_letter =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    (1..=253).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(is_letter)
}

fn is_restricted(account: &ServiceAccount, secret_name: &str) -> bool {
    let annotations = account.metadata.annotations.as_ref();
    let enforced = annotations
        .and_then(|all| all.get(ENFORCE))
        .is_some_and(|value| value == "true");
    let mut listed = account.image_pull_secrets.iter().flatten();
    enforced && !listed.any(|reference| reference.name == secret_name)
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
    fn a_name_that_is_none_never_gets_into_a_path() {
        for name in ["default", "a.b-c", "1"] {
            assert!(is_subdomain(name), "{name}");
        }
        for name in [
            "",
            "?limit=500",
            "../secrets/x",
            "..",
            "a/b",
            "A",
            &"a".repeat(254),
        ] {
            assert!(!is_subdomain(name), "{name}");
        }
    }

    #[test]
    fn only_an_account_that_enforces_and_does_not_list_us_is_restricted() {
        assert!(is_restricted(&account("true", "other"), "pull"));
        assert!(!is_restricted(&account("true", "pull"), "pull"));
        assert!(!is_restricted(&account("false", "other"), "pull"));
        assert!(!is_restricted(&ServiceAccount::default(), "pull"));
    }
}
