//! What each namespace's pull Secret holds, kept by a watch of metadata.
//!
//! The content itself stays in the API server: the annotations say what is in it, and the managed
//! fields say whether somebody else wrote it since. Our own writes are entered at once; the watch
//! replaces them only by something newer.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use ecr_pull_secrets_core::image::Registry;
use ecr_pull_secrets_core::pull_secret::content::{Described, Lifetime};
use ecr_pull_secrets_core::pull_secret::{DATA_KEY, MANAGED_BY, MAX_REGISTRIES, OWNER};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};

use crate::cluster::watch::{Announce, follow};

/// What is known about the Secret of a namespace.
#[derive(Clone, Debug)]
enum Row {
    Held(Held),
    /// It was deleted, at this version; whatever is older than that is old news.
    Gone(u64),
}

#[derive(Clone, Debug)]
struct Held {
    version: u64,
    /// Our label is on it.
    ours: bool,
    /// Nobody else wrote the content since we did.
    intact: bool,
    entries: Box<[(Arc<str>, Lifetime)]>,
    /// Hosts for which somebody else's content was found good enough at this version.
    tolerated: Box<[Arc<str>]>,
    /// Until then; after that it is ours again to write.
    tolerated_until: Timestamp,
}

impl Row {
    fn version(&self) -> u64 {
        match self {
            Self::Held(held) => held.version,
            Self::Gone(version) => *version,
        }
    }
}

/// What became of a namespace's Secret, as the watch tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is there, and its content is ours.
    Written,
    /// It is there, and somebody else made it or wrote its content.
    Edited,
    /// It was deleted.
    Deleted,
}

/// The pull Secrets of the cluster, by namespace.
pub struct Ledger {
    secret_name: String,
    rows: RwLock<Rows>,
}

#[derive(Default)]
struct Rows {
    by_namespace: HashMap<Box<str>, Row>,
    /// Rows of a list that is not complete yet.
    listed: Option<HashMap<Box<str>, Row>>,
    /// Ten thousand namespaces name the same few hosts.
    hosts: HashSet<Arc<str>>,
    /// So many hosts call for a look at which of them anybody still names.
    forget_hosts_at: usize,
}

impl Ledger {
    /// Knows nothing yet.
    pub fn new(secret_name: &str) -> Self {
        Self {
            secret_name: secret_name.to_owned(),
            rows: RwLock::default(),
        }
    }

    /// Keeps it up to date, for ever. `changed` hears of every namespace whose Secret changed.
    pub async fn watch(&self, client: Client, announce: Announce, changed: impl Fn(&str, Change)) {
        // The name in the field selector is what lets RBAC say `resourceNames`.
        let config =
            watcher::Config::default().fields(&format!("metadata.name={}", self.secret_name));
        let events = watcher(Api::<PartialObjectMeta<Secret>>::all(client), config);
        follow("secrets", events, announce, |event| match event {
            Event::Init => self.write().listed = Some(HashMap::new()),
            Event::InitApply(secret) => self.saw(&secret.metadata),
            Event::Apply(secret) => {
                self.saw(&secret.metadata);
                let change = if is_ours(&secret.metadata) && !is_edited(&secret.metadata) {
                    Change::Written
                } else {
                    Change::Edited
                };
                changed(
                    secret.metadata.namespace.as_deref().unwrap_or_default(),
                    change,
                );
            }
            Event::InitDone => {
                let mut rows = self.write();
                if let Some(listed) = rows.listed.take() {
                    rows.by_namespace = listed;
                }
                let namespaces: Vec<(Box<str>, Change)> = rows.changes().collect();
                drop(rows);
                // What changed while the watch was away changed, too.
                for (namespace, change) in namespaces {
                    changed(&namespace, change);
                }
            }
            Event::Delete(secret) => {
                self.lost(&secret.metadata);
                changed(
                    secret.metadata.namespace.as_deref().unwrap_or_default(),
                    Change::Deleted,
                );
            }
        })
        .await;
    }

    /// Whether the namespace's Secret serves a pod with images from these registries.
    pub fn serves(&self, namespace: &str, registries: &[Registry], now: Timestamp) -> bool {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let Some(Row::Held(held)) = rows.by_namespace.get(namespace) else {
            return false;
        };
        registries.iter().all(|registry| {
            let host = registry.host();
            let fresh = || {
                held.entries
                    .iter()
                    .any(|(held, lifetime)| &**held == host && lifetime.serves(now))
            };
            let tolerated = || {
                now < held.tolerated_until
                    && held.tolerated.iter().any(|tolerated| &**tolerated == host)
            };
            (held.intact && fresh()) || tolerated()
        })
    }

    /// Whether there is a Secret, as far as we know.
    pub fn holds(&self, namespace: &str) -> bool {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        matches!(rows.by_namespace.get(namespace), Some(Row::Held(_)))
    }

    /// Whether there is a Secret that somebody else made or changed.
    pub fn is_doubtful(&self, namespace: &str) -> bool {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        matches!(rows.by_namespace.get(namespace), Some(Row::Held(held)) if !held.intact)
    }

    /// The earliest end of any entry of any Secret of ours.
    pub fn earliest_expiry(&self) -> Option<Timestamp> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let held = rows.by_namespace.values().filter_map(|row| match row {
            Row::Held(held) if held.intact => Some(&held.entries),
            Row::Held(_) | Row::Gone(_) => None,
        });
        held.flatten()
            .map(|(_, lifetime)| lifetime.expires_at)
            .min()
    }

    /// How many Secrets of our name are not ours.
    pub fn foreign(&self) -> usize {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let rows = rows.by_namespace.values();
        rows.filter(|row| matches!(row, Row::Held(held) if !held.ours))
            .count()
    }

    /// Enters what a write or a live read brought.
    pub fn saw(&self, metadata: &ObjectMeta) {
        let mut rows = self.write();
        let held = Row::Held(rows.held(metadata));
        rows.enter(metadata, held, |known, new| known >= new);
    }

    /// Whether somebody else's content, at the version of `metadata`, was tolerated for long enough.
    pub fn is_toleration_over(&self, metadata: &ObjectMeta, now: Timestamp) -> bool {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        matches!(rows.by_namespace.get(namespace), Some(Row::Held(held))
            if held.version == version(metadata)
                && !held.tolerated.is_empty()
                && now >= held.tolerated_until)
    }

    /// Enters that somebody else's content, at the version of `metadata`, serves these registries,
    /// too, until then.
    pub fn tolerate(&self, metadata: &ObjectMeta, registries: &[Registry], until: Timestamp) {
        let mut rows = self.write();
        let mut held = rows.held(metadata);
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let mut tolerated = BTreeSet::new();
        held.tolerated_until = until;
        if let Some(Row::Held(known)) = rows.by_namespace.get(namespace)
            && known.version == held.version
            && !known.tolerated.is_empty()
        {
            tolerated.extend(known.tolerated.iter().cloned());
            held.tolerated_until = until.min(known.tolerated_until);
        }
        tolerated.extend(registries.iter().map(|registry| rows.host(registry.host())));
        held.tolerated = tolerated.into_iter().collect();
        rows.enter(metadata, Row::Held(held), |known, new| known > new);
    }

    fn lost(&self, metadata: &ObjectMeta) {
        self.write()
            .enter(metadata, Row::Gone(version(metadata)), |known, new| {
                known > new
            });
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Rows> {
        self.rows.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows {
    fn held(&mut self, metadata: &ObjectMeta) -> Held {
        let annotations = metadata.annotations.as_ref();
        let described = Described::read(|name| annotations?.get(name).map(String::as_str));
        // Whoever may write Secrets in a namespace may write annotations of any length.
        let entries = described
            .0
            .into_iter()
            .filter(|(host, _)| Registry::of_host(host).is_some());
        let entries = entries.take(MAX_REGISTRIES);
        let entries = entries.map(|(host, entry)| (self.host(&host), entry.lifetime));
        Held {
            version: version(metadata),
            entries: entries.collect(),
            ours: is_ours(metadata),
            intact: is_ours(metadata) && !is_edited(metadata),
            tolerated: Box::default(),
            tolerated_until: Timestamp::MIN,
        }
    }

    /// How each row stands.
    fn changes(&self) -> impl Iterator<Item = (Box<str>, Change)> {
        self.by_namespace.iter().map(|(namespace, row)| {
            let change = match row {
                Row::Held(held) if held.intact => Change::Written,
                Row::Held(_) => Change::Edited,
                Row::Gone(_) => Change::Deleted,
            };
            (namespace.clone(), change)
        })
    }

    fn host(&mut self, host: &str) -> Arc<str> {
        if let Some(host) = self.hosts.get(host) {
            return host.clone();
        }
        if self.hosts.len() >= self.forget_hosts_at {
            self.hosts.retain(|host| Arc::strong_count(host) > 1);
            self.forget_hosts_at = (2 * self.hosts.len()).max(1024);
        }
        let host: Arc<str> = host.into();
        self.hosts.insert(host.clone());
        host
    }

    /// Enters a row, unless what is known stays: `stays(known version, new version)`.
    fn enter(&mut self, metadata: &ObjectMeta, row: Row, stays: impl Fn(u64, u64) -> bool) {
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let tables = [Some(&mut self.by_namespace), self.listed.as_mut()];
        for table in tables.into_iter().flatten() {
            let known = table.get(namespace);
            if !known.is_some_and(|known| stays(known.version(), row.version())) {
                table.insert(namespace.into(), row.clone());
            }
        }
    }
}

/// Resource versions are numbers, and may be compared as such (Kubernetes 1.35, KEP-5504).
fn version(metadata: &ObjectMeta) -> u64 {
    metadata
        .resource_version
        .as_deref()
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}

fn is_ours(metadata: &ObjectMeta) -> bool {
    metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(MANAGED_BY))
        .is_some_and(|owner| owner == OWNER)
}

/// Whether another field manager owns the content.
pub fn is_edited(metadata: &ObjectMeta) -> bool {
    metadata.managed_fields.iter().flatten().any(|entry| {
        let owns_content = || {
            let fields = entry.fields_v1.as_ref()?;
            fields.0.get("f:data")?.get(format!("f:{DATA_KEY}"))
        };
        entry.manager.as_deref() != Some(OWNER) && owns_content().is_some()
    })
}

#[cfg(test)]
mod tests;
