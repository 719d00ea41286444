use super::*;
use crate::identity::Subject;
use crate::image::Registry;

const ROLE: &str = "arn:aws:iam::123456789012:role/pull";

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
    check(&[ambient(), rule]).unwrap_err()
}

#[test]
fn verdict_is_the_action_of_the_rule() {
    let registry = Registry::of_host("123456789012.dkr.ecr.us-east-1.amazonaws.com").unwrap();
    let verdict = |rule| {
        check(&[rule])
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
fn lists_of_a_rule_narrow_its_scope() {
    let rules = check(&[Rule {
        accounts: only(&["1234*"]),
        regions: only(&["us-*"]),
        namespaces: only(&["team-*"]),
        ..ambient()
    }])
    .unwrap();
    for (host, namespace, is_allowed) in [
        (
            "123456789012.dkr.ecr.us-east-1.amazonaws.com",
            "team-a",
            true,
        ),
        (
            "223456789012.dkr.ecr.us-east-1.amazonaws.com",
            "team-a",
            false,
        ),
        (
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "team-a",
            false,
        ),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com", "tea", false),
    ] {
        let registry = Registry::of_host(host).unwrap();
        let verdict = rules.verdict(&registry, Subject::of_namespace(namespace));
        let wanted = if is_allowed {
            Verdict::Allow(Identity::Ambient)
        } else {
            Verdict::Deny(None)
        };
        assert_eq!(verdict, wanted, "{host} {namespace}");
    }
}

#[test]
fn rule_has_exactly_one_action() {
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
            "rules[1]: give exactly one of `ambient`, `assumeRole`, `credentials` and `deny`"
        );
    }
}

#[test]
fn account_is_twelve_digits_or_a_pattern() {
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
        assert!(check(&[with(good)]).is_ok(), "{good}");
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
fn region_is_in_lower_case() {
    let with = |region: &str| Rule {
        regions: only(&[region]),
        ..deny()
    };
    for good in ["us-east-1", "us-*", "??-central-*"] {
        assert!(check(&[with(good)]).is_ok(), "{good}");
    }
    for bad in ["US-East-1", "us_east_1", "us-east-1 "] {
        let region = bad.to_owned();
        assert_eq!(refusal(with(bad)), InvalidRule::Region { index: 1, region });
    }
}

#[test]
fn role_is_named_by_its_arn() {
    for arn in [
        ROLE,
        "arn:aws-cn:iam::123456789012:role/pull",
        "arn:aws-us-gov:iam::000000000001:role/path/to/pull",
        "arn:aws:iam::123456789012:role/a+b=c,d.e@f_g-h",
    ] {
        check(&[assume(role(arn))]).unwrap_or_else(|error| panic!("{error}"));
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
fn session_name_and_external_id_follow_sts() {
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
        let outcome = |role: AssumeRole| check(&[assume(role)]).map(drop);
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
fn name_of_credentials_is_a_short_label() {
    for (name, is_good) in [
        ("china", true),
        ("a", true),
        ("a-1", true),
        (&*"a".repeat(40), true),
        (&*"a".repeat(41), false),
        ("", false),
        ("China", false),
        ("a.b", false),
        ("../aws", false),
        ("-a", false),
    ] {
        let rule = Rule {
            credentials: Some(NamedCredentials {
                name: name.to_owned(),
            }),
            ..Rule::default()
        };
        let checked = check(std::slice::from_ref(&rule)).map(|_| ());
        let wanted = match is_good {
            true => Ok(()),
            false => Err(InvalidRule::CredentialsName(0)),
        };
        assert_eq!(checked, wanted, "{name}");
        let two = Rule {
            ambient: Some(Empty {}),
            ..rule
        };
        assert_eq!(check(&[two]).map(|_| ()), Err(InvalidRule::Action(0)));
    }
}
