//! What every pull Secret of the cluster holds: the rows behind the ledger.
//!
//! A row enters by a write of ours, a live read or the watch, in any order; old news never replaces
//! newer. Rows are kept by the name of the Secret first, a finite list, and then by namespace.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::mem;
use std::sync::Arc;

use jiff::Timestamp;

use super::content::Grant;
use super::held::{HeldSecret, Hold, Row, SecretChange, SecretReading};
use crate::identity::Access;
use crate::target::Target;
use crate::token::lifetime::Lifetime;
use crate::version::ObjectVersion;

/// Deleted Secrets that are remembered, for each name.
const MAX_GONE: usize = 1024;
/// Hosts below which unused ones are not looked for.
const MIN_HOSTS: usize = 1024;

/// The rows of all pull Secrets.
#[derive(Debug, Default)]
pub struct Book {
    by_name: BTreeMap<Arc<str>, Rows>,
    hosts: Hosts,
    edition: u64,
}

/// The Secrets of one name.
#[derive(Debug, Default)]
struct Rows {
    by_namespace: HashMap<Box<str>, Row>,
    /// Rows of a list that is not complete yet.
    listed: Option<HashMap<Box<str>, Row>>,
    /// The last ones that were deleted, and their versions.
    gone: VecDeque<(Box<str>, u64)>,
}

/// One copy of each host: ten thousand Secrets name the same few.
#[derive(Debug, Default)]
struct Hosts {
    known: HashSet<Arc<str>>,
    /// The number of hosts at which unused ones are dropped.
    drop_at: usize,
}

impl Book {
    /// A number that is another one whenever a row may have changed.
    pub fn edition(&self) -> u64 {
        self.edition
    }

    /// Whether the Secret serves a pod with images from these registries, each with the identity that
    /// the rules name since `since`.
    pub fn serves(
        &self,
        target: &Target,
        registries: &[Access],
        since: Timestamp,
        now: Timestamp,
    ) -> bool {
        let held = self.held(target);
        held.is_some_and(|held| {
            let mut registries = registries.iter();
            registries.all(|access| held.serves(access, since, now))
        })
    }

    /// Whether the Secret exists, as far as is known.
    pub fn holds(&self, target: &Target) -> bool {
        self.held(target).is_some()
    }

    /// Whether the Secret exists and is another's, or another field manager wrote its content.
    pub fn is_contested(&self, target: &Target) -> bool {
        self.contested_version(target).is_some()
    }

    /// The version of a [contested](Self::is_contested) Secret.
    pub fn contested_version(&self, target: &Target) -> Option<u64> {
        let held = self.held(target).filter(|held| !held.is_intact())?;
        Some(held.version)
    }

    /// The earliest expiry of the entries of ours that count: `counts(target, host)`. A Secret that
    /// another writer keeps from us does not count, because no renewal helps.
    pub fn earliest_expiry(
        &self,
        mut counts: impl FnMut(&Target, &Arc<str>) -> bool,
    ) -> Option<Timestamp> {
        let mut earliest = None;
        let renewable = self.all_held().filter(|(.., held)| held.is_renewable());
        for (secret, namespace, held) in renewable {
            let target = Target::new(namespace, secret.clone());
            for Hold { host, lifetime, .. } in &held.entries {
                let is_earlier = earliest.is_none_or(|earliest| lifetime.expires_at < earliest);
                if is_earlier && counts(&target, host) {
                    earliest = Some(lifetime.expires_at);
                }
            }
        }
        earliest
    }

    /// The number of Secrets of our names that are not ours.
    pub fn foreign(&self) -> usize {
        self.all_held().filter(|(.., held)| !held.is_ours()).count()
    }

    /// Visits every Secret of ours: its name, its namespace, and what is known of each host's token.
    /// Where the content of another field manager is tolerated, that is our token that was not written.
    pub fn for_each(
        &self,
        mut visit: impl FnMut(&Arc<str>, &str, &mut dyn Iterator<Item = &Hold>),
    ) {
        for (secret, namespace, held) in self.all_held().filter(|(.., held)| held.is_ours()) {
            visit(secret, namespace, &mut held.holds());
        }
    }

    /// What one Secret of ours holds, as [`Book::for_each`] visits it.
    pub fn holds_of(&self, target: &Target) -> Vec<Hold> {
        let held = self.held(target).filter(|held| held.is_ours());
        held.map(|held| held.holds().cloned().collect())
            .unwrap_or_default()
    }

    /// The version that a write may replace without a read, where these grants replace all of the
    /// content and make no entry older.
    pub fn replaceable(
        &self,
        target: &Target,
        grants: &[Grant],
        since: Timestamp,
        now: Timestamp,
    ) -> Option<ObjectVersion> {
        self.held(target)?.replaceable(grants, since, now)
    }

    /// Whether content of another field manager was tolerated for long enough at this version.
    pub fn is_toleration_over(&self, target: &Target, version: u64, now: Timestamp) -> bool {
        self.held(target)
            .is_some_and(|held| held.version == version && held.is_toleration_over(now))
    }

    /// Enters what a write, a live read or the watch brought.
    pub fn saw(&mut self, target: &Target, reading: SecretReading) -> SecretChange {
        let held = HeldSecret::of(reading, |host| self.hosts.intern(host));
        let change = held.change();
        let rows = self.rows(&target.secret);
        rows.enter(&target.namespace, Row::Held(held), |known, new| {
            known >= new
        });
        change
    }

    /// Enters that a live read found no Secret.
    pub fn missed(&mut self, target: &Target) {
        if let Some(version) = self.held(target).map(|held| held.version) {
            self.enter_gone(target, version);
        }
    }

    /// Enters that the Secret cannot be written at this version, although it has our label.
    pub fn refuses(&mut self, target: &Target, version: u64) {
        let rows = self.by_name.get_mut(&target.secret);
        let row = rows.and_then(|rows| rows.by_namespace.get_mut(&*target.namespace));
        if let Some(Row::Held(held)) = row
            && held.version == version
        {
            held.is_unwritable = true;
        }
    }

    /// Enters that the Secret was deleted at this version.
    pub fn lost(&mut self, target: &Target, version: u64) {
        self.enter_gone(target, version);
        self.rows(&target.secret).bury(&target.namespace, version);
    }

    /// Enters that content of another field manager serves the registries of these grants, too,
    /// until then.
    pub fn tolerate(
        &mut self,
        target: &Target,
        reading: SecretReading,
        grants: &[Grant],
        until: Timestamp,
    ) {
        let mut held = HeldSecret::of(reading, |host| self.hosts.intern(host));
        let new = grants.iter().map(|grant| Hold {
            host: self.hosts.intern(grant.registry.host()),
            lifetime: Lifetime::from(&grant.token),
            identity: grant.mark(),
        });
        let new = new.collect();
        held.tolerate(self.held(target), new, until);
        let rows = self.rows(&target.secret);
        rows.enter(&target.namespace, Row::Held(held), |known, new| known > new);
    }

    /// Begins a list of all Secrets of a name.
    pub fn begin_list(&mut self, secret: &Arc<str>) {
        self.rows(secret).listed = Some(HashMap::new());
    }

    /// Ends the list: what it did not bring is gone. Returns every namespace with such a Secret,
    /// now or before.
    pub fn end_list(&mut self, secret: &Arc<str>) -> Vec<(Box<str>, SecretChange)> {
        let rows = self.rows(secret);
        let listed = rows.listed.take().unwrap_or_default();
        let before = mem::replace(&mut rows.by_namespace, listed);
        let now = rows.by_namespace.iter();
        let mut changes: Vec<_> = now
            .map(|(namespace, row)| (namespace.clone(), row.change()))
            .collect();
        let gone = before
            .into_keys()
            .filter(|namespace| !rows.by_namespace.contains_key(namespace));
        changes.extend(gone.map(|namespace| (namespace, SecretChange::Deleted)));
        changes
    }

    fn held(&self, target: &Target) -> Option<&HeldSecret> {
        let rows = self.by_name.get(&target.secret)?;
        match rows.by_namespace.get(&*target.namespace)? {
            Row::Held(held) => Some(held),
            Row::Gone(_) => None,
        }
    }

    fn all_held(&self) -> impl Iterator<Item = (&Arc<str>, &str, &HeldSecret)> {
        self.by_name.iter().flat_map(|(secret, rows)| {
            let rows = rows.by_namespace.iter();
            rows.filter_map(move |(namespace, row)| match row {
                Row::Held(held) => Some((secret, &**namespace, held)),
                Row::Gone(_) => None,
            })
        })
    }

    fn enter_gone(&mut self, target: &Target, version: u64) {
        let rows = self.rows(&target.secret);
        rows.enter(&target.namespace, Row::Gone(version), |known, new| {
            known > new
        });
    }

    /// The rows of a name, to change: a new edition.
    fn rows(&mut self, secret: &Arc<str>) -> &mut Rows {
        self.edition += 1;
        self.by_name.entry(secret.clone()).or_default()
    }
}

impl Rows {
    /// Enters a row, unless the known one stays: `stays(known version, new version)`.
    fn enter(&mut self, namespace: &str, row: Row, stays: impl Fn(u64, u64) -> bool) {
        let enter = |rows: &mut HashMap<Box<str>, Row>, row: Row| {
            let known = rows.get(namespace);
            if !known.is_some_and(|known| stays(known.version(), row.version())) {
                rows.insert(namespace.into(), row);
            }
        };
        enter(&mut self.by_namespace, row.clone());
        if let Some(listed) = &mut self.listed {
            // What was found out about this version stays.
            let known = self.by_namespace.get(namespace).cloned();
            let known = known.filter(|known| known.version() == row.version());
            enter(listed, known.unwrap_or(row));
        }
    }

    /// Forgets the oldest of many deleted Secrets: no news of them comes that late.
    fn bury(&mut self, namespace: &str, version: u64) {
        self.gone.push_back((namespace.into(), version));
        if self.gone.len() > MAX_GONE
            && let Some((namespace, version)) = self.gone.pop_front()
            && matches!(self.by_namespace.get(&namespace), Some(Row::Gone(gone)) if *gone == version)
        {
            self.by_namespace.remove(&namespace);
        }
    }
}

impl Hosts {
    fn intern(&mut self, host: &str) -> Arc<str> {
        if let Some(host) = self.known.get(host) {
            return host.clone();
        }
        if self.known.len() >= self.drop_at {
            self.known.retain(|host| Arc::strong_count(host) > 1);
            self.drop_at = (2 * self.known.len()).max(MIN_HOSTS);
        }
        let host: Arc<str> = host.into();
        self.known.insert(host.clone());
        host
    }
}

#[cfg(test)]
mod tests;
