//! The section `rules`: the form of a rule in the file, and its checks.

use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::identity::{AssumeRole, Identity, NamedCredentials};
use crate::names::is_dns_label;
use crate::rules::{Glob, RuleScope, Rules, Verdict};

/// One rule of the file: the registries and namespaces that it is about, and its action.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// AWS accounts: 12 digits, or a pattern; empty: all.
    #[serde(default, deserialize_with = "globs")]
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    pub accounts: Vec<Glob>,
    /// Patterns of AWS regions; empty: all.
    #[serde(default, deserialize_with = "globs")]
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    pub regions: Vec<Glob>,
    /// Patterns of namespaces; empty: all.
    #[serde(default, deserialize_with = "globs")]
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    pub namespaces: Vec<Glob>,
    /// The action "use the ambient identity".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ambient: Option<Empty>,
    /// The action "assume a role with the ambient identity".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assume_role: Option<AssumeRole>,
    /// The action "use further credentials, which are mounted".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<NamedCredentials>,
    /// The action "no token".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny: Option<Empty>,
}

impl Rule {
    /// What the rule is about.
    pub(super) fn scope(&self) -> RuleScope {
        RuleScope {
            accounts: self.accounts.clone(),
            regions: self.regions.clone(),
            namespaces: self.namespaces.clone(),
        }
    }
}

/// `{}`: an action without parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// A rule that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRule {
    /// Not exactly one action.
    #[error("rules[{0}]: give exactly one of `ambient`, `assumeRole`, `credentials` and `deny`")]
    Action(usize),
    /// An account that no registry has: the rule would never match, even if it denies.
    #[error(
        "rules[{index}].accounts: `{account}` is not an account; give 12 digits, or a pattern of digits, `*` and `?`"
    )]
    Account {
        /// The index of the rule.
        index: usize,
        /// The text in place of an account.
        account: String,
    },
    /// A region that no registry has.
    #[error(
        "rules[{index}].regions: `{region}` is no region; give lower-case letters, digits and `-`, or `*` and `?`"
    )]
    Region {
        /// The index of the rule.
        index: usize,
        /// The text in place of a region.
        region: String,
    },
    /// An ARN that is not one of a role.
    #[error(
        "rules[{index}].assumeRole.roleArn: `{arn}` is not of the form arn:aws:iam::123456789012:role/name"
    )]
    RoleArn {
        /// The index of the rule.
        index: usize,
        /// The text in place of an ARN.
        arn: String,
    },
    /// A session name outside the grammar of STS.
    #[error("rules[{0}].assumeRole.sessionName: 2 to 64 letters, digits or `_+=,.@-` are allowed")]
    SessionName(usize),
    /// An external id outside the grammar of STS.
    #[error(
        "rules[{0}].assumeRole.externalId: 2 to 1224 letters, digits or `_+=,.@:/-` are allowed"
    )]
    ExternalId(usize),
    /// A name that is not part of the name of a directory and a volume.
    #[error(
        "rules[{0}].credentials.name: give 1 to 40 lower-case letters, digits and `-`, with a letter or digit at both ends"
    )]
    CredentialsName(usize),
}

/// The longest name of [`NamedCredentials`]: a volume's name has 63 bytes at most, and this is its end.
const MAX_NAME_BYTES: usize = 40;

/// Reads the list of rules. A list whose every rule is commented out must not allow everything.
pub(super) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Rule>, D::Error> {
    let rules = Option::<Vec<Rule>>::deserialize(deserializer)?;
    rules.ok_or_else(|| D::Error::custom("`rules` is blank; give a rule, or leave the field out"))
}

/// Reads a list of patterns. A list whose every pattern is commented out must not turn "this
/// account" into "every account".
pub(super) fn globs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Glob>, D::Error> {
    Option::deserialize(deserializer)?.ok_or_else(|| {
        D::Error::custom("a list of patterns is missing; for all of them leave the field out")
    })
}

/// Checks the rules of a configuration.
///
/// # Errors
///
/// [`InvalidRule`] names the rule by its index, and the field.
pub fn check(rules: &[Rule]) -> Result<Rules, InvalidRule> {
    let checked = rules.iter().enumerate().map(|(index, rule)| {
        check_scope(index, rule)?;
        Ok((rule.scope(), verdict(index, rule)?))
    });
    checked.collect::<Result<_, _>>().map(Rules::new)
}

fn check_scope(index: usize, rule: &Rule) -> Result<(), InvalidRule> {
    let mut accounts = rule.accounts.iter().map(Glob::pattern);
    if let Some(account) = accounts.find(|account| !is_account_pattern(account)) {
        let account = account.to_owned();
        return Err(InvalidRule::Account { index, account });
    }
    let mut regions = rule.regions.iter().map(Glob::pattern);
    if let Some(region) = regions.find(|region| !is_region_pattern(region)) {
        let region = region.to_owned();
        return Err(InvalidRule::Region { index, region });
    }
    Ok(())
}

fn verdict(index: usize, rule: &Rule) -> Result<Verdict, InvalidRule> {
    let Rule {
        ambient,
        assume_role,
        credentials,
        deny,
        ..
    } = rule;
    match (ambient, assume_role, credentials, deny) {
        (Some(_), None, None, None) => Ok(Verdict::Allow(Identity::Ambient)),
        (None, Some(role), None, None) => {
            check_role(index, role)?;
            Ok(Verdict::Allow(Identity::Role(Arc::new(role.clone()))))
        }
        (None, None, Some(named), None) => {
            if named.name.len() > MAX_NAME_BYTES || !is_dns_label(&named.name) {
                return Err(InvalidRule::CredentialsName(index));
            }
            let named = Arc::new(named.clone());
            Ok(Verdict::Allow(Identity::Credentials(named)))
        }
        (None, None, None, Some(_)) => Ok(Verdict::Deny(Some(index))),
        _ => Err(InvalidRule::Action(index)),
    }
}

fn check_role(index: usize, role: &AssumeRole) -> Result<(), InvalidRule> {
    if !is_role_arn(&role.role_arn) {
        let arn = role.role_arn.clone();
        return Err(InvalidRule::RoleArn { index, arn });
    }
    let is_text = |text: &str, extra: &str, longest: usize| {
        (2..=longest).contains(&text.len())
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
    };
    let session_name = role.session_name.as_deref();
    if !session_name.is_none_or(|name| is_text(name, "_+=,.@-", 64)) {
        return Err(InvalidRule::SessionName(index));
    }
    let external_id = role.external_id.as_deref();
    if !external_id.is_none_or(|id| is_text(id, "_+=,.@:/-", 1224)) {
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

fn is_region_pattern(pattern: &str) -> bool {
    pattern
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-*?".contains(&byte))
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
