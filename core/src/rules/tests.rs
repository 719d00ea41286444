use super::*;

use proptest::prelude::*;
use proptest::sample::select;

fn registry(account: &str, region: &str) -> Registry {
    Registry::of_host(&format!("{account}.dkr.ecr.{region}.amazonaws.com")).unwrap()
}

fn only(patterns: &[&str]) -> Vec<Glob> {
    patterns.iter().map(|pattern| Glob::new(pattern)).collect()
}

fn allow(scope: RuleScope) -> (RuleScope, Verdict) {
    (scope, Verdict::Allow(Identity::Ambient))
}

#[test]
fn without_rules_every_registry_is_allowed() {
    for rules in [Rules::default(), Rules::new(vec![])] {
        let verdict = rules.verdict(
            &registry("123456789012", "us-east-1"),
            Subject::of_namespace("any"),
        );
        assert_eq!(verdict, Verdict::Allow(Identity::Ambient));
    }
}

#[test]
fn with_rules_an_unmatched_registry_is_denied() {
    let rules = Rules::new(vec![allow(RuleScope {
        accounts: only(&["210987654321"]),
        ..RuleScope::default()
    })]);
    let verdict = rules.verdict(
        &registry("123456789012", "us-east-1"),
        Subject::of_namespace("any"),
    );
    assert_eq!(verdict, Verdict::Deny(None));
}

#[test]
fn rule_matches_by_account_region_and_namespace() {
    let rules = Rules::new(vec![allow(RuleScope {
        accounts: only(&["1234*", "999999999999"]),
        regions: only(&["us-*", "eu-central-?"]),
        namespaces: only(&["team-*"]),
    })]);
    for (account, region, namespace, allowed) in [
        ("123456789012", "us-east-1", "team-a", true),
        ("999999999999", "eu-central-2", "team-", true),
        ("223456789012", "us-east-1", "team-a", false),
        ("123456789012", "eu-west-1", "team-a", false),
        ("123456789012", "us-east-1", "tea", false),
    ] {
        let verdict = rules.verdict(&registry(account, region), Subject::of_namespace(namespace));
        let wanted = if allowed {
            Verdict::Allow(Identity::Ambient)
        } else {
            Verdict::Deny(None)
        };
        assert_eq!(verdict, wanted, "{account} {region} {namespace}");
    }
}

#[test]
fn registries_are_granted_or_denied_one_by_one() {
    let rules = Rules::new(vec![allow(RuleScope {
        regions: only(&["us-*"]),
        namespaces: only(&["team"]),
        ..RuleScope::default()
    })]);
    let all =
        ["us-west-2", "eu-west-1", "us-east-1"].map(|region| registry("123456789012", region));
    let [west, europe, east] = all.clone();
    let access = |registry| Access {
        registry,
        identity: Identity::Ambient,
    };
    let mut denied = Vec::new();
    let team = Subject::of_namespace("team");
    let grants = rules.grants(team, all.clone(), |registry| denied.push(registry));
    assert_eq!(grants, [access(west), access(east)]);
    assert_eq!(denied, [europe]);
    let other = Subject::of_namespace("other");
    let grants = rules.grants(other, all, |registry| denied.push(registry));
    assert_eq!((grants.len(), denied.len()), (0, 4));
}

/// The definition of a glob, as slow as it may be.
fn glob(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['*', rest @ ..] => (0..=text.len()).any(|skip| glob(rest, &text[skip..])),
        ['?', rest @ ..] => !text.is_empty() && glob(rest, &text[1..]),
        [one, rest @ ..] => text.first() == Some(one) && glob(rest, &text[1..]),
    }
}

fn pattern() -> impl Strategy<Value = String> {
    "[ab*?]{0,6}"
}

fn patterns() -> impl Strategy<Value = Vec<&'static str>> {
    let patterns = vec!["*", "us-*", "eu-west-1", "*-1", "team-*", "b", ""];
    proptest::collection::vec(select(patterns), 0..3)
}

fn accounts() -> impl Strategy<Value = Vec<&'static str>> {
    let patterns = vec!["*", "1*", "111111111111", "2???????????"];
    proptest::collection::vec(select(patterns), 0..3)
}

proptest! {
    #[test]
    fn glob_matches_whole_texts_only(pattern in pattern(), text in "[abC]{0,8}") {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        prop_assert_eq!(
            Glob::new(&pattern).matches(&text),
            glob(&chars(&pattern), &chars(&text))
        );
    }

    #[test]
    fn first_rule_that_matches_decides(
        table in proptest::collection::vec((accounts(), patterns(), patterns()), 1..5),
        account in select(vec!["111111111111", "222222222222"]),
        region in select(vec!["us-east-1", "eu-west-1", "eu-west-2"]),
        namespace in select(vec!["team-a", "b", "c"]),
    ) {
        let rules = table
            .iter()
            .enumerate()
            .map(|(index, (accounts, regions, namespaces))| {
                let scope = RuleScope {
                    accounts: only(accounts),
                    regions: only(regions),
                    namespaces: only(namespaces),
                };
                (scope, Verdict::Deny(Some(index)))
            })
            .collect();
        let one = |patterns: &[&str], text: &str| {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            patterns.is_empty() || patterns.iter().any(|pattern| glob(&chars(pattern), &chars(text)))
        };
        let first = table.iter().position(|(accounts, regions, namespaces)| {
            one(accounts, account) && one(regions, region) && one(namespaces, namespace)
        });
        prop_assert_eq!(
            Rules::new(rules).verdict(&registry(account, region), Subject::of_namespace(namespace)),
            Verdict::Deny(first)
        );
    }
}

#[test]
fn rule_index_and_named_regions_come_from_rules() {
    let role = |name: &str| {
        let role_arn = format!("arn:aws:iam::123456789012:role/{name}");
        Identity::Role(std::sync::Arc::new(crate::identity::AssumeRole {
            role_arn,
            external_id: None,
            session_name: None,
        }))
    };
    let scope = |regions: &[&str]| RuleScope {
        regions: only(regions),
        ..RuleScope::default()
    };
    let rules = Rules::new(vec![
        (scope(&["eu-west-1"]), Verdict::Deny(Some(0))),
        (scope(&["us-*"]), Verdict::Allow(role("one"))),
        (scope(&["us-east-1"]), Verdict::Allow(role("two"))),
        (scope(&[]), Verdict::Allow(role("one"))),
    ]);
    assert_eq!(rules.index_of(&role("one")), Some(1));
    assert_eq!(rules.index_of(&role("two")), Some(2));
    assert_eq!(rules.index_of(&role("three")), None);
    assert_eq!(rules.index_of(&Identity::Ambient), None);
    assert!(rules.name_region("us-east-1"));
    assert!(!rules.name_region("us-east-2") && !rules.name_region("eu-west-1"));
}

proptest! {
    /// Rules with and without patterns, in any order: the index changes no verdict.
    #[test]
    fn first_matching_rule_decides_whatever_its_form(
        rules in proptest::collection::vec(
            (proptest::collection::vec(select(vec!["a", "b", "c", "?", "a*", "*"]), 0..3), select(vec!["us-east-1", "eu-*", "*"])),
            1..12,
        ),
        namespace in select(vec!["a", "b", "c", "d"]),
        region in select(vec!["us-east-1", "eu-west-1"]),
    ) {
        let scopes: Vec<_> = rules.iter().enumerate().map(|(index, (namespaces, region))| {
            let scope = RuleScope {
                accounts: Vec::new(),
                regions: only(&[region]),
                namespaces: only(namespaces),
            };
            (scope, Verdict::Deny(Some(index)))
        }).collect();
        let (registry, subject) = (registry("123456789012", region), Subject::of_namespace(namespace));
        let first = scopes.iter().find(|(scope, _)| scope.matches(&registry, subject));
        let wanted = first.map_or(Verdict::Deny(None), |(_, verdict)| verdict.clone());
        prop_assert_eq!(Rules::new(scopes.clone()).verdict(&registry, subject), wanted);
    }
}
