//! The expiries of tokens as metrics show them: by rule and region. Every pod may read metrics, so no
//! ARN and no account id is on one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::Token;
use crate::identity::{Identity, TokenKey};
use crate::rules::Rules;

/// The most regions with a name of their own. Pod authors choose regions; AWS has some 40.
const MAX_REGIONS: usize = 64;
/// The name of all further regions.
const OTHER: &str = "other";

/// What gives an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IdentitySource {
    /// The replica's own credentials.
    Ambient,
    /// The rule with this index, the first one that names the identity.
    Rule(usize),
}

impl fmt::Display for IdentitySource {
    /// The value of the label `rule`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ambient => formatter.write_str("ambient"),
            Self::Rule(index) => write!(formatter, "{index}"),
        }
    }
}

/// The earliest expiry of the tokens of each rule and region. An identity that no rule names any more does
/// not count. Beyond 64 regions, those with the fewest tokens count as `other`.
pub fn expiries<'a>(
    rules: &Rules,
    tokens: impl IntoIterator<Item = (&'a TokenKey, &'a Token)>,
) -> BTreeMap<(IdentitySource, Arc<str>), Timestamp> {
    let mut expiries = BTreeMap::new();
    let mut counts: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    for (key, token) in tokens {
        let source = match &key.identity {
            Identity::Ambient => Some(IdentitySource::Ambient),
            identity => rules.index_of(identity).map(IdentitySource::Rule),
        };
        if let Some(source) = source {
            *counts.entry(key.region.clone()).or_default() += 1;
            note(
                &mut expiries,
                (source, key.region.clone()),
                token.expires_at,
            );
        }
    }
    if counts.len() <= MAX_REGIONS {
        return expiries;
    }
    let mut by_count: Vec<_> = counts.into_iter().collect();
    by_count.sort_by(|(one, few), (other, many)| many.cmp(few).then_with(|| one.cmp(other)));
    let named = by_count.into_iter().take(MAX_REGIONS);
    let named: BTreeSet<Arc<str>> = named.map(|(region, _)| region).collect();
    let mut bounded = BTreeMap::new();
    for ((source, region), expires_at) in expiries {
        let region = if named.contains(&region) {
            region
        } else {
            OTHER.into()
        };
        note(&mut bounded, (source, region), expires_at);
    }
    bounded
}

fn note<K: Ord>(expiries: &mut BTreeMap<K, Timestamp>, key: K, expires_at: Timestamp) {
    let earliest = expiries.entry(key).or_insert(expires_at);
    *earliest = expires_at.min(*earliest);
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;

    use super::super::moments::at;
    use super::*;
    use crate::identity::AssumeRole;
    use crate::image::Endpoint;
    use crate::rules::{RuleScope, Verdict};

    fn role(name: &str) -> Identity {
        Identity::Role(Arc::new(AssumeRole {
            role_arn: format!("arn:aws:iam::123456789012:role/{name}"),
            external_id: None,
            session_name: None,
        }))
    }

    fn key(identity: Identity, region: &str, endpoint: Endpoint) -> TokenKey {
        TokenKey {
            identity,
            region: region.into(),
            endpoint,
        }
    }

    fn token(expires_at: i64) -> Token {
        let text = BASE64_STANDARD.encode("AWS:password");
        Token::new(text, at(0), Some(at(expires_at))).unwrap()
    }

    fn rules() -> Rules {
        Rules::new(vec![
            (RuleScope::default(), Verdict::Deny(Some(0))),
            (RuleScope::default(), Verdict::Allow(role("one"))),
        ])
    }

    #[test]
    fn earliest_expiry_counts_for_rule_and_region() {
        let tokens = [
            (key(role("one"), "eu-west-1", Endpoint::Standard), token(60)),
            (key(role("one"), "eu-west-1", Endpoint::Fips), token(50)),
            (
                key(Identity::Ambient, "eu-west-1", Endpoint::Standard),
                token(70),
            ),
            (
                key(role("gone"), "eu-west-1", Endpoint::Standard),
                token(10),
            ),
        ];
        let expiries = expiries(&rules(), tokens.iter().map(|(key, token)| (key, token)));
        let shown: Vec<_> = expiries
            .iter()
            .map(|((source, region), at)| (source.to_string(), &**region, at.as_second()))
            .collect();
        let wanted = [("ambient", 70), ("1", 50)];
        assert_eq!(
            shown,
            wanted.map(|(rule, at)| (rule.to_owned(), "eu-west-1", at))
        );
    }

    #[test]
    fn regions_beyond_the_bound_are_other() {
        let mut tokens = Vec::new();
        for number in 0..100 {
            let region = format!("aa-{number:03}");
            tokens.push((
                key(Identity::Ambient, &region, Endpoint::Standard),
                token(100 + number),
            ));
        }
        for endpoint in [Endpoint::Standard, Endpoint::Fips] {
            tokens.push((key(Identity::Ambient, "eu-west-1", endpoint), token(90)));
        }
        let expiries = expiries(
            &Rules::default(),
            tokens.iter().map(|(key, token)| (key, token)),
        );
        assert_eq!(expiries.len(), MAX_REGIONS + 1);
        let of = |region: &str| expiries[&(IdentitySource::Ambient, region.into())].as_second();
        assert_eq!((of("eu-west-1"), of("aa-062"), of(OTHER)), (90, 162, 163));
    }
}
