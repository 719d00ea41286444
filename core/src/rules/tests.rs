use super::*;

use proptest::prelude::*;
use proptest::sample::select;

const ROLE: &str = "arn:aws:iam::123456789012:role/pull";

fn registry(account: &str, region: &str) -> Registry {
    Registry::of_host(&format!("{account}.dkr.ecr.{region}.amazonaws.com")).unwrap()
}

fn ambient() -> Rule {
    Rule {
        ambient: Some(Empty {}),
        ..Rule::default()
    }
}

fn deny() -> Rule {
    Rule {
        deny: Some(Empty {}),
        ..Rule::default()
    }
}

fn assume(role: AssumeRole) -> Rule {
    Rule {
        assume_role: Some(role),
        ..Rule::default()
    }
}

fn role(arn: &str) -> AssumeRole {
    AssumeRole {
        role_arn: arn.to_owned(),
        external_id: None,
        session_name: None,
    }
}

fn only(patterns: &[&str]) -> Vec<Glob> {
    patterns.iter().map(|pattern| Glob::new(pattern)).collect()
}

fn refusal(rule: Rule) -> InvalidRule {
    Rules::new(vec![ambient(), rule]).unwrap_err()
}

#[test]
fn without_rules_everything_is_allowed_with_the_own_identity() {
    let verdict = Rules::default().verdict(
        &registry("123456789012", "us-east-1"),
        Subject::of_namespace("any"),
    );
    assert_eq!(verdict, Verdict::Allow(Identity::Ambient));
    let verdict = Rules::new(vec![]).unwrap().verdict(
        &registry("123456789012", "us-east-1"),
        Subject::of_namespace("any"),
    );
    assert_eq!(verdict, Verdict::Allow(Identity::Ambient));
}

#[test]
fn with_rules_what_none_of_them_names_is_denied() {
    let rules = Rules::new(vec![Rule {
        accounts: only(&["210987654321"]),
        ..ambient()
    }])
    .unwrap();
    let verdict = rules.verdict(
        &registry("123456789012", "us-east-1"),
        Subject::of_namespace("any"),
    );
    assert_eq!(verdict, Verdict::Deny(None));
}

#[test]
fn a_rule_matches_where_account_region_and_namespace_all_do() {
    let rules = Rules::new(vec![Rule {
        accounts: only(&["1234*", "999999999999"]),
        regions: only(&["us-*", "eu-central-?"]),
        namespaces: only(&["team-*"]),
        ..ambient()
    }])
    .unwrap();
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
fn the_verdict_is_what_the_rule_says() {
    let registry = registry("123456789012", "us-east-1");
    let verdict = |rule| {
        Rules::new(vec![rule])
            .unwrap()
            .verdict(&registry, Subject::of_namespace("any"))
    };
    assert_eq!(verdict(ambient()), Verdict::Allow(Identity::Ambient));
    assert_eq!(verdict(deny()), Verdict::Deny(Some(0)));
    assert_eq!(
        verdict(assume(role(ROLE))),
        Verdict::Allow(Identity::Role(Arc::new(role(ROLE))))
    );
}

#[test]
fn a_rule_does_exactly_one_thing() {
    let both = |a: bool, r: bool, d: bool| Rule {
        ambient: a.then_some(Empty {}),
        assume_role: r.then(|| role(ROLE)),
        deny: d.then_some(Empty {}),
        ..Rule::default()
    };
    for (a, r, d) in [
        (false, false, false),
        (true, true, false),
        (true, false, true),
        (false, true, true),
        (true, true, true),
    ] {
        let refusal = refusal(both(a, r, d));
        assert_eq!(refusal, InvalidRule::Action(1));
        assert_eq!(
            refusal.to_string(),
            "rules[1]: give exactly one of `ambient`, `assumeRole` and `deny`"
        );
    }
}

#[test]
fn an_account_is_twelve_digits_or_a_pattern_of_them() {
    let with = |account: &str| Rule {
        accounts: only(&[account]),
        ..deny()
    };
    for good in [
        "123456789012",
        "*",
        "1234*",
        "12345678901?",
        "????????????",
        "123456789012*",
    ] {
        assert!(Rules::new(vec![with(good)]).is_ok(), "{good}");
    }
    for bad in [
        "",
        "1234-5678-9012",
        "12345678901",
        "1234567890123",
        "team",
        "12345678901 ",
        "1234567890123*",
    ] {
        let account = bad.to_owned();
        assert_eq!(
            refusal(with(bad)),
            InvalidRule::Account { index: 1, account }
        );
    }
}

#[test]
fn a_region_is_in_lower_case() {
    let with = |region: &str| Rule {
        regions: only(&[region]),
        ..deny()
    };
    for good in ["us-east-1", "us-*", "??-central-*"] {
        assert!(Rules::new(vec![with(good)]).is_ok(), "{good}");
    }
    for bad in ["US-East-1", "us_east_1", "us-east-1 "] {
        let region = bad.to_owned();
        assert_eq!(refusal(with(bad)), InvalidRule::Region { index: 1, region });
    }
}

#[test]
fn a_role_is_named_by_its_arn() {
    for arn in [
        ROLE,
        "arn:aws-cn:iam::123456789012:role/pull",
        "arn:aws-us-gov:iam::000000000001:role/path/to/pull",
        "arn:aws:iam::123456789012:role/a+b=c,d.e@f_g-h",
    ] {
        Rules::new(vec![assume(role(arn))]).unwrap_or_else(|error| panic!("{error}"));
    }
    for arn in [
        "",
        "pull",
        "arn:aws:iam::123456789012:role/",
        "arn:aws:iam::123456789012:role",
        "arn:aws:iam::123456789012:user/pull",
        "arn:aws:iam::12345678901:role/pull",
        "arn:aws:iam::1234567890123:role/pull",
        "arn:aws:iam::12345678901a:role/pull",
        "arn:aws:iam::١٢٣٤٥٦:role/pull",
        "arn:aws:iam:us-east-1:123456789012:role/pull",
        "arn:aws:sts::123456789012:role/pull",
        "arn:gcp:iam::123456789012:role/pull",
        "nra:aws:iam::123456789012:role/pull",
        " arn:aws:iam::123456789012:role/pull",
        "arn:aws:iam::123456789012:role/pull ",
        "arn:aws:iam::123456789012:role/pu ll",
        "arn:aws:iam::123456789012:role/pull\n",
        "arn:aws:iam::123456789012:role/püll",
    ] {
        let refusal = refusal(assume(role(arn)));
        assert_eq!(
            refusal,
            InvalidRule::RoleArn {
                index: 1,
                arn: arn.to_owned()
            }
        );
        assert!(
            refusal
                .to_string()
                .starts_with("rules[1].assumeRole.roleArn: `")
        );
    }
}

#[test]
fn the_words_of_a_role_keep_to_the_grammar_of_sts() {
    let session = |name: &str| AssumeRole {
        session_name: Some(name.to_owned()),
        ..role(ROLE)
    };
    let external = |id: &str| AssumeRole {
        external_id: Some(id.to_owned()),
        ..role(ROLE)
    };
    let cases = [
        // text, as a session name, as an external id
        ("a".to_owned(), false, false),
        ("ab".to_owned(), true, true),
        ("a".repeat(64), true, true),
        ("a".repeat(65), false, true),
        ("a".repeat(1224), false, true),
        ("a".repeat(1225), false, false),
        ("aZ09_+=,.@-".to_owned(), true, true),
        ("a:b".to_owned(), false, true),
        ("a/b".to_owned(), false, true),
        ("a b".to_owned(), false, false),
        ("a\nb".to_owned(), false, false),
        ("äb".to_owned(), false, false),
        (String::new(), false, false),
    ];
    for (text, as_session, as_external) in cases {
        let outcome = |role: AssumeRole| Rules::new(vec![assume(role)]).map(drop);
        let session = outcome(session(&text));
        let external = outcome(external(&text));
        let wanted = |good: bool, error| if good { Ok(()) } else { Err(error) };
        assert_eq!(
            session,
            wanted(as_session, InvalidRule::SessionName(0)),
            "{text}"
        );
        assert_eq!(
            external,
            wanted(as_external, InvalidRule::ExternalId(0)),
            "{text}"
        );
    }
    assert!(
        InvalidRule::SessionName(3)
            .to_string()
            .starts_with("rules[3].assumeRole.sessionName:")
    );
    assert!(
        InvalidRule::ExternalId(3)
            .to_string()
            .starts_with("rules[3].assumeRole.externalId:")
    );
}

#[test]
fn an_identity_reads_as_a_person_would_write_it() {
    assert_eq!(Identity::Ambient.to_string(), "ambient");
    assert_eq!(Identity::Role(Arc::new(role(ROLE))).to_string(), ROLE);
}

/// The definition of a glob, without any thought of speed.
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
    fn a_glob_matches_whole_texts_and_nothing_else(pattern in pattern(), text in "[abC]{0,8}") {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        prop_assert_eq!(
            Glob::new(&pattern).matches(&text),
            glob(&chars(&pattern), &chars(&text))
        );
    }

    #[test]
    fn the_first_rule_that_matches_wins(
        table in proptest::collection::vec((accounts(), patterns(), patterns()), 1..5),
        account in select(vec!["111111111111", "222222222222"]),
        region in select(vec!["us-east-1", "eu-west-1", "eu-west-2"]),
        namespace in select(vec!["team-a", "b", "c"]),
    ) {
        let rules = table
            .iter()
            .map(|(accounts, regions, namespaces)| Rule {
                accounts: only(accounts),
                regions: only(regions),
                namespaces: only(namespaces),
                ..deny()
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
            Rules::new(rules).unwrap().verdict(&registry(account, region), Subject::of_namespace(namespace)),
            Verdict::Deny(first)
        );
    }
}
