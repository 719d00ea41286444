//! The section `provision`: namespaces that get the pull Secret without waiting for a pod.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::rules::globs;
use super::selector::{self, InvalidSelector, LabelSelector};
use crate::image::Registry;
use crate::pull_secret::MAX_REGISTRIES;
use crate::rules::{Glob, any};

/// One entry of the file. A namespace gets the registries of every entry that matches it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ProvisionEntry {
    /// Patterns of namespaces; empty: all.
    #[serde(default, deserialize_with = "globs")]
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    pub namespaces: Vec<Glob>,
    /// The labels of the namespaces; empty: any.
    #[serde(default, deserialize_with = "selector::read")]
    pub selector: LabelSelector,
    /// Hosts, exactly as images write them.
    pub registries: Vec<String>,
}

/// An entry that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProvision {
    /// No registry, or more than a Secret takes.
    #[error("provision[{0}].registries: give 1 to {MAX_REGISTRIES} hosts")]
    Count(usize),
    /// A host that no image of a private registry begins with.
    #[error(
        "provision[{index}].registries: `{host}` is not the host of a private ECR registry; write 123456789012.dkr.ecr.eu-central-1.amazonaws.com, say, without a scheme or a path"
    )]
    Host {
        /// The index of the entry.
        index: usize,
        /// The text in place of a host.
        host: String,
    },
    /// A selector that the API server would refuse.
    #[error("provision[{index}].selector.{reason}")]
    Selector {
        /// The index of the entry.
        index: usize,
        /// The field of the selector, and what is wrong with it.
        reason: InvalidSelector,
    },
}

#[derive(Clone, Debug)]
struct Checked {
    namespaces: Vec<Glob>,
    selector: LabelSelector,
    registries: Vec<Registry>,
}

/// The entries in force.
#[derive(Clone, Debug, Default)]
pub struct Provision(Vec<Checked>);

impl Provision {
    /// Checks the entries of a configuration.
    ///
    /// # Errors
    ///
    /// [`InvalidProvision`] names the entry by its index, and the field.
    pub fn new(entries: &[ProvisionEntry]) -> Result<Self, InvalidProvision> {
        let checked = entries.iter().enumerate().map(check);
        checked.collect::<Result<_, _>>().map(Self)
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an entry has a registry of this region.
    pub fn names_region(&self, region: &str) -> bool {
        let mut registries = self.0.iter().flat_map(|entry| &entry.registries);
        registries.any(|registry| registry.region() == region)
    }

    /// Whether an entry is for namespaces that have this label.
    pub(super) fn reaches_label(&self, key: &str, value: &str) -> bool {
        let mut selectors = self.0.iter().map(|entry| &entry.selector);
        selectors.any(|selector| selector.can_match(key, value))
    }

    /// The registries that the entries give to a namespace with these labels. The rules and the
    /// wish of the namespace may still deny them.
    pub fn registries(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> BTreeSet<Registry> {
        let matching = self
            .0
            .iter()
            .filter(|entry| any(&entry.namespaces, namespace) && entry.selector.matches(labels));
        matching
            .flat_map(|entry| entry.registries.iter().cloned())
            .collect()
    }
}

fn check((index, entry): (usize, &ProvisionEntry)) -> Result<Checked, InvalidProvision> {
    if !(1..=MAX_REGISTRIES).contains(&entry.registries.len()) {
        return Err(InvalidProvision::Count(index));
    }
    let registry = |host: &String| {
        Registry::of_host(host)
            .filter(|registry| !registry.is_public())
            .ok_or_else(|| InvalidProvision::Host {
                index,
                host: host.clone(),
            })
    };
    let registries = entry.registries.iter().map(registry);
    let registries = registries.collect::<Result<_, _>>()?;
    let selector = entry.selector.clone();
    selector
        .check()
        .map_err(|reason| InvalidProvision::Selector { index, reason })?;
    Ok(Checked {
        namespaces: entry.namespaces.clone(),
        selector,
        registries,
    })
}

#[cfg(test)]
mod tests;
