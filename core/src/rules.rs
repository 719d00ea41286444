//! Which registries get a token in which namespaces, and with which AWS identity.
//!
//! The first rule that matches decides. Without rules every registry is allowed with the ambient
//! identity; with rules, a registry that no rule matches is denied. Only the configuration names
//! roles: no namespace and no pod can.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wildmatch::WildMatch;

use crate::identity::{Access, Identity, Subject};
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

    /// Whether it matches one text only: itself.
    fn is_literal(&self) -> bool {
        !self.pattern.contains(['*', '?'])
    }

    /// Whether it matches whatever the other one matches, as far as their texts show.
    fn covers(&self, other: &Self) -> bool {
        let (ours, theirs) = (&*self.pattern, &*other.pattern);
        let is_plain = |text: &str| !text.contains(['*', '?']);
        let fixed_start = theirs.split(['*', '?']).next().unwrap_or_default();
        let fixed_end = theirs.rsplit(['*', '?']).next().unwrap_or_default();
        let by_start = || {
            ours.strip_suffix('*')
                .is_some_and(|start| is_plain(start) && fixed_start.starts_with(start))
        };
        let by_end = || {
            ours.strip_prefix('*')
                .is_some_and(|end| is_plain(end) && fixed_end.ends_with(end))
        };
        ours == theirs || (other.is_literal() && self.matches(theirs)) || by_start() || by_end()
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

/// Whether the first patterns match whatever the others match.
fn cover(first: &[Glob], others: &[Glob]) -> bool {
    let is_covered = |other: &Glob| first.iter().any(|one| one.covers(other));
    let takes_all = first.is_empty() || first.iter().any(|glob| glob.pattern == "*");
    takes_all || (!others.is_empty() && others.iter().all(is_covered))
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
    /// Whether it matches whatever the other one matches, as far as the patterns show.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        cover(&self.accounts, &other.accounts)
            && cover(&self.regions, &other.regions)
            && cover(&self.namespaces, &other.namespaces)
    }

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

/// The rules in force. A question costs the same for a thousand rules of one namespace each as for
/// one: rules that give namespaces without patterns are found by the namespace.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    rules: Vec<(RuleScope, Verdict)>,
    /// The indexes of rules whose namespaces are literal, by each of these.
    by_namespace: BTreeMap<String, Vec<usize>>,
    /// The indexes of all other rules.
    others: Vec<usize>,
    /// The first rule of each identity.
    by_identity: BTreeMap<Identity, usize>,
}

impl Rules {
    /// Rules in the order in which they are asked.
    pub fn new(rules: Vec<(RuleScope, Verdict)>) -> Self {
        let mut this = Self::default();
        for (index, (scope, verdict)) in rules.iter().enumerate() {
            let namespaces = &scope.namespaces;
            if namespaces.is_empty() || !namespaces.iter().all(Glob::is_literal) {
                this.others.push(index);
            } else {
                for namespace in namespaces {
                    let name = namespace.pattern().to_owned();
                    this.by_namespace.entry(name).or_default().push(index);
                }
            }
            if let Verdict::Allow(identity) = verdict {
                this.by_identity.entry(identity.clone()).or_insert(index);
            }
        }
        Self { rules, ..this }
    }

    /// The verdict on a registry for a subject.
    pub fn verdict(&self, registry: &Registry, subject: Subject<'_>) -> Verdict {
        if self.rules.is_empty() {
            return Verdict::Allow(Identity::Ambient);
        }
        let first = |indexes: &[usize], before: usize| {
            let mut rules = indexes.iter().take_while(|index| **index < before);
            rules.find_map(|index| {
                let (scope, verdict) = self.rules.get(*index)?;
                let matches = scope.matches(registry, subject);
                matches.then_some((*index, verdict))
            })
        };
        let named = self.by_namespace.get(subject.namespace);
        let named = named.and_then(|indexes| first(indexes, usize::MAX));
        let before = named.map_or(usize::MAX, |(index, _)| index);
        let verdict = first(&self.others, before).or(named);
        verdict.map_or(Verdict::Deny(None), |(_, verdict)| verdict.clone())
    }

    /// The registries that the rules allow the subject, each with its identity. The others go to
    /// `denied`.
    pub fn grants(
        &self,
        subject: Subject<'_>,
        registries: impl IntoIterator<Item = Registry>,
        mut denied: impl FnMut(Registry),
    ) -> Vec<Access> {
        let registries = registries.into_iter();
        let mut grants = Vec::with_capacity(registries.size_hint().0);
        for registry in registries {
            match self.verdict(&registry, subject) {
                Verdict::Allow(identity) => grants.push(Access { registry, identity }),
                Verdict::Deny(_) => denied(registry),
            }
        }
        grants
    }

    /// The index of the first rule that gives an identity.
    pub fn index_of(&self, identity: &Identity) -> Option<usize> {
        self.by_identity.get(identity).copied()
    }

    /// Whether a rule that allows something names this region, and not by a pattern.
    pub fn name_region(&self, region: &str) -> bool {
        let names = |scope: &RuleScope| scope.regions.iter().any(|glob| glob.pattern() == region);
        let mut allowing = self.rules.iter();
        allowing.any(|(scope, verdict)| matches!(verdict, Verdict::Allow(_)) && names(scope))
    }
}

#[cfg(test)]
mod tests;
