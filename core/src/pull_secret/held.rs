//! What the ledger keeps of one Secret: some 200 bytes.

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::num::NonZeroU32;
use std::sync::Arc;

use ecr_pull_secrets_core::image::Registry;
use ecr_pull_secrets_core::pull_secret::content::{Described, is_exclusive};
use ecr_pull_secrets_core::pull_secret::{DATA_KEY, MANAGED_BY, MAX_REGISTRIES, OWNER, annotation};
use ecr_pull_secrets_core::token::lifetime::Lifetime;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::Change;

/// A host, and the life of its token.
pub(super) type Hold = (Arc<str>, Lifetime);

/// What is known about the Secret of a namespace.
#[derive(Clone, Debug)]
pub(super) enum Row {
    Held(Held),
    /// It was deleted, at this version; whatever is older than that is old news.
    Gone(u64),
}

#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) version: u64,
    pub(super) uid: Option<Uid>,
    /// Our label is on it.
    pub(super) ours: bool,
    /// Nobody else wrote the content since we did.
    pub(super) intact: bool,
    /// Somebody else wrote what is said of the content.
    pub(super) redescribed: bool,
    /// It is intact, what is said of it is ours as well, and there is nothing in it but `entries`,
    /// of which there is at least one.
    pub(super) exclusive: bool,
    /// Whose rights all of the tokens carry.
    pub(super) owner: Option<Mark>,
    pub(super) entries: Box<[Hold]>,
    pub(super) tolerated: Option<Box<Tolerated>>,
}

/// Somebody else's content that was found good enough, at this version.
#[derive(Clone, Debug)]
pub(super) struct Tolerated {
    /// The registries that it was found good for, with the life of the token of ours that was not
    /// written for its sake.
    pub(super) hosts: Box<[Hold]>,
    /// After that it is ours again to write.
    pub(super) until: Timestamp,
}

impl Row {
    pub(super) fn version(&self) -> u64 {
        match self {
            Self::Held(held) => held.version,
            Self::Gone(version) => *version,
        }
    }
}

impl Held {
    /// What the watch tells of a Secret like this. One of ours without a word about its tokens
    /// would never be rotated.
    pub(super) fn change(&self) -> Change {
        if self.intact && !self.redescribed && !self.entries.is_empty() {
            Change::Written
        } else {
            Change::Edited
        }
    }

    /// Reads the metadata of a Secret. `intern` keeps a host.
    pub(super) fn read(metadata: &ObjectMeta, mut intern: impl FnMut(&str) -> Arc<str>) -> Self {
        let annotations = metadata.annotations.as_ref();
        let annotation = |name: &str| annotations?.get(name).map(String::as_str);
        let described = Described::read(annotation);
        let described_hosts = described.0.len();
        let mut identities = described.0.values().map(|entry| &entry.identity);
        let owner = identities
            .next()
            .filter(|first| identities.all(|other| other == *first))
            .map(|identity| Mark::of(identity));
        // Whoever may write Secrets in a namespace may write annotations of any length.
        let entries = described
            .0
            .into_iter()
            .filter(|(host, _)| Registry::of_host(host).is_some())
            .take(MAX_REGISTRIES);
        let entries: Box<[Hold]> = entries
            .map(|(host, entry)| (intern(&host), entry.lifetime))
            .collect();
        let intact = is_ours(metadata) && !is_edited(metadata);
        let redescribed = is_redescribed(metadata);
        Self {
            version: version(metadata),
            uid: metadata.uid.as_deref().and_then(Uid::parse),
            ours: is_ours(metadata),
            intact,
            redescribed,
            exclusive: intact
                && !redescribed
                && is_exclusive(annotation)
                && !entries.is_empty()
                && entries.len() == described_hosts,
            owner,
            entries,
            tolerated: None,
        }
    }

    /// What a newer token is compared with, host by host.
    pub(super) fn holds(&self) -> impl Iterator<Item = &Hold> {
        let tolerated = self.tolerated.iter().flat_map(|tolerated| &tolerated.hosts);
        let undescribed =
            tolerated.filter(|(host, _)| !self.entries.iter().any(|(entry, _)| entry == host));
        self.entries.iter().chain(undescribed)
    }
}

/// Tells identities apart, in a few bytes of the thousands that the names of roles may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark(NonZeroU32);

impl Mark {
    /// Of an identity as the annotation says it.
    pub(crate) fn of(identity: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        identity.hash(&mut hasher);
        #[allow(clippy::cast_possible_truncation, reason = "any part of a hash is one")]
        let mark = NonZeroU32::new(hasher.finish() as u32);
        Self(mark.unwrap_or(NonZeroU32::MIN))
    }
}

/// A UUID, in less than half of the room that its text takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Uid([u64; 2]);

impl Uid {
    /// Reads the one spelling that the API server uses; of any other nothing is known.
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

/// Resource versions are numbers, and may be compared as such (Kubernetes 1.35, KEP-5504).
pub(super) fn version(metadata: &ObjectMeta) -> u64 {
    metadata
        .resource_version
        .as_deref()
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}

pub(super) fn is_ours(metadata: &ObjectMeta) -> bool {
    metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(MANAGED_BY))
        .is_some_and(|owner| owner == OWNER)
}

/// Whether another field manager owns the content.
pub(crate) fn is_edited(metadata: &ObjectMeta) -> bool {
    owns(metadata, false, |fields| {
        let data = fields.get("f:data");
        data.is_some_and(|data| data.get(format!("f:{DATA_KEY}")).is_some())
    })
}

/// Whether one of our annotations is another field manager's alone: what is there may be more than
/// what they say. One that is ours as well has the value that we gave it.
fn is_redescribed(metadata: &ObjectMeta) -> bool {
    let names = |fields: &Value, name: &str| {
        let annotations = fields.pointer("/f:metadata/f:annotations");
        annotations.is_some_and(|all| all.get(format!("f:{name}")).is_some())
    };
    let is_ours = |name| owns(metadata, true, |fields| names(fields, name));
    let is_others = |name| owns(metadata, false, |fields| names(fields, name));
    let mut describing = annotation::DESCRIBING.into_iter();
    describing.any(|name| is_others(name) && !is_ours(name))
}

/// Whether we, or somebody else, own what is looked for.
fn owns(metadata: &ObjectMeta, we: bool, is_it: impl Fn(&Value) -> bool) -> bool {
    metadata.managed_fields.iter().flatten().any(|entry| {
        let fields = entry.fields_v1.as_ref();
        (entry.manager.as_deref() == Some(OWNER)) == we
            && fields.is_some_and(|fields| is_it(&fields.0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_survives_the_row() {
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
    fn of_another_spelling_nothing_is_known() {
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

    /// Ten thousand of them are to be some 2 MiB, names and hosts included.
    #[test]
    fn a_row_is_small() {
        assert!(size_of::<Row>() <= 64, "{}", size_of::<Row>());
        assert!(size_of::<Hold>() <= 48, "{}", size_of::<Hold>());
    }
}
