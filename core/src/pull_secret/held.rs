//! What the metadata of one Secret says that the Secret holds: some 200 bytes a Secret.
//!
//! The content stays in the API server. The annotations say what is in it, and the managed fields
//! say whether another field manager wrote it since.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::content::{Described, Grant, is_exclusive};
use super::incumbent::Incumbent;
use super::{DATA_KEY, MANAGED_BY, MAX_REGISTRIES, OWNER, annotation};
use crate::identity::{Access, IdentityMark};
use crate::image::Registry;
use crate::token::lifetime::Lifetime;
use crate::version::ObjectVersion;

/// The part of a Secret's metadata that is read here.
#[derive(Clone, Debug, Default)]
pub struct SecretMetadata<'a> {
    /// `metadata.resourceVersion`.
    pub resource_version: Option<&'a str>,
    /// `metadata.uid`.
    pub uid: Option<&'a str>,
    /// `metadata.labels`.
    pub labels: Option<&'a BTreeMap<String, String>>,
    /// `metadata.annotations`.
    pub annotations: Option<&'a BTreeMap<String, String>>,
    /// `manager` and `fieldsV1` of each entry of `metadata.managedFields`.
    pub managed_fields: Vec<(&'a str, &'a Value)>,
}

impl<'a> SecretMetadata<'a> {
    /// The resource version as a number; such numbers may be compared (Kubernetes 1.35, KEP-5504).
    pub fn version(&self) -> u64 {
        let version = self.resource_version.map(str::parse);
        version.and_then(Result::ok).unwrap_or(0)
    }

    /// Whether another field manager owns the content.
    pub fn is_edited(&self) -> bool {
        self.owns(false, |fields| {
            let data = fields.get("f:data");
            data.is_some_and(|data| data.get(format!("f:{DATA_KEY}")).is_some())
        })
    }

    fn annotation(&self, name: &str) -> Option<&'a str> {
        self.annotations?.get(name).map(String::as_str)
    }

    fn is_ours(&self) -> bool {
        self.labels
            .and_then(|labels| labels.get(MANAGED_BY))
            .is_some_and(|owner| owner == OWNER)
    }

    /// Whether another field manager alone owns one of our annotations: the Secret may then hold
    /// more than they say. An annotation that we own too has the value that we gave it.
    fn is_redescribed(&self) -> bool {
        let names = |fields: &Value, name: &str| {
            let annotations = fields.pointer("/f:metadata/f:annotations");
            annotations.is_some_and(|all| all.get(format!("f:{name}")).is_some())
        };
        let is_ours = |name| self.owns(true, |fields| names(fields, name));
        let is_others = |name| self.owns(false, |fields| names(fields, name));
        let mut describing = annotation::DESCRIBING.into_iter();
        describing.any(|name| is_others(name) && !is_ours(name))
    }

    /// Whether we, or another field manager, own the fields that `is_it` looks for.
    fn owns(&self, we: bool, is_it: impl Fn(&Value) -> bool) -> bool {
        let mut entries = self.managed_fields.iter();
        entries.any(|(manager, fields)| (*manager == OWNER) == we && is_it(fields))
    }
}

/// What a watch reports of one Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretChange {
    /// The Secret exists, and its content is ours.
    Written,
    /// The Secret exists, but is not ours, or another field manager wrote its content or our
    /// annotations.
    Edited,
    /// The Secret was deleted.
    Deleted,
}

/// A host, and what is known of its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Host of the registry, shared by all Secrets that name it.
    pub host: Arc<str>,
    /// Lifetime of the token that the Secret holds for the host.
    pub lifetime: Lifetime,
    /// Identity that minted it.
    pub identity: IdentityMark,
}

/// What is known about one Secret.
#[derive(Clone, Debug)]
pub(super) enum Row {
    Held(HeldSecret),
    /// It was deleted at this version; older news is ignored.
    Gone(u64),
}

impl Row {
    pub(super) fn version(&self) -> u64 {
        match self {
            Self::Held(held) => held.version,
            Self::Gone(version) => *version,
        }
    }

    pub(super) fn change(&self) -> SecretChange {
        match self {
            Self::Held(held) => held.change(),
            Self::Gone(_) => SecretChange::Deleted,
        }
    }
}

/// A Secret that exists.
#[derive(Clone, Debug)]
pub(super) struct HeldSecret {
    pub(super) version: u64,
    uid: Option<Uid>,
    possession: Possession,
    /// Another field manager wrote our annotations.
    redescribed: bool,
    /// A live read showed that it is not ours to write, or a write that it has no room, whatever its
    /// metadata says.
    pub(super) is_unwritable: bool,
    /// It is intact, its annotations are ours, and it holds `entries` and nothing else; `entries`
    /// is not empty.
    exclusive: bool,
    pub(super) entries: Box<[Hold]>,
    tolerated: Option<Box<Tolerated>>,
}

/// Whose a Secret is, from the least ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Possession {
    /// It lacks our label.
    Others,
    /// It has our label, and another field manager wrote its content since we did.
    Edited,
    /// It has our label, and no other field manager wrote its content since we did.
    Intact,
}

/// Content of another field manager that was found good enough at this version.
#[derive(Clone, Debug)]
struct Tolerated {
    /// The registries that it serves, each with the lifetime of our token that was not written.
    hosts: Box<[Hold]>,
    /// We do not overwrite the content before.
    until: Timestamp,
}

/// A Secret's metadata, read: what it costs to read it, a tenant decides, so nothing is locked
/// meanwhile.
#[derive(Clone, Debug)]
pub struct SecretReading {
    /// Without entries.
    held: HeldSecret,
    entries: Vec<(String, Lifetime, IdentityMark)>,
}

impl SecretReading {
    /// Reads the metadata of a Secret.
    pub fn of(metadata: &SecretMetadata<'_>) -> Self {
        let annotation = |name: &str| metadata.annotation(name);
        let described = Described::read(annotation);
        let described_hosts = described.0.len();
        // A tenant with the right to write Secrets can write annotations of any length.
        let entries = described
            .0
            .into_iter()
            .filter(|(host, _)| Registry::of_host(host).is_some())
            .take(MAX_REGISTRIES);
        let entries: Vec<_> = entries
            .map(|(host, entry)| (host, entry.lifetime, IdentityMark::of(&entry.identity)))
            .collect();
        let possession = match (metadata.is_ours(), metadata.is_edited()) {
            (false, _) => Possession::Others,
            (true, true) => Possession::Edited,
            (true, false) => Possession::Intact,
        };
        let redescribed = metadata.is_redescribed();
        let held = HeldSecret {
            version: metadata.version(),
            uid: metadata.uid.and_then(Uid::parse),
            possession,
            redescribed,
            is_unwritable: false,
            exclusive: possession == Possession::Intact
                && !redescribed
                && is_exclusive(annotation)
                && !entries.is_empty()
                && entries.len() == described_hosts,
            entries: Box::default(),
            tolerated: None,
        };
        Self { held, entries }
    }
}

impl Hold {
    /// Its token.
    pub fn incumbent(&self) -> Incumbent {
        Incumbent {
            lifetime: self.lifetime,
            identity: self.identity,
        }
    }
}

impl HeldSecret {
    /// Takes a reading into the book. `intern` returns the shared copy of a host.
    pub(super) fn of(reading: SecretReading, mut intern: impl FnMut(&str) -> Arc<str>) -> Self {
        let SecretReading { held, entries } = reading;
        let entries = entries.into_iter().map(|(host, lifetime, identity)| Hold {
            host: intern(&host),
            lifetime,
            identity,
        });
        Self {
            entries: entries.collect(),
            ..held
        }
    }

    /// Rotation would never renew a Secret of ours whose annotations do not describe its tokens, so
    /// such a Secret counts as edited.
    pub(super) fn change(&self) -> SecretChange {
        if self.is_intact() && !self.redescribed && !self.entries.is_empty() {
            SecretChange::Written
        } else {
            SecretChange::Edited
        }
    }

    /// Whether it has our label.
    pub(super) fn is_ours(&self) -> bool {
        self.possession >= Possession::Edited
    }

    /// Whether it has our label, and no other field manager wrote its content since we did.
    pub(super) fn is_intact(&self) -> bool {
        self.possession == Possession::Intact
    }

    /// Whether its expiry is ours to postpone, and said by us.
    pub(super) fn is_renewable(&self) -> bool {
        self.is_intact() && !self.redescribed && !self.is_unwritable
    }

    /// Whether it serves a pod with images from this registry, for a configuration that was loaded at
    /// `since`.
    pub(super) fn serves(&self, access: &Access, since: Timestamp, now: Timestamp) -> bool {
        let host = access.registry.host();
        let has_fresh_entry = || {
            let mut entries = self.entries.iter();
            entries.any(|hold| {
                &*hold.host == host
                    && hold.lifetime.serves(now)
                    && !hold.incumbent().is_outdated(access.identity.mark(), since)
            })
        };
        let is_tolerated = || {
            self.tolerated.as_ref().is_some_and(|tolerated| {
                let mut hosts = tolerated.hosts.iter();
                now < tolerated.until && hosts.any(|hold| &*hold.host == host)
            })
        };
        (self.is_intact() && has_fresh_entry()) || is_tolerated()
    }

    /// What a newer token is compared with, host by host.
    pub(super) fn holds(&self) -> impl Iterator<Item = &Hold> {
        let tolerated = self.tolerated.iter().flat_map(|tolerated| &tolerated.hosts);
        let undescribed =
            tolerated.filter(|hold| !self.entries.iter().any(|entry| entry.host == hold.host));
        self.entries.iter().chain(undescribed)
    }

    /// The version that these grants can replace unread: they replace all of it, and make no entry
    /// older.
    pub(super) fn replaceable(
        &self,
        grants: &[Grant],
        since: Timestamp,
        now: Timestamp,
    ) -> Option<ObjectVersion> {
        let replaces = |grant: &Grant, hold: &Hold| {
            grant.registry.host() == &*hold.host
                && hold.incumbent().gives_way_to(grant.successor(since, now))
        };
        let is_covered = |hold: &Hold| grants.iter().any(|grant| replaces(grant, hold));
        let is_replaceable =
            self.exclusive && self.version > 0 && self.entries.iter().all(is_covered);
        is_replaceable.then_some(ObjectVersion {
            uid: self.uid?.to_string(),
            version: self.version.to_string(),
        })
    }

    /// Tolerates the content of another field manager until then. What was tolerated at the same
    /// version stays tolerated, and for no longer than it was.
    pub(super) fn tolerate(&mut self, known: Option<&Self>, new: Vec<Hold>, until: Timestamp) {
        let known = known.filter(|known| known.version == self.version);
        let known = known.and_then(|known| known.tolerated.as_ref());
        let until = known.map_or(until, |known| known.until.min(until));
        let before = known
            .into_iter()
            .flat_map(|known| known.hosts.iter().cloned());
        let by_host: BTreeMap<Arc<str>, Hold> = before
            .chain(new)
            .map(|hold| (hold.host.clone(), hold))
            .collect();
        let hosts = by_host.into_values().take(MAX_REGISTRIES).collect();
        self.tolerated = Some(Box::new(Tolerated { hosts, until }));
    }

    /// Whether the content of another field manager was tolerated for long enough.
    pub(super) fn is_toleration_over(&self, now: Timestamp) -> bool {
        let tolerated = self.tolerated.as_ref();
        tolerated.is_some_and(|tolerated| now >= tolerated.until)
    }
}

/// A UUID in 16 bytes; its text has 36.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Uid([u64; 2]);

impl Uid {
    /// Reads the spelling that the API server uses, and no other.
    fn parse(text: &str) -> Option<Self> {
        let digits = text.replace('-', "");
        let (high, low) = digits.split_at_checked(16)?;
        let half = |digits: &str| u64::from_str_radix(digits, 16).ok();
        let uid = Self([half(high)?, half(low)?]);
        (uid.to_string() == text).then_some(uid)
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [high, low] = self.0;
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uid_survives_the_row() {
        for text in [
            "0b1c2d3e-4f50-4617-8899-aabbccddeeff",
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "01234567-89ab-cdef-0123-456789abcdef",
        ] {
            assert_eq!(Uid::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn uid_of_another_spelling_is_unknown() {
        for text in [
            "",
            "-",
            "0b1c2d3e4f5046178899aabbccddeeff",
            "0B1C2D3E-4F50-4617-8899-AABBCCDDEEFF",
            "0b1c2d3e-4f50-4617-8899-aabbccddeef",
            "0b1c2d3e-4f50-4617-8899-aabbccddeeff0",
            "+b1c2d3e-4f50-4617-8899-aabbccddeeff",
            "\u{e4}b1c2d3e-4f50-4617-8899-aabbccddeef",
            "my-own-uid",
        ] {
            assert_eq!(Uid::parse(text), None, "{text}");
        }
    }

    /// Ten thousand rows take some 2 MiB, names and hosts included.
    #[test]
    fn row_stays_small() {
        assert!(size_of::<Row>() <= 64, "{}", size_of::<Row>());
        assert!(size_of::<Hold>() <= 56, "{}", size_of::<Hold>());
    }
}
