//! The section `scope`: the namespaces that are left out.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::names::is_dns_label;

/// The namespaces in which no pod gets the reference and no pod keeps a Secret fresh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Scope {
    /// Names, not patterns: the chart renders them into the webhook's `namespaceSelector`.
    #[serde(deserialize_with = "names")]
    #[cfg_attr(
        test,
        schemars(inner(regex(pattern = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")))
    )]
    pub excluded_namespaces: Vec<String>,
    /// Our own namespace; empty until [`super::Config::installed_in`] says it.
    #[serde(skip)]
    pub(super) own_namespace: String,
}

impl Default for Scope {
    fn default() -> Self {
        Self {
            excluded_namespaces: ["kube-system", "kube-public", "kube-node-lease"]
                .map(str::to_owned)
                .to_vec(),
            own_namespace: String::new(),
        }
    }
}

impl Scope {
    /// Whether pods of the namespace are left out. Those of our own namespace always are: a replica
    /// must start while no replica answers.
    pub fn excludes(&self, namespace: &str) -> bool {
        self.is_ours(namespace)
            || self
                .excluded_namespaces
                .iter()
                .any(|name| name == namespace)
    }

    /// Whether the namespace is our own.
    pub fn is_ours(&self, namespace: &str) -> bool {
        !namespace.is_empty() && self.own_namespace == namespace
    }
}

/// Reads the list of names.
fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let names: Vec<String> = Option::deserialize(deserializer)?.ok_or_else(|| {
        D::Error::custom("`excludedNamespaces` is blank; write [] to exclude none but our own")
    })?;
    match names.iter().find(|name| !is_dns_label(name)) {
        None => Ok(names),
        Some(name) => Err(D::Error::custom(format!(
            "`{name}` is not the name of a namespace: lower-case letters, digits and `-`, at most 63"
        ))),
    }
}
