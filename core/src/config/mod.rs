//! The configuration file: bytes to a checked [`Config`] and back. Each section has a file with its
//! fields, defaults, checks and errors.
//!
//! A field that this version does not know is an error with its line. Otherwise a misspelt field in
//! a rule would turn into a rule that allows everything. A [`Config`] is valid: no other code checks
//! it again.

pub mod change;
mod doubts;
pub mod duration;
mod endpoints;
mod injection;
pub mod kept;
pub mod provision;
mod repair;
mod rotation;
pub mod rules;
mod scope;
mod secret;
pub mod selector;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::doubts::Doubt;
pub use self::endpoints::Endpoints;
pub use self::injection::Injection;
use self::provision::{InvalidProvision, Provision, ProvisionEntry};
pub use self::repair::Repair;
pub use self::rotation::Rotation;
use self::rules::{InvalidRule, Rule};
pub use self::scope::Scope;
pub use self::secret::{Adopt, Secret};
use crate::aws::regions::is_listed;
use crate::aws::value::InvalidValue;
use crate::rules::Rules;
use crate::selection::{Selection, Wish};

/// The `apiVersion` of every file.
const API_VERSION: &str = "ecr-pull-secrets.dev/v1";
/// The `kind` of every file.
const KIND: &str = "Config";

/// The configuration in force.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The pull Secret.
    pub secret: Secret,
    /// How pods come to name it.
    pub injection: Injection,
    /// Which namespaces are left out.
    pub scope: Scope,
    /// Which pods get the reference.
    pub selection: Selection,
    /// Which registries get a token in which namespaces, and with which identity.
    pub rules: Rules,
    /// Which namespaces get the pull Secret without waiting for a pod.
    pub provision: Provision,
    /// AWS endpoints by region, in place of the public ones.
    pub endpoints: BTreeMap<String, Endpoints>,
    /// When tokens are renewed.
    pub rotation: Rotation,
    /// What the leader does about pods without the reference.
    pub repair: Repair,
    /// Since when this process has it. Tokens of older rules give way to those of these rules.
    pub since: Timestamp,
    file: File,
}

/// What says that a region exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionEvidence {
    /// The configuration names it, so no pod author needs to choose it.
    Configuration,
    /// AWS documents it.
    Documents,
    /// Nothing: it may be an invention of a pod author.
    Nothing,
}

/// A configuration file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidConfig {
    /// The YAML or a field in it; the text names line and column.
    #[error("{0}")]
    Yaml(String),
    /// The file is for another program or version.
    #[error("expected apiVersion {API_VERSION} and kind {KIND}, got {api_version} and {kind}")]
    Version {
        /// The file's `apiVersion`.
        api_version: String,
        /// The file's `kind`.
        kind: String,
    },
    /// An entry of `rules`.
    #[error(transparent)]
    Rule(#[from] InvalidRule),
    /// An entry of `provision`.
    #[error(transparent)]
    Provision(#[from] InvalidProvision),
    /// Pods are to name a pull Secret that nothing writes.
    #[error(
        "selection: `all-pods` needs an entry of `provision` that matches namespaces labelled {label}: \"true\"; add one with the registries of their pods, or choose opt-in",
        label = Wish::LABEL
    )]
    NotProvisioned,
    /// An entry of `endpoints`.
    #[error(transparent)]
    Endpoint(#[from] InvalidValue),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    #[cfg_attr(test, schemars(extend("const" = API_VERSION)))]
    api_version: String,
    #[cfg_attr(test, schemars(extend("const" = KIND)))]
    kind: String,
    #[serde(default)]
    secret: Secret,
    #[serde(default)]
    injection: Injection,
    #[serde(default)]
    scope: Scope,
    #[serde(default)]
    selection: Selection,
    #[serde(default, deserialize_with = "rules::read")]
    rules: Vec<Rule>,
    #[serde(default)]
    provision: Vec<ProvisionEntry>,
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
            kind: KIND.to_owned(),
            secret: Secret::default(),
            injection: Injection::default(),
            scope: Scope::default(),
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
    /// [`InvalidConfig`] names the line, or the field with its index.
    pub fn parse(yaml: &str) -> Result<Self, InvalidConfig> {
        let file: File =
            serde_saphyr::from_str(yaml).map_err(|error| InvalidConfig::Yaml(error.to_string()))?;
        if file.api_version != API_VERSION || file.kind != KIND {
            return Err(InvalidConfig::Version {
                api_version: file.api_version,
                kind: file.kind,
            });
        }
        endpoints::check(&file.endpoints)?;
        let provision = Provision::new(&file.provision)?;
        if file.selection == Selection::AllPods && !provision.reaches_label(Wish::LABEL, "true") {
            return Err(InvalidConfig::NotProvisioned);
        }
        Ok(Self {
            secret: file.secret.clone(),
            injection: file.injection,
            scope: file.scope.clone(),
            selection: file.selection,
            rules: rules::check(&file.rules)?,
            provision,
            endpoints: file.endpoints.clone(),
            rotation: file.rotation,
            repair: file.repair,
            since: Timestamp::default(),
            file,
        })
    }

    /// What the file says in vain.
    pub fn doubts(&self) -> Vec<Doubt> {
        let File {
            injection,
            rules,
            provision,
            repair,
            ..
        } = &self.file;
        doubts::of(*injection, rules, provision, *repair)
    }

    /// Whether the configuration names a region, so that no pod author needs to choose it: in a rule,
    /// in `provision` or in `endpoints`.
    pub fn names_region(&self, region: &str) -> bool {
        self.endpoints.contains_key(region)
            || self.provision.names_region(region)
            || self.rules.name_region(region)
    }

    /// What says that a region exists.
    pub fn evidence(&self, region: &str) -> RegionEvidence {
        if self.names_region(region) {
            RegionEvidence::Configuration
        } else if is_listed(region) {
            RegionEvidence::Documents
        } else {
            RegionEvidence::Nothing
        }
    }

    /// The configuration of an installation in this namespace, which is left out, too.
    #[must_use]
    pub fn installed_in(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.scope.own_namespace);
        self
    }

    /// The configuration, in force since then.
    #[must_use]
    pub fn in_force_since(mut self, since: Timestamp) -> Self {
        self.since = since;
        self
    }

    /// Writes the configuration with every default filled in, as a file for [`Config::parse`].
    ///
    /// # Errors
    ///
    /// None in practice: every field is text.
    pub fn to_yaml(&self) -> Result<String, impl std::error::Error + use<>> {
        serde_saphyr::to_string(&self.file)
    }
}

#[cfg(test)]
mod tests;
