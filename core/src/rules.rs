//! Who may have which registry, and with whose rights.
//!
//! Rules are asked in order and the first that matches wins. Without any rule everything is
//! allowed with the process's own (ambient) AWS identity; with rules, what none of them matches is
//! denied. No namespace and no pod can choose its own role: only the configuration names roles.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wildmatch::WildMatch;

use crate::identity::{AssumeRole, Identity, Subject};
use crate::image::Registry;

/// One rule of the configuration: which registries in which namespaces, and what happens to them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// AWS accounts (12 digits; `*` and `?` are wildcards); empty: all.
    #[serde(default, deserialize_with = "globs")]
    pub accounts: Vec<Glob>,
    /// AWS regions, by glob; empty: all.
    #[serde(default, deserialize_with = "globs")]
    pub regions: Vec<Glob>,
    /// Namespaces, by glob; empty: all.
    #[serde(default, deserialize_with = "globs")]
    pub namespaces: Vec<Glob>,
    /// Use the process's own identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ambient: Option<Empty>,
    /// Assume a role with the process's own identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assume_role: Option<AssumeRole>,
    /// Give nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny: Option<Empty>,
}

/// `{}`: the presence of the key says it all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// A pattern with `*` (any text) and `?` (one character).
#[derive(Clone, Debug, PartialEq)]
pub struct Glob {
    pattern: String,
    compiled: WildMatch,
}

impl Glob {
    /// Compiles a pattern; every text is one.
    pub fn new(pattern: &str) -> Self {
        Self {
            pattern: pattern.to_owned(),
            compiled: WildMatch::new(pattern),
        }
    }

    /// Whether the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
        self.compiled.matches(text)
    }
}

impl Serialize for Glob {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.pattern)
    }
}

impl<'de> Deserialize<'de> for Glob {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|pattern| Self::new(&pattern))
    }
}

/// A key without a value, say a list whose items are all commented out, must not turn "this account"
/// into "every account".
pub(crate) fn globs<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Glob>, D::Error> {
    Option::deserialize(deserializer)?.ok_or_else(|| {
        serde::de::Error::custom(
            "a list of patterns is missing; for all of them leave the field out",
        )
    })
}

/// What the rules say about one registry in one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A token of this identity.
    Allow(Identity),
    /// Nothing, because of the rule with this index; `None` where no rule matched.
    Deny(Option<usize>),
}

/// The rules in force.
#[derive(Clone, Debug, Default)]
pub struct Rules(Vec<(Rule, Verdict)>);

/// A rule that cannot be obeyed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRule {
    /// Not exactly one of the actions.
    #[error("rules[{0}]: give exactly one of `ambient`, `assumeRole` and `deny`")]
    Action(usize),
    /// An account that no registry has: the rule would never match, a denial neither.
    #[error(
        "rules[{index}].accounts: `{account}` is not an account; give 12 digits, or a pattern of digits, `*` and `?`"
    )]
    Account {
        /// Which rule.
        index: usize,
        /// What it says.
        account: String,
    },
    /// A region that no registry has.
    #[error(
        "rules[{index}].regions: `{region}` is no region; give lower-case letters, digits and `-`, or `*` and `?`"
    )]
    Region {
        /// Which rule.
        index: usize,
        /// What it says.
        region: String,
    },
    /// The ARN is not one of a role.
    #[error(
        "rules[{index}].assumeRole.roleArn: `{arn}` is not of the form arn:aws:iam::123456789012:role/name"
    )]
    RoleArn {
        /// Which rule.
        index: usize,
        /// What it says.
        arn: String,
    },
    /// The session name breaks the grammar of STS.
    #[error("rules[{0}].assumeRole.sessionName: 2 to 64 letters, digits or `_+=,.@-` are allowed")]
    SessionName(usize),
    /// The external id breaks the grammar of STS.
    #[error(
        "rules[{0}].assumeRole.externalId: 2 to 1224 letters, digits or `_+=,.@:/-` are allowed"
    )]
    ExternalId(usize),
}

impl Rules {
    /// Checks the rules of a configuration.
    ///
    /// # Errors
    ///
    /// [`InvalidRule`] names the rule by its index and the field.
    pub fn new(rules: Vec<Rule>) -> Result<Self, InvalidRule> {
        rules
            .into_iter()
            .enumerate()
            .map(|(index, rule)| verdict_of(index, &rule).map(|verdict| (rule, verdict)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// What happens to a registry of this subject.
    pub fn verdict(&self, registry: &Registry, subject: Subject<'_>) -> Verdict {
        if self.0.is_empty() {
            return Verdict::Allow(Identity::Ambient);
        }
        self.0
            .iter()
            .find(|(rule, _)| {
                any(&rule.accounts, registry.account().unwrap_or_default())
                    && any(&rule.regions, registry.region())
                    && any(&rule.namespaces, subject.namespace)
            })
            .map_or(Verdict::Deny(None), |(_, verdict)| verdict.clone())
    }
}

/// Whether one of them matches; none at all match everything.
pub(crate) fn any(globs: &[Glob], text: &str) -> bool {
    globs.is_empty() || globs.iter().any(|glob| glob.matches(text))
}

fn verdict_of(index: usize, rule: &Rule) -> Result<Verdict, InvalidRule> {
    if let Some(account) = rule
        .accounts
        .iter()
        .find(|account| !is_account_pattern(&account.pattern))
    {
        return Err(InvalidRule::Account {
            index,
            account: account.pattern.clone(),
        });
    }
    let is_region =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-*?".contains(&byte);
    if let Some(region) = rule
        .regions
        .iter()
        .find(|region| !region.pattern.bytes().all(is_region))
    {
        return Err(InvalidRule::Region {
            index,
            region: region.pattern.clone(),
        });
    }
    match (&rule.ambient, &rule.assume_role, &rule.deny) {
        (Some(_), None, None) => Ok(Verdict::Allow(Identity::Ambient)),
        (None, Some(role), None) => {
            check_role(index, role)?;
            Ok(Verdict::Allow(Identity::Role(Arc::new(role.clone()))))
        }
        (None, None, Some(_)) => Ok(Verdict::Deny(Some(index))),
        _ => Err(InvalidRule::Action(index)),
    }
}

fn check_role(index: usize, role: &AssumeRole) -> Result<(), InvalidRule> {
    if !is_role_arn(&role.role_arn) {
        return Err(InvalidRule::RoleArn {
            index,
            arn: role.role_arn.clone(),
        });
    }
    let word = |text: &str, extra: &str, longest: usize| {
        (2..=longest).contains(&text.len())
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
    };
    if !role
        .session_name
        .as_deref()
        .is_none_or(|name| word(name, "_+=,.@-", 64))
    {
        return Err(InvalidRule::SessionName(index));
    }
    if !role
        .external_id
        .as_deref()
        .is_none_or(|id| word(id, "_+=,.@:/-", 1224))
    {
        return Err(InvalidRule::ExternalId(index));
    }
    Ok(())
}

fn is_account_pattern(pattern: &str) -> bool {
    let fits = if pattern.contains('*') {
        pattern.len() <= 13
    } else {
        pattern.len() == 12
    };
    fits && pattern
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'*' | b'?'))
}

fn is_role_arn(arn: &str) -> bool {
    let mut parts = arn.splitn(6, ':');
    let mut next = || parts.next().unwrap_or_default();
    let (prefix, partition, service, region, account, resource) =
        (next(), next(), next(), next(), next(), next());
    prefix == "arn"
        && partition.starts_with("aws")
        && service == "iam"
        && region.is_empty()
        && account.len() == 12
        && account.bytes().all(|byte| byte.is_ascii_digit())
        && resource.strip_prefix("role/").is_some_and(|name| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic())
        })
}

#[cfg(test)]
mod tests;
