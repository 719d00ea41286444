//! A docker config of another writer, merged with our entries.
//!
//! The bytes are the value of `.dockerconfigjson`. The bytes after a NUL, if there is one, are the
//! Secret's annotations: lines of `NAME=VALUE`, without the prefix.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ecr_pull_secrets_core::image::Registry;
use ecr_pull_secrets_core::pull_secret::content::{Described, Grant, Merged, is_exclusive, merge};
use ecr_pull_secrets_core::pull_secret::docker_config::DockerConfig;
use ecr_pull_secrets_core::pull_secret::keyring::index_key;
use ecr_pull_secrets_core::pull_secret::{MAX_REGISTRIES, PREFIX};
use ecr_pull_secrets_core::token::Token;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};

/// The current time in this file, in seconds: `2026-01-01T00:00:00Z`.
const NOW: i64 = 1_767_225_600;
/// The registries that pods need in addition to existing entries.
const NEEDED: [&str; 2] = [
    "123456789012.dkr.ecr.eu-central-1.amazonaws.com",
    "210987654321.dkr.ecr-fips.us-east-1.amazonaws.com:443",
];

/// A merge keeps foreign content and adds the grants; a second merge changes nothing.
pub fn check(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let data = parts.next().unwrap_or_default();
    let described = described(parts.next().unwrap_or_default());
    let Ok(config) = DockerConfig::parse(data) else {
        return;
    };
    let raw: Value = serde_json::from_slice(data).unwrap();
    let text = config.to_json();
    assert_eq!(DockerConfig::parse(text.as_bytes()).unwrap(), config);
    assert_kept(&raw, &text, |_| false, |_| false);

    let mut hosts: BTreeSet<String> = NEEDED.map(str::to_owned).into();
    // Existing hosts get grants as well.
    hosts.extend(config.hosts().take(3).map(str::to_owned));
    let grants: Vec<Grant> = hosts.iter().filter_map(|host| grant(host)).collect();
    let merged = merge(
        config.clone(),
        described.clone(),
        &grants,
        Timestamp::MAX,
        now(),
    );
    let text = merged.content.docker_config.expose_secret();
    let after = DockerConfig::parse(text.as_bytes()).unwrap();
    let is_granted = |host: &str| hosts.contains(host) && Registry::of_host(host).is_some();
    // The kubelet takes an alias for the host itself, so none stays beside an entry of ours.
    let is_alias = |key: &str| {
        let host = index_key(key).and_then(|host| String::from_utf8(host.into_owned()).ok());
        host.is_some_and(|host| host != key && merged.content.described.0.contains_key(&host))
    };
    assert_kept(&raw, text, is_granted, is_alias);
    assert!(!after.hosts().any(is_alias));
    for grant in &grants {
        check_grant(grant, &config, &described, &merged, &after);
    }
    let existed = |host: &str| raw["auths"].get(host).is_some();
    assert!(after.hosts().all(|host| existed(host) || is_granted(host)));
    check_annotations(&merged, &after, text);

    let again = merge(after, read(&merged), &grants, Timestamp::MAX, now());
    assert_eq!(again.content.docker_config.expose_secret(), text);
    assert_eq!(again.content.annotations, merged.content.annotations);
    assert_eq!(again.refused, merged.refused);
}

/// The grant is merged, unless an existing entry expires later or the Secret is full.
fn check_grant(
    grant: &Grant,
    config: &DockerConfig,
    described: &Described,
    merged: &Merged,
    after: &DockerConfig,
) {
    let host = grant.registry.host();
    if merged.refused.contains(&grant.registry) {
        assert_eq!(config.auth(host), None);
        assert!(after.registries().count() >= MAX_REGISTRIES);
        return;
    }
    if after.auth(host) == Some(grant.token.expose_authorization()) {
        return;
    }
    assert_eq!(after.auth(host), config.auth(host));
    assert!(config.has_ecr_credentials(host));
    assert!(described.0[host].lifetime.expires_at > grant.token.expires_at);
}

/// The annotations describe the entries, and parse back to the same description.
fn check_annotations(merged: &Merged, after: &DockerConfig, text: &str) {
    assert_eq!(read(merged), merged.content.described);
    let described = &merged.content.described.0;
    assert!(described.keys().all(|host| after.has_ecr_credentials(host)));
    let annotations = &merged.content.annotations;
    let annotation = |name: &str| annotations.get(name).map(String::as_str);
    if is_exclusive(annotation) {
        let all: Value = serde_json::from_str(text).unwrap();
        assert_eq!(all.as_object().unwrap().len(), 1);
        assert!(after.hosts().all(|host| described.contains_key(host)));
    }
}

/// Every field and every entry but the granted ones and their aliases is unchanged; `null` counts as an
/// empty entry.
fn assert_kept(
    raw: &Value,
    text: &str,
    is_granted: impl Fn(&str) -> bool,
    is_alias: impl Fn(&str) -> bool,
) {
    let written: Value = serde_json::from_str(text).unwrap();
    let written = written.as_object().unwrap();
    for (field, value) in raw.as_object().into_iter().flatten() {
        if field != "auths" {
            assert_eq!(written.get(field), Some(value));
        }
    }
    let auths = written["auths"].as_object().unwrap();
    for (host, entry) in raw["auths"].as_object().into_iter().flatten() {
        if is_alias(host) {
            continue;
        }
        let now = auths.get(host).unwrap();
        if !is_granted(host) {
            let empty = Value::Object(Map::new());
            assert_eq!(now, if entry.is_null() { &empty } else { entry });
        }
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

/// A grant with a token of 12 hours that was minted an hour ago.
fn grant(host: &str) -> Option<Grant> {
    let at = |hours: i64| Timestamp::from_second(NOW + hours * 3600).unwrap();
    let authorization = BASE64_STANDARD.encode(format!("AWS:token for {host}"));
    Some(Grant {
        registry: Registry::of_host(host)?,
        identity: Arc::from("ambient"),
        token: Token::new(authorization, at(-1), Some(at(11))).unwrap(),
    })
}

fn described(lines: &[u8]) -> Described {
    let text = String::from_utf8_lossy(lines);
    let annotations: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    Described::read(|name| annotations.get(name.strip_prefix(PREFIX)?).copied())
}

fn read(merged: &Merged) -> Described {
    let annotations = &merged.content.annotations;
    Described::read(|name| annotations.get(name).map(String::as_str))
}
