//! What each namespace's pull Secret holds, kept by a watch of metadata.
//!
//! The content itself stays in the API server: the annotations say what is in it, and the managed
//! fields say whether somebody else wrote it since. Our own writes are entered at once; the watch
//! replaces them only by something newer.

mod row;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use ecr_pull_secrets_core::image::Registry;
use ecr_pull_secrets_core::pull_secret::content::Grant;
use ecr_pull_secrets_core::token::lifetime::Lifetime;
use ecr_pull_secrets_core::version::ObjectVersion;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};

use self::row::{Held, Row, Tolerated, version};
pub(crate) use self::row::{Mark, is_edited};
use crate::cluster::watch::{Announce, follow};

/// So many deleted Secrets are remembered.
const GONE_REMEMBERED: usize = 1024;

/// What became of a namespace's Secret, as the watch tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is there, and its content is ours.
    Written,
    /// It is there, and somebody else made it, wrote its content, or spoilt what is said of it.
    Edited,
    /// It was deleted.
    Deleted,
}

/// A namespace whose Secret changed, and how.
pub(crate) type Changed = (Box<str>, Change);

/// The pull Secrets of the cluster, by namespace.
pub struct Ledger {
    secret_name: String,
    rows: RwLock<Rows>,
    edition: AtomicU64,
}

#[derive(Default)]
struct Rows {
    by_namespace: HashMap<Box<str>, Row>,
    /// The last that were deleted, and at which version.
    gone: VecDeque<(Box<str>, u64)>,
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
            edition: AtomicU64::new(0),
        }
    }

    /// Keeps it up to date, for ever. `changed` hears of every namespace whose Secret changed.
    pub(crate) async fn watch(
        &self,
        client: Client,
        announce: Announce,
        changed: impl Fn(&str, Change),
    ) {
        // The name in the field selector is what lets RBAC say `resourceNames`.
        let config =
            watcher::Config::default().fields(&format!("metadata.name={}", self.secret_name));
        let events = watcher(Api::<PartialObjectMeta<Secret>>::all(client), config);
        follow("secrets", events, announce, |event| match event {
            Event::Init => self.write().listed = Some(HashMap::new()),
            Event::InitApply(secret) => self.saw(&secret.metadata),
            Event::Apply(secret) => {
                self.saw(&secret.metadata);
                let held = Held::read(&secret.metadata, |host| Arc::from(host));
                changed(namespace(&secret.metadata), held.change());
            }
            Event::InitDone => {
                let mut rows = self.write();
                let listed = rows.listed.take().unwrap_or_default();
                let before = std::mem::replace(&mut rows.by_namespace, listed);
                let mut namespaces: Vec<(Box<str>, Change)> = rows.changes().collect();
                let gone = before
                    .into_keys()
                    .filter(|namespace| !rows.by_namespace.contains_key(namespace));
                namespaces.extend(gone.map(|namespace| (namespace, Change::Deleted)));
                drop(rows);
                // What changed while the watch was away changed, too.
                for (namespace, change) in namespaces {
                    changed(&namespace, change);
                }
            }
            Event::Delete(secret) => {
                self.lost(&secret.metadata);
                changed(namespace(&secret.metadata), Change::Deleted);
            }
        })
        .await;
    }

    /// Whether the namespace's Secret serves a pod with images from these registries.
    pub(crate) fn serves<'a>(
        &self,
        namespace: &str,
        registries: impl IntoIterator<Item = &'a Registry>,
        now: Timestamp,
    ) -> bool {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let Some(Row::Held(held)) = rows.by_namespace.get(namespace) else {
            return false;
        };
        registries.into_iter().all(|registry| {
            let host = registry.host();
            let fresh = || {
                held.entries
                    .iter()
                    .any(|(held, lifetime)| &**held == host && lifetime.serves(now))
            };
            let tolerated = || {
                held.tolerated.as_ref().is_some_and(|tolerated| {
                    now < tolerated.until && tolerated.hosts.iter().any(|(held, _)| &**held == host)
                })
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
    pub(crate) fn is_doubtful(&self, namespace: &str) -> bool {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        matches!(rows.by_namespace.get(namespace), Some(Row::Held(held)) if !held.intact)
    }

    /// The earliest end of any entry of any Secret of ours that counts: `counts(namespace, host)`.
    pub(crate) fn earliest_expiry(
        &self,
        mut counts: impl FnMut(&str, &Arc<str>) -> bool,
    ) -> Option<Timestamp> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let mut earliest = None;
        for (namespace, row) in &rows.by_namespace {
            let Row::Held(held) = row else { continue };
            if !held.intact {
                continue;
            }
            for (host, lifetime) in &held.entries {
                let is_earlier = earliest.is_none_or(|earliest| lifetime.expires_at < earliest);
                if is_earlier && counts(namespace, host) {
                    earliest = Some(lifetime.expires_at);
                }
            }
        }
        earliest
    }

    /// How many Secrets of our name are not ours.
    pub(crate) fn foreign(&self) -> usize {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let rows = rows.by_namespace.values();
        rows.filter(|row| matches!(row, Row::Held(held) if !held.ours))
            .count()
    }

    /// Goes through the hosts of every Secret of ours, with the life of the token that each holds or,
    /// where somebody else's content is tolerated, could hold, and with whose rights the tokens
    /// carry, if all carry the same. Others wait meanwhile.
    pub(crate) fn for_each(
        &self,
        mut visit: impl FnMut(&str, Option<Mark>, &mut dyn Iterator<Item = (&Arc<str>, Lifetime)>),
    ) {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        for (namespace, row) in &rows.by_namespace {
            if let Row::Held(held) = row
                && held.ours
            {
                visit(
                    namespace,
                    held.owner,
                    &mut held.holds().map(|(host, life)| (host, *life)),
                );
            }
        }
    }

    /// The same for one namespace.
    pub(crate) fn holds_of(&self, namespace: &str) -> Vec<(Arc<str>, Lifetime)> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        match rows.by_namespace.get(namespace) {
            Some(Row::Held(held)) if held.ours => held.holds().cloned().collect(),
            Some(Row::Held(_) | Row::Gone(_)) | None => Vec::new(),
        }
    }

    /// Changes whenever a row may have.
    pub(crate) fn edition(&self) -> u64 {
        self.edition.load(Ordering::Relaxed)
    }

    /// What a write can stand on without reading the Secret first, where these grants replace all of
    /// it and make no entry older.
    pub(crate) fn replaceable(
        &self,
        namespace: &str,
        grants: &[Grant],
        now: Timestamp,
    ) -> Option<ObjectVersion> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let Some(Row::Held(held)) = rows.by_namespace.get(namespace) else {
            return None;
        };
        let is_covered = |host: &str, lifetime: Lifetime| {
            grants.iter().any(
                |Grant {
                     registry, token, ..
                 }| {
                    registry.host() == host
                        && (lifetime.expires_at == token.expires_at
                            || lifetime.yields_to(token, now))
                },
            )
        };
        let all_covered = || {
            held.entries
                .iter()
                .all(|(host, life)| is_covered(host, *life))
        };
        (held.exclusive && held.version > 0 && all_covered()).then_some(())?;
        Some(ObjectVersion {
            uid: held.uid?.to_string(),
            version: held.version.to_string(),
        })
    }

    /// Enters what a write or a live read brought.
    pub fn saw(&self, metadata: &ObjectMeta) {
        let mut rows = self.write();
        let held = Row::Held(rows.held(metadata));
        rows.enter(namespace(metadata), &held, |known, new| known >= new);
    }

    /// Enters that a live read found nothing where there was a Secret of this version.
    pub(crate) fn missed(&self, namespace: &str) {
        let mut rows = self.write();
        if let Some(Row::Held(held)) = rows.by_namespace.get(namespace) {
            let gone = Row::Gone(held.version);
            rows.enter(namespace, &gone, |known, new| known > new);
        }
    }

    /// Whether somebody else's content, at the version of `metadata`, was tolerated for long enough.
    pub(crate) fn is_toleration_over(&self, metadata: &ObjectMeta, now: Timestamp) -> bool {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        matches!(rows.by_namespace.get(namespace(metadata)), Some(Row::Held(held))
            if held.version == version(metadata)
                && held.tolerated.as_ref().is_some_and(|tolerated| now >= tolerated.until))
    }

    /// Enters that somebody else's content, at the version of `metadata`, serves the registries of
    /// these grants, too, until then.
    pub(crate) fn tolerate(&self, metadata: &ObjectMeta, grants: &[Grant], until: Timestamp) {
        let mut rows = self.write();
        let mut held = rows.held(metadata);
        let mut tolerated = BTreeMap::new();
        let mut until = until;
        if let Some(Row::Held(known)) = rows.by_namespace.get(namespace(metadata))
            && known.version == held.version
            && let Some(known) = &known.tolerated
        {
            tolerated.extend(known.hosts.iter().cloned());
            until = until.min(known.until);
        }
        tolerated.extend(grants.iter().map(
            |Grant {
                 registry, token, ..
             }| { (rows.host(registry.host()), Lifetime::from(token)) },
        ));
        let hosts = tolerated.into_iter().collect();
        held.tolerated = Some(Box::new(Tolerated { hosts, until }));
        rows.enter(namespace(metadata), &Row::Held(held), |known, new| {
            known > new
        });
    }

    fn lost(&self, metadata: &ObjectMeta) {
        let gone = Row::Gone(version(metadata));
        let mut rows = self.write();
        rows.enter(namespace(metadata), &gone, |known, new| known > new);
        rows.bury(namespace(metadata), version(metadata));
    }

    /// Whoever writes makes a new edition.
    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Rows> {
        let rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        self.edition.fetch_add(1, Ordering::Relaxed);
        rows
    }
}

impl Rows {
    fn held(&mut self, metadata: &ObjectMeta) -> Held {
        Held::read(metadata, |host| self.host(host))
    }

    /// Forgets the oldest of many that are gone: old news of them does not come that late.
    fn bury(&mut self, namespace: &str, version: u64) {
        self.gone.push_back((namespace.into(), version));
        if self.gone.len() > GONE_REMEMBERED
            && let Some((namespace, version)) = self.gone.pop_front()
            && matches!(self.by_namespace.get(&namespace), Some(Row::Gone(gone)) if *gone == version)
        {
            self.by_namespace.remove(&namespace);
        }
    }

    /// How each row stands.
    fn changes(&self) -> impl Iterator<Item = (Box<str>, Change)> {
        self.by_namespace.iter().map(|(namespace, row)| {
            let change = match row {
                Row::Held(held) => held.change(),
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
    fn enter(&mut self, namespace: &str, row: &Row, stays: impl Fn(u64, u64) -> bool) {
        let tables = [Some(&mut self.by_namespace), self.listed.as_mut()];
        for table in tables.into_iter().flatten() {
            let known = table.get(namespace);
            if !known.is_some_and(|known| stays(known.version(), row.version())) {
                table.insert(namespace.into(), row.clone());
            }
        }
    }
}

fn namespace(metadata: &ObjectMeta) -> &str {
    metadata.namespace.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests;
