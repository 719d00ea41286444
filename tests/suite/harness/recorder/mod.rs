//! Records every version of every pull Secret and of the token store, and every fault: a version that is
//! worse than the one before, see [`version`].
//!
//! It sees all versions, or records that it lost some. It reads them from etcd, whose history survives a
//! restart of the API server and of etcd itself, or from an API server that must not restart.

mod etcd;
mod version;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ecr_pull_secrets_core::pull_secret::{MANAGED_BY, OWNER};
use ecr_pull_secrets_core::token::stored;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Client, ResourceExt as _};

use super::namespace::SECRET;
use super::world::OURS;
use parking_lot::{Mutex, MutexGuard};
pub use version::Held;
use version::Version;

/// Name of the token store.
const STORE: &str = "ecr-pull-secrets-tokens";

/// A record of all versions so far.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    /// Latest version in each namespace.
    namespaces: BTreeMap<String, Version>,
    /// Number of entries that hold each token.
    holders: BTreeMap<u64, usize>,
    /// Latest tokens of the store, by region.
    store: BTreeMap<String, Held>,
    /// All tokens that the store ever held, by region.
    stored: BTreeMap<String, BTreeSet<u64>>,
    versions: usize,
    /// Namespace and text of each fault.
    faults: Vec<(String, String)>,
}

impl Recorder {
    /// Follows etcd for as long as the runtime lives. The world needs
    /// [`json_storage`](super::builder::Builder::json_storage).
    pub fn of_etcd(url: &str) -> Self {
        let this = Self::default();
        tokio::spawn(etcd::follow(url.to_owned(), this.clone()));
        this
    }

    /// Follows the API server, which must not restart meanwhile.
    pub fn of_api(client: Client) -> Self {
        let this = Self::default();
        let recorder = this.clone();
        let config = Config::default().labels(&format!("{MANAGED_BY}={OWNER}"));
        let mut events = watcher(Api::<Secret>::all(client), config).boxed();
        tokio::spawn(async move {
            let mut is_complete = false;
            while let Some(event) = events.next().await {
                match event {
                    Ok(Event::Init) if is_complete => {
                        recorder.lock().fault(OURS, "the watch lost versions");
                    }
                    Ok(Event::Init | Event::InitDone) => is_complete = true,
                    Ok(Event::InitApply(secret) | Event::Apply(secret)) => recorder.saw(&secret),
                    Ok(Event::Delete(secret)) => {
                        let namespace = secret.namespace().unwrap_or_default();
                        recorder.lost(&namespace, &secret.name_any());
                    }
                    // The watch resumes, or starts again with Init, which is a fault.
                    Err(_) => {}
                }
            }
        });
        this
    }

    /// Records a version.
    fn saw(&self, secret: &Secret) {
        let namespace = secret.namespace().unwrap_or_default();
        match secret.name_any().as_str() {
            SECRET => self.lock().saw(&namespace, secret),
            STORE if namespace == OURS => self.lock().saw_store(secret),
            _ => {}
        }
    }

    /// Records a deletion.
    fn lost(&self, namespace: &str, name: &str) {
        if name == SECRET || name == STORE && namespace == OURS {
            self.lock().fault(namespace, "deleted");
        }
    }

    /// Number of versions so far.
    pub fn versions(&self) -> usize {
        self.lock().versions
    }

    /// The store's token for a region.
    pub fn stored(&self, region: &str) -> Option<Held> {
        self.lock().store.get(region).copied()
    }

    /// Number of different tokens that the store ever held for a region.
    pub fn stored_ever(&self, region: &str) -> usize {
        self.lock().stored.get(region).map_or(0, BTreeSet::len)
    }

    /// Number of entries of pull Secrets that hold a token now.
    pub fn holders(&self, token: u64) -> usize {
        self.lock().holders.get(&token).copied().unwrap_or(0)
    }

    /// Fails if there was a fault.
    pub fn assert_sound(&self) {
        self.assert_sound_where(|_| true);
    }

    /// The same for these namespaces and the token store.
    pub fn assert_sound_in(&self, namespaces: &[&str]) {
        self.assert_sound_where(|name| name == OURS || namespaces.contains(&name));
    }

    fn assert_sound_where(&self, is_meant: impl Fn(&str) -> bool) {
        let seen = self.lock();
        let faults: Vec<String> = seen
            .faults
            .iter()
            .filter(|(namespace, _)| is_meant(namespace))
            .map(|(namespace, fault)| format!("{namespace}: {fault}"))
            .collect();
        let some = faults.get(..faults.len().min(20)).unwrap_or_default();
        assert!(
            faults.is_empty(),
            "{} faults in {} versions:\n{}",
            faults.len(),
            seen.versions,
            some.join("\n")
        );
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock()
    }
}

impl Seen {
    fn fault(&mut self, namespace: &str, text: &str) {
        self.faults.push((namespace.to_owned(), text.to_owned()));
    }

    fn saw(&mut self, namespace: &str, secret: &Secret) {
        self.versions += 1;
        let version = match Version::read(secret) {
            Ok(version) => version,
            Err(why) => return self.fault(namespace, &why),
        };
        let before = self.namespaces.remove(namespace);
        for fault in version.faults_after(before.as_ref()) {
            self.fault(namespace, &fault);
        }
        for held in before.iter().flat_map(|before| before.hosts.values()) {
            *self.holders.entry(held.token).or_default() -= 1;
        }
        for held in version.hosts.values() {
            *self.holders.entry(held.token).or_default() += 1;
        }
        self.namespaces.insert(namespace.to_owned(), version);
    }

    fn saw_store(&mut self, secret: &Secret) {
        let data = secret.data.iter().flatten();
        let tokens = data.filter_map(|(key, value)| stored::decode(key, &value.0).ok());
        let mut store = BTreeMap::new();
        for (key, token) in tokens {
            let region = key.region.to_string();
            match Held::read(token.expose_authorization()) {
                Ok(held) => _ = store.insert(region, held),
                Err(why) => self.fault(OURS, &format!("{region}: {why}")),
            }
        }
        let now = ecr_pull_secrets::clock::now().as_second();
        let faults: Vec<String> = self
            .store
            .iter()
            .filter_map(|(region, before)| match store.get(region) {
                Some(held) if held.expires < before.expires => Some(format!("{region} got older")),
                None if before.expires > now => Some(format!("{region} got lost")),
                _ => None,
            })
            .collect();
        for fault in faults {
            self.fault(OURS, &fault);
        }
        for (region, held) in &store {
            let ever = self.stored.entry(region.clone()).or_default();
            ever.insert(held.token);
        }
        self.store = store;
    }
}

/// Shows that the recorder notices every kind of fault.
pub fn notices_every_kind_of_fault() {
    version::notices_every_kind_of_fault();
}
