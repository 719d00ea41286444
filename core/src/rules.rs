//! Which registries get a token in which namespaces, and with which AWS identity.
//!
//! The first rule that matches decides. Without rules every registry is allowed with the ambient
//! identity; with rules, a registry that no rule matches is denied. Only the configuration names
//! roles: no namespace and no pod can.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wildmatch::WildMatch;

use crate::identity::{Identity, Subject};
use crate::image::Registry;

/// A pattern with `*` (any text) and `?` (one character).
#[derive(Clone, Debug, PartialEq)]
pub struct Glob {
    pattern: String,
    compiled: WildMatch,
}

impl Glob {
    /// Compiles a pattern. No text is invalid.
    pub fn new(pattern: &str) -> Self {
        Self {
            pattern: pattern.to_owned(),
            compiled: WildMatch::new(pattern),
        }
    }

    /// The pattern as the configuration writes it.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Whether the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
        self.compiled.matches(text)
    }
}

impl Serialize for Glob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.pattern)
    }
}

impl<'de> Deserialize<'de> for Glob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|pattern| Self::new(&pattern))
    }
}

/// Whether a pattern matches; without patterns, every text does.
pub(crate) fn any(globs: &[Glob], text: &str) -> bool {
    globs.is_empty() || globs.iter().any(|glob| glob.matches(text))
}

/// The registries and namespaces that a rule is about. An empty list matches everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleScope {
    /// AWS accounts of the registry.
    pub accounts: Vec<Glob>,
    /// Regions of the registry.
    pub regions: Vec<Glob>,
    /// Namespaces of the pod.
    pub namespaces: Vec<Glob>,
}

impl RuleScope {
    fn matches(&self, registry: &Registry, subject: Subject<'_>) -> bool {
        any(&self.accounts, registry.account().unwrap_or_default())
            && any(&self.regions, registry.region())
            && any(&self.namespaces, subject.namespace)
    }
}

/// What the rules say about a registry for a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A token of this identity.
    Allow(Identity),
    /// No token, by the rule with this index; `None` if no rule matches.
    Deny(Option<usize>),
}

/// The rules in force.
#[derive(Clone, Debug, Default)]
pub struct Rules(Vec<(RuleScope, Verdict)>);

impl Rules {
    /// Rules in the order in which they are asked.
    pub fn new(rules: Vec<(RuleScope, Verdict)>) -> Self {
        Self(rules)
    }

    /// The verdict on a registry for a subject.
    pub fn verdict(&self, registry: &Registry, subject: Subject<'_>) -> Verdict {
        if self.0.is_empty() {
            return Verdict::Allow(Identity::Ambient);
        }
        self.0
            .iter()
            .find(|(scope, _)| scope.matches(registry, subject))
            .map_or(Verdict::Deny(None), |(_, verdict)| verdict.clone())
    }
}

#[cfg(test)]
mod tests;
