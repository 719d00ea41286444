//! The content of a pull Secret: tokens for registries, merged so that no entry gets lost or older.
//!
//! The rule is *keep last good, per registry*: only a better token replaces an entry
//! ([`super::incumbent`]), and an entry without a new token stays. So no writer leaves a Secret worse than before: not two
//! replicas that add two registries, not a rotation that could not mint one region, not a replica
//! that was suspended for an hour and writes late.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use secrecy::SecretString;
use sha2::{Digest, Sha256};

use super::docker_config::DockerConfig;
use super::incumbent::{Incumbent, Successor};
use super::{MAX_REGISTRIES, annotation};
use crate::identity::{Identity, IdentityMark};
use crate::image::Registry;
use crate::token::Token;
use crate::token::lifetime::Lifetime;

/// The version of the annotations that this build writes.
pub const FORMAT: &str = "1";
/// The longest annotation that is read, in bytes: the identities of 100 registries take less. All
/// annotations of an object may have 256 KiB.
const MAX_ANNOTATION_BYTES: usize = 64 * 1024;

/// The description of one entry in the annotations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedEntry {
    /// Lifetime of its token.
    pub lifetime: Lifetime,
    /// Identity that minted the token: [`crate::identity::Identity`] as text.
    pub identity: Arc<str>,
}

impl DescribedEntry {
    /// Its token.
    pub fn incumbent(&self) -> Incumbent {
        Incumbent {
            lifetime: self.lifetime,
            identity: IdentityMark::of(&self.identity),
        }
    }
}

/// Whether the annotations say that the Secret holds the entries that they describe and nothing
/// else, so that a write can replace it without a read.
pub fn is_exclusive<'a>(annotation: impl Fn(&str) -> Option<&'a str>) -> bool {
    annotation(annotation::FORMAT) == Some(FORMAT)
        && annotation(annotation::EXCLUSIVE) == Some("true")
}

/// The descriptions of a Secret's entries in its annotations, by host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Described(pub BTreeMap<String, DescribedEntry>);

impl Described {
    /// Reads the annotations. Annotations of a format that this build does not know describe nothing,
    /// nor do lists that do not fit the hosts.
    pub fn read<'a>(annotation: impl Fn(&str) -> Option<&'a str>) -> Self {
        if annotation(annotation::FORMAT) != Some(FORMAT) {
            return Self::default();
        }
        let list = |name: &str, separator: char| {
            annotation(name)
                .filter(|text| text.len() <= MAX_ANNOTATION_BYTES)
                .unwrap_or_default()
                .split(separator)
                .filter(|item| !item.is_empty())
                // One more than a Secret has room for shows that there are too many.
                .take(MAX_REGISTRIES + 1)
        };
        let hosts: Vec<&str> = list(annotation::REGISTRIES, ',').collect();
        let lifetimes: Result<Vec<Lifetime>, _> =
            list(annotation::LIFETIMES, ',').map(str::parse).collect();
        let mut identities: Vec<Arc<str>> =
            list(annotation::IDENTITY, ' ').map(Arc::from).collect();
        if let [only] = identities.as_slice() {
            identities = vec![only.clone(); hosts.len()];
        }
        match lifetimes {
            Ok(lifetimes) if lifetimes.len() == hosts.len() && identities.len() == hosts.len() => {
                Self(
                    hosts
                        .into_iter()
                        .zip(lifetimes.into_iter().zip(identities))
                        .map(|(host, (lifetime, identity))| {
                            (host.to_owned(), DescribedEntry { lifetime, identity })
                        })
                        .collect(),
                )
            }
            _ => Self::default(),
        }
    }

    /// Whether the entry of a host serves a pod that starts now.
    pub fn serves(&self, host: &str, now: Timestamp) -> bool {
        self.0
            .get(host)
            .is_some_and(|entry| entry.lifetime.serves(now))
    }

    /// The earliest expiry.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.0.values().map(|entry| entry.lifetime.expires_at).min()
    }

    fn annotations(&self) -> BTreeMap<&'static str, String> {
        let hosts: Vec<&str> = self.0.keys().map(String::as_str).collect();
        let lifetimes: Vec<String> = self
            .0
            .values()
            .map(|entry| entry.lifetime.to_string())
            .collect();
        let mut identities: Vec<&str> = self.0.values().map(|entry| &*entry.identity).collect();
        if identities
            .iter()
            .all(|identity| Some(identity) == identities.first())
        {
            identities.truncate(1);
        }
        let mut annotations = BTreeMap::from([
            (annotation::FORMAT, FORMAT.to_owned()),
            (annotation::REGISTRIES, hosts.join(",")),
            (annotation::LIFETIMES, lifetimes.join(",")),
            (annotation::IDENTITY, identities.join(" ")),
        ]);
        if let Some(expires_at) = self.expires_at() {
            annotations.insert(annotation::EXPIRES_AT, expires_at.to_string());
        }
        annotations
    }
}

/// A token for a registry.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Registry that the token opens.
    pub registry: Registry,
    /// Identity that minted the token, as the annotation names it.
    pub identity: Arc<str>,
    /// The token.
    pub token: Token,
}

impl Grant {
    /// A token of this identity.
    pub fn new(registry: Registry, identity: &Identity, token: Token) -> Self {
        Self {
            registry,
            identity: identity.to_string().into(),
            token,
        }
    }

    /// The mark of its identity.
    pub fn mark(&self) -> IdentityMark {
        IdentityMark::of(&self.identity)
    }

    /// Its token, as one that may replace an entry, by rules in force since then.
    pub(super) fn successor(&self, since: Timestamp, now: Timestamp) -> Successor<'_> {
        Successor {
            identity: self.mark(),
            token: &self.token,
            since,
            now,
        }
    }
}

/// What goes into the Secret.
#[derive(Debug)]
pub struct Content {
    /// The value of `.dockerconfigjson`.
    pub docker_config: SecretString,
    /// Our annotations, complete.
    pub annotations: BTreeMap<&'static str, String>,
    /// What the annotations describe, for the ledger.
    pub described: Described,
}

/// The outcome of a merge.
#[derive(Debug)]
pub struct Merged {
    /// What to write.
    pub content: Content,
    /// Registries that did not fit under [`MAX_REGISTRIES`].
    pub refused: Vec<Registry>,
}

/// Merges grants into the content of a Secret; `described` is what its annotations describe, or
/// nothing where another field manager wrote the content since. The rules that gave the grants are in
/// force since `since`: see [`Incumbent`]. An annotation with an expiry more
/// than a day from `now` keeps no grant out: a wrong clock must not pin an old token forever.
pub fn merge(
    mut config: DockerConfig,
    mut described: Described,
    grants: &[Grant],
    since: Timestamp,
    now: Timestamp,
) -> Merged {
    // An entry that is gone from the config, or does not look like ECR's, has no lifetime.
    described
        .0
        .retain(|host, _| config.has_ecr_credentials(host));
    let registries = config.registries();
    let mut held: BTreeSet<String> = registries
        .map(|registry| registry.host().to_owned())
        .collect();
    let mut refused = Vec::new();
    for grant in grants {
        let Grant {
            registry,
            identity,
            token,
        } = grant;
        let host = registry.host();
        if !held.contains(host) && held.len() >= MAX_REGISTRIES {
            let Some(expired) = expired(&described, grants, now) else {
                refused.push(registry.clone());
                continue;
            };
            config.remove(&expired);
            held.remove(&expired);
            described.0.remove(&expired);
        }
        let stays = |entry: &DescribedEntry| {
            // The later writer wins where two tokens expire together.
            !entry.incumbent().gives_way_to(grant.successor(since, now))
        };
        if described.0.get(host).is_some_and(stays) {
            continue;
        }
        config.set_auth(host, token.expose_authorization());
        held.insert(host.to_owned());
        described.0.insert(
            host.to_owned(),
            DescribedEntry {
                lifetime: Lifetime::from(token),
                identity: identity.clone(),
            },
        );
    }
    // A dead token under another spelling of the host would be tried as often as ours.
    config.drop_aliases(|host| described.0.contains_key(host));
    Merged {
        content: Content::of(&config, described),
        refused,
    }
}

/// The entry that makes room in a full Secret: an expired one opens nothing, so no pod loses it. The
/// longest expired one of those that no grant renews.
fn expired(described: &Described, grants: &[Grant], now: Timestamp) -> Option<String> {
    let is_renewed = |host: &str| grants.iter().any(|grant| grant.registry.host() == host);
    let expired = described.0.iter().filter(|(host, entry)| {
        let expires_at = entry.lifetime.expires_at;
        expires_at <= now && !is_renewed(host)
    });
    let longest = expired.min_by_key(|(_, entry)| entry.lifetime.expires_at);
    longest.map(|(host, _)| host.clone())
}

impl Content {
    /// The content with this docker config, whose entries `described` describes.
    pub(super) fn of(config: &DockerConfig, described: Described) -> Self {
        let docker_config = config.to_json();
        let mut annotations = described.annotations();
        annotations.insert(annotation::FINGERPRINT, fingerprint(&docker_config));
        if !described.0.is_empty() && config.holds_only(|host| described.0.contains_key(host)) {
            annotations.insert(annotation::EXCLUSIVE, "true".to_owned());
        }
        Self {
            docker_config: SecretString::from(docker_config),
            annotations,
            described,
        }
    }
}

/// 16 hexadecimal digits of a SHA-256: they tell contents apart and reveal nothing of them.
fn fingerprint(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests;
