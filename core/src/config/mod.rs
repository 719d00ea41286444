//! The configuration file: bytes to a checked [`Config`].
//!
//! Strict: a field that this version does not know is an error with its line, because a typing
//! error in a rule must not turn into a rule that allows everything. What comes out is valid; no
//! later code checks it again.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::names::is_dns_subdomain;
use crate::provision::{self, InvalidProvision, Provision};
use crate::rules::{InvalidRule, Rule, Rules};
use crate::selection::Selection;

/// Where a file without the field would say so.
const API_VERSION: &str = "ecr-pull-secrets.dev/v1";

/// No clean-up at all.
const NEVER: &str = "never";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The configuration in force.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The pull Secret.
    pub secret: Secret,
    /// Which pods get the reference.
    pub selection: Selection,
    /// Who may have which registry.
    pub rules: Rules,
    /// Which namespaces get the Secret without waiting for a pod.
    pub provision: Provision,
    /// AWS endpoints by region, where they are not the public ones.
    pub endpoints: BTreeMap<String, Endpoints>,
    /// When tokens are renewed.
    pub rotation: Rotation,
    /// What is done about pods that were stored without the reference.
    pub repair: Repair,
    file: File,
}

/// The pull Secret: its name in every namespace, and what to do with one that is not ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Secret {
    /// A DNS subdomain of at most 253 characters.
    #[serde(deserialize_with = "secret_name")]
    pub name: String,
    /// Which foreign Secrets of that name are taken over.
    pub adopt: Adopt,
    /// A Secret that no pod has used for so long is removed; `None`: never.
    #[serde(deserialize_with = "cleanup", serialize_with = "cleanup_as_text")]
    pub cleanup_after: Option<Duration>,
}

impl Default for Secret {
    fn default() -> Self {
        Self {
            name: "ecr-registry-credentials".to_owned(),
            adopt: Adopt::default(),
            cleanup_after: Some(35 * DAY),
        }
    }
}

/// Which foreign dockerconfigjson Secrets of our name are taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Adopt {
    /// None.
    Never,
    /// Those with the annotation `ecr-pull-secrets.dev/adopt: "true"`.
    Annotated,
    /// Those, and those whose every entry is for a private ECR registry.
    #[default]
    EcrOnly,
    /// All that parse.
    All,
}

/// AWS endpoints of one region: interface endpoints of a VPC, or a stand-in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Endpoints {
    /// URL of the ECR API.
    pub ecr: Option<String>,
    /// URL of STS.
    pub sts: Option<String>,
}

/// When tokens are renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Rotation {
    /// A token is renewed at half of its life, and at this age at the latest.
    #[serde(deserialize_with = "age", serialize_with = "age_as_text")]
    pub max_age: Duration,
}

impl Default for Rotation {
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(6 * 60 * 60),
        }
    }
}

/// What is done about pods that were stored without the reference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Repair {
    /// Whether one that a controller makes again is deleted, unless it runs.
    pub recreate_pods: bool,
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum InvalidConfig {
    /// The YAML, or a field in it; the text names line and column.
    #[error("{0}")]
    Yaml(String),
    /// Written for another program or version.
    #[error("expected apiVersion {API_VERSION} and kind Config, got {api_version} and {kind}")]
    Version {
        /// The file's `apiVersion`.
        api_version: String,
        /// The file's `kind`.
        kind: String,
    },
    /// A rule that cannot be obeyed.
    #[error(transparent)]
    Rule(#[from] InvalidRule),
    /// An entry of `provision` that cannot be obeyed.
    #[error(transparent)]
    Provision(#[from] InvalidProvision),
    /// An endpoint that is no URL.
    #[error("endpoints.{region}: `{url}` is not a URL; write https://HOST or http://HOST:PORT")]
    Endpoint {
        /// The region it is for.
        region: String,
        /// What it says.
        url: String,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    #[serde(default)]
    secret: Secret,
    #[serde(default)]
    selection: Selection,
    #[serde(default, deserialize_with = "rules")]
    rules: Vec<Rule>,
    #[serde(default)]
    provision: Vec<provision::Entry>,
    #[serde(default)]
    endpoints: BTreeMap<String, Endpoints>,
    #[serde(default)]
    rotation: Rotation,
    #[serde(default)]
    repair: Repair,
}

impl Default for File {
    fn default() -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: "Config".to_owned(),
            secret: Secret::default(),
            selection: Selection::default(),
            rules: Vec::new(),
            provision: Vec::new(),
            endpoints: BTreeMap::new(),
            rotation: Rotation::default(),
            repair: Repair::default(),
        }
    }
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`] names the line, or the rule by its index.
    pub fn parse(yaml: &str) -> Result<Self, InvalidConfig> {
        let file: File =
            serde_saphyr::from_str(yaml).map_err(|error| InvalidConfig::Yaml(error.to_string()))?;
        if file.api_version != API_VERSION || file.kind != "Config" {
            return Err(InvalidConfig::Version {
                api_version: file.api_version,
                kind: file.kind,
            });
        }
        for (region, endpoints) in &file.endpoints {
            for url in [&endpoints.ecr, &endpoints.sts].into_iter().flatten() {
                if !is_url(url) {
                    return Err(InvalidConfig::Endpoint {
                        region: region.clone(),
                        url: url.clone(),
                    });
                }
            }
        }
        Ok(Self {
            secret: file.secret.clone(),
            selection: file.selection,
            rules: Rules::new(file.rules.clone())?,
            provision: Provision::new(&file.provision)?,
            endpoints: file.endpoints.clone(),
            rotation: file.rotation,
            repair: file.repair,
            file,
        })
    }

    /// The configuration with every default filled in, as a file that [`Config::parse`] reads.
    ///
    /// # Errors
    ///
    /// None in practice: every field is text.
    pub fn to_yaml(&self) -> Result<String, impl std::error::Error + use<>> {
        serde_saphyr::to_string(&self.file)
    }
}

fn is_url(text: &str) -> bool {
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| {
        !host.is_empty()
            && !host.starts_with(['/', ':'])
            && host.bytes().all(|byte| byte.is_ascii_graphic())
    })
}

/// A list without an item, because each is commented out, must not mean "everything is allowed".
fn rules<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Rule>, D::Error> {
    let rules = Option::<Vec<Rule>>::deserialize(deserializer)?;
    rules.ok_or_else(|| D::Error::custom("`rules` is blank; give a rule, or leave the field out"))
}

fn secret_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if !is_dns_subdomain(&name) {
        return Err(D::Error::custom(format!(
            "`{name}` is not a Secret's name: lower-case letters, digits, `-` and `.`, at most 253"
        )));
    }
    Ok(name)
}

/// What people write for a duration, a day being 24 hours. Whole seconds, one or more.
pub fn duration(text: &str) -> Option<Duration> {
    // A `SignedDuration` would refuse days; a `Span` knows them, and is told how long they are.
    text.parse::<jiff::Span>()
        .and_then(|span| span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()))
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .filter(|duration| !duration.is_zero() && duration.subsec_nanos() == 0)
}

/// `6h`, `90m`, `35d`, `1h30m`.
fn age<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    duration(&text).ok_or_else(|| {
        D::Error::custom(format!(
            "`{text}` is not a duration in whole seconds; write 35d, 6h, 90m or 30s"
        ))
    })
}

fn age_as_text<S: Serializer>(age: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{}s", age.as_secs()))
}

/// All pods are listed once a day, so that nothing shorter could be kept.
fn cleanup<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text == NEVER {
        return Ok(None);
    }
    let after = duration(&text).filter(|after| *after >= DAY);
    after.map(Some).ok_or_else(|| {
        D::Error::custom(format!(
            "`{text}` is neither a day or more nor `{NEVER}`; write 35d, say"
        ))
    })
}

fn cleanup_as_text<S: Serializer>(
    after: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match after {
        None => serializer.serialize_str(NEVER),
        Some(after) if after.as_secs() % DAY.as_secs() == 0 => {
            serializer.collect_str(&format_args!("{}d", after.as_secs() / DAY.as_secs()))
        }
        Some(after) => age_as_text(after, serializer),
    }
}

#[cfg(test)]
mod tests;
