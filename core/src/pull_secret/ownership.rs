//! The owner of a Secret of our name, and whether we may write it.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;

use super::docker_config::DockerConfig;
use super::{DATA_KEY, LEGACY_SECRET_TYPE, MANAGED_BY, OWNER, SECRET_TYPE, annotation};
use crate::cause::Cause;
use crate::config::Adopt;

/// The longest content that is parsed, in bytes. Ours has some 360 KB with 100 registries.
const MAX_CONFIG_BYTES: usize = 512 * 1024;
/// The most commas and opening brackets in it: an object of seven bytes takes 660 once it is parsed. Ours
/// has some 300.
const MAX_CONFIG_VALUES: usize = 8192;

/// A Secret as it is in the cluster.
#[derive(Debug, Default)]
pub struct Existing<'a> {
    /// `type`; the API server sets an absent one to `Opaque`.
    pub secret_type: &'a str,
    /// `immutable`.
    pub immutable: bool,
    /// `metadata.labels`.
    pub labels: Option<&'a BTreeMap<String, String>>,
    /// `metadata.annotations`.
    pub annotations: Option<&'a BTreeMap<String, String>>,
    /// The keys of `data`.
    pub keys: Vec<&'a str>,
    /// The value of `.dockerconfigjson`, decoded from base64; of `.dockercfg` in a Secret of type
    /// `kubernetes.io/dockercfg`.
    pub docker_config: &'a [u8],
}

impl Existing<'_> {
    /// The value of an annotation.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations?.get(name).map(String::as_str)
    }

    /// Whether the Secret has our label.
    pub fn is_labelled_ours(&self) -> bool {
        self.labels
            .and_then(|labels| labels.get(MANAGED_BY))
            .is_some_and(|owner| owner == OWNER)
    }
}

/// Whether we may write a Secret.
#[derive(Debug, PartialEq)]
pub enum Ownership {
    /// Ours. Valid content is kept; malformed content counts as empty.
    Ours(DockerConfig),
    /// Another owner's, adopted with all its content.
    Adopted(DockerConfig),
    /// Another owner's, not to be written.
    Foreign(Cause),
}

/// Decides whether we may write a Secret of our name.
pub fn ownership(secret: &Existing<'_>, adopt: Adopt) -> Ownership {
    if secret.secret_type == LEGACY_SECRET_TYPE {
        return legacy(secret);
    }
    if secret.secret_type != SECRET_TYPE {
        return Ownership::Foreign(Cause::ForeignType);
    }
    if is_beyond_limit(secret.docker_config) {
        return unparsed(secret);
    }
    let config = DockerConfig::parse(secret.docker_config);
    if secret.immutable {
        return Ownership::Foreign(match config {
            Ok(_) => Cause::ForeignImmutable,
            Err(_) => Cause::ForeignMalformed,
        });
    }
    if secret.is_labelled_ours() {
        return Ownership::Ours(config.unwrap_or_default());
    }
    let Ok(config) = config else {
        return Ownership::Foreign(Cause::ForeignMalformed);
    };
    let one_key = secret.keys.iter().all(|key| *key == DATA_KEY);
    let asked = secret.annotation(annotation::ADOPT) == Some("true");
    let adopted = match adopt {
        Adopt::Never => false,
        Adopt::Annotated => asked,
        Adopt::EcrOnly => asked || config.is_ecr_only(),
        Adopt::All => true,
    };
    if adopted && one_key {
        Ownership::Adopted(config)
    } else {
        Ownership::Foreign(Cause::ForeignOwner)
    }
}

/// The other type that the kubelet reads. The type of a Secret cannot change, so no adoption helps.
fn legacy(secret: &Existing<'_>) -> Ownership {
    let is_malformed = if is_beyond_limit(secret.docker_config) {
        serde_json::from_slice::<IgnoredAny>(secret.docker_config).is_err()
    } else {
        DockerConfig::is_malformed_legacy(secret.docker_config)
    };
    Ownership::Foreign(if is_malformed {
        Cause::ForeignMalformed
    } else {
        Cause::ForeignType
    })
}

/// Whether the content would take too much memory once it is parsed.
fn is_beyond_limit(content: &[u8]) -> bool {
    let values = content.iter().filter(|byte| b",[{".contains(byte));
    content.len() > MAX_CONFIG_BYTES || values.count() > MAX_CONFIG_VALUES
}

/// Content beyond the limits: no adoption keeps it.
fn unparsed(secret: &Existing<'_>) -> Ownership {
    if secret.is_labelled_ours() && !secret.immutable {
        return Ownership::Ours(DockerConfig::default());
    }
    Ownership::Foreign(
        match serde_json::from_slice::<IgnoredAny>(secret.docker_config) {
            Ok(_) => Cause::ForeignOwner,
            Err(_) => Cause::ForeignMalformed,
        },
    )
}

#[cfg(test)]
mod tests;
