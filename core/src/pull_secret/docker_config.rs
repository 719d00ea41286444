//! The value of `.dockerconfigjson`, parsed as strictly as the kubelet parses it.
//!
//! One entry that does not decode makes the kubelet ignore *all* pull secrets of a pod. So a text is
//! valid here only if the kubelet can parse it: `auths` is an object of objects, and every `auth` is
//! base64 of `user:password`. (Go also accepts `Auths` for `auths`; no known tool writes it, and this
//! parser does not check for it.) Values never appear in an error.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

use super::keyring::{Keyring, index_key};
use crate::image::Registry;
use crate::token::is_authorization;

/// Base64 as the kubelet decodes it: a text that ends in padding must be padded correctly, and any
/// other text is decoded as unpadded. Go does not check the trailing bits.
const PADDED: GeneralPurpose = lenient(DecodePaddingMode::RequireCanonical);
const UNPADDED: GeneralPurpose = lenient(DecodePaddingMode::RequireNone);

const fn lenient(padding: DecodePaddingMode) -> GeneralPurpose {
    GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(padding)
            .with_decode_allow_trailing_bits(true),
    )
}

/// A docker config: entries keyed by host, or by host and path.
#[derive(Clone, Default, PartialEq)]
pub struct DockerConfig {
    auths: BTreeMap<String, Map<String, Value>>,
    rest: Map<String, Value>,
}

impl std::fmt::Debug for DockerConfig {
    /// Prints hosts only, no credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.auths.keys()).finish()
    }
}

/// Why a docker config would break a pod's keyring. The message names the place, never the value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not a JSON object.
    #[error("not a JSON object")]
    Json,
    /// `auths` has another type.
    #[error("`auths` is not an object of objects")]
    Auths,
    /// `HttpHeaders`, which the kubelet decodes and ignores, has another type.
    #[error("`HttpHeaders` is not an object of strings")]
    Headers,
    /// A field of an entry is not a string, or its `auth` does not decode.
    #[error("the entry for `{0}` does not decode")]
    Entry(String),
}

impl DockerConfig {
    /// Parses a docker config as the kubelet does.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the kubelet would refuse the text.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut rest = match serde_json::from_slice(bytes) {
            Ok(Value::Object(all)) => all,
            Ok(Value::Null) => Map::new(),
            _ => return Err(Malformed::Json),
        };
        match rest.get("HttpHeaders") {
            None | Some(Value::Null) => {}
            Some(Value::Object(headers)) if headers.values().all(is_text) => {}
            Some(_) => return Err(Malformed::Headers),
        }
        let auths = match rest.remove("auths") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(auths)) => auths,
            Some(_) => return Err(Malformed::Auths),
        };
        let auths = entries(auths)?;
        Ok(Self { auths, rest })
    }

    /// Whether the kubelet refuses the content of a Secret of type `kubernetes.io/dockercfg`. It has the
    /// entries alone, without `auths`; the kubelet ignores an empty text.
    pub fn is_malformed_legacy(bytes: &[u8]) -> bool {
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(all)) => entries(all).is_err(),
            Ok(Value::Null) => false,
            _ => !bytes.is_empty(),
        }
    }

    /// The keys, sorted: mostly hosts.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.auths.keys().map(String::as_str)
    }

    /// The ECR registries that have an entry, however its key is written. May repeat one.
    pub fn registries(&self) -> impl Iterator<Item = Registry> {
        self.hosts().filter_map(registry_of)
    }

    /// The `auth` of a host.
    pub fn auth(&self, host: &str) -> Option<&str> {
        self.auths.get(host)?.get("auth")?.as_str()
    }

    /// Sets the `auth` of a host, and drops all other fields of its entry.
    pub fn set_auth(&mut self, host: &str, auth: &str) {
        let entry = Map::from_iter([("auth".to_owned(), Value::from(auth))]);
        self.auths.insert(host.to_owned(), entry);
    }

    /// Removes the entries of a host, however their keys are written.
    pub fn remove(&mut self, host: &str) {
        self.auths.remove(host);
        self.drop_aliases(|alias| alias == host);
    }

    /// Removes the entries of hosts for which `is_one` holds, except those under the host itself. The
    /// kubelet takes all spellings of a host for one key, and tries their credentials in any order.
    pub fn drop_aliases(&mut self, is_one: impl Fn(&str) -> bool) {
        self.auths.retain(|key, _| {
            registry_of(key)
                .is_none_or(|registry| registry.host() == key || !is_one(registry.host()))
        });
    }

    /// Whether the config has no entry, and nothing beside its entries.
    pub fn is_empty(&self) -> bool {
        self.auths.is_empty() && self.rest.is_empty()
    }

    /// Whether there is at least one key, and every key means a private ECR registry.
    pub fn is_ecr_only(&self) -> bool {
        !self.auths.is_empty()
            && self
                .hosts()
                .all(|key| registry_of(key).is_some_and(|registry| !registry.is_public()))
    }

    /// The keys, as the kubelet finds them for an image.
    pub fn keyring(&self) -> Keyring<'_> {
        Keyring::of(self.hosts())
    }

    /// Whether the key has credentials of ECR's format.
    pub fn has_ecr_credentials(&self, key: &str) -> bool {
        let Some(entry) = self.auths.get(key) else {
            return false;
        };
        let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default();
        match text("auth") {
            "" => text("username") == "AWS" && !text("password").is_empty(),
            auth => is_authorization(auth),
        }
    }

    /// Whether the config has only `auth` fields, and only of hosts for which `is_one` holds.
    pub fn holds_only(&self, is_one: impl Fn(&str) -> bool) -> bool {
        self.rest.is_empty()
            && self
                .auths
                .iter()
                .all(|(host, entry)| is_one(host) && entry.keys().eq(["auth"]))
    }

    /// The JSON text.
    pub fn to_json(&self) -> String {
        let auths = self
            .auths
            .iter()
            .map(|(host, entry)| (host.clone(), Value::Object(entry.clone())));
        let mut all = self.rest.clone();
        all.insert("auths".to_owned(), Value::Object(auths.collect()));
        Value::Object(all).to_string()
    }
}

/// The entries by key, if the kubelet can decode all of them.
fn entries(all: Map<String, Value>) -> Result<BTreeMap<String, Map<String, Value>>, Malformed> {
    let entries = all.into_iter().map(|(key, entry)| match entry {
        Value::Object(entry) if decodes(&entry) => Ok((key, entry)),
        Value::Object(_) => Err(Malformed::Entry(key)),
        Value::Null => Ok((key, Map::new())),
        _ => Err(Malformed::Auths),
    });
    entries.collect()
}

/// The ECR registry that the kubelet takes a key for, if it means one as a whole.
fn registry_of(key: &str) -> Option<Registry> {
    Registry::of_host(std::str::from_utf8(&index_key(key)?).ok()?)
}

/// Whether the kubelet can decode the entry into its `DockerConfigEntry`: four strings, of which
/// `auth` overrides user and password.
fn decodes(entry: &Map<String, Value>) -> bool {
    let texts = ["username", "password", "email", "auth"]
        .into_iter()
        .filter_map(|field| entry.get(field))
        .all(is_text);
    texts
        && match entry.get("auth").and_then(Value::as_str) {
            None | Some("") => true,
            Some(auth) => is_pair(auth),
        }
}

/// Whether the text is base64 of `user:password`, not necessarily UTF-8. Go's decoder skips line
/// breaks.
fn is_pair(auth: &str) -> bool {
    let text = auth.replace(['\r', '\n'], "");
    let engine = if text.ends_with('=') {
        PADDED
    } else {
        UNPADDED
    };
    engine.decode(text).is_ok_and(|pair| pair.contains(&b':'))
}

/// Whether Go decodes the value into a string.
fn is_text(value: &Value) -> bool {
    matches!(value, Value::Null | Value::String(_))
}

#[cfg(test)]
mod tests;
