//! Which namespaces get the pull Secret without waiting for a pod, and for which registries.

pub mod selector;

use std::collections::{BTreeMap, BTreeSet};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use self::selector::{InvalidSelector, Selector};
use crate::image::Registry;
use crate::pull_secret::MAX_REGISTRIES;
use crate::rules::{Glob, any, globs};

/// One entry of the configuration. A namespace gets the registries of every entry that matches it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Namespaces, by glob; empty: all.
    #[serde(default, deserialize_with = "globs")]
    pub namespaces: Vec<Glob>,
    /// Their labels, in the syntax of `kubectl get --selector`; empty: any.
    #[serde(default, deserialize_with = "selector")]
    pub selector: String,
    /// Hosts, exactly as images write them.
    pub registries: Vec<String>,
}

/// An entry that cannot be obeyed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProvision {
    /// None, or more than a Secret takes.
    #[error("provision[{0}].registries: give 1 to {MAX_REGISTRIES} hosts")]
    Count(usize),
    /// Not what an image in a private registry begins with.
    #[error(
        "provision[{index}].registries: `{host}` is not the host of a private ECR registry; write 123456789012.dkr.ecr.eu-central-1.amazonaws.com, say, without a scheme or a path"
    )]
    Host {
        /// Which entry.
        index: usize,
        /// What it says.
        host: String,
    },
    /// Not a label selector.
    #[error(
        "provision[{index}].selector: {reason}; write it as for kubectl: a=b, a!=b, a in (b,c), a notin (b,c), a, !a, with a comma between two"
    )]
    Selector {
        /// Which entry.
        index: usize,
        /// What is wrong with it.
        reason: InvalidSelector,
    },
}

#[derive(Clone, Debug)]
struct Checked {
    namespaces: Vec<Glob>,
    selector: Selector,
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
    pub fn new(entries: &[Entry]) -> Result<Self, InvalidProvision> {
        let checked = entries.iter().enumerate().map(check);
        checked.collect::<Result<_, _>>().map(Self)
    }

    /// Whether no namespace gets anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a namespace with these labels is to open, each registry once. The rules and the
    /// namespace's own wish have not been asked.
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

fn check((index, entry): (usize, &Entry)) -> Result<Checked, InvalidProvision> {
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
    Ok(Checked {
        namespaces: entry.namespaces.clone(),
        selector: Selector::parse(&entry.selector)
            .map_err(|reason| InvalidProvision::Selector { index, reason })?,
        registries: entry
            .registries
            .iter()
            .map(registry)
            .collect::<Result<_, _>>()?,
    })
}

/// Without quotes `!a` is a YAML tag on nothing, and nothing would select everything.
fn selector<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Option::deserialize(deserializer)?.ok_or_else(|| {
        D::Error::custom("`selector` is blank; put it in quotes, or leave the field out")
    })
}

#[cfg(test)]
mod tests;
