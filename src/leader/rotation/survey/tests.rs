use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ecr_pull_secrets_core::identity::AssumeRole;
use ecr_pull_secrets_core::identity::Identity;
use ecr_pull_secrets_core::image::Registry;
use ecr_pull_secrets_core::pull_secret::{MANAGED_BY, OWNER, annotation};
use ecr_pull_secrets_core::rules::{Empty, Glob, Rule};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::*;

const EAST: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
const WEST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn key(host: &str) -> TokenKey {
    TokenKey::new(Identity::Ambient, &Registry::of_host(host).unwrap())
}

fn token(minted_at: i64, expires_at: i64) -> Token {
    let text = BASE64_STANDARD.encode("AWS:password");
    Token::new(text, at(minted_at), Some(at(expires_at))).unwrap()
}

/// A Secret of ours with these hosts and ends; all tokens were minted at 0.
fn secret(namespace: &str, entries: &[(&str, i64)]) -> ObjectMeta {
    let hosts: Vec<&str> = entries.iter().map(|(host, _)| *host).collect();
    let lives: Vec<String> = entries
        .iter()
        .map(|(_, end)| format!("{}/{}", at(0), at(*end)))
        .collect();
    let annotations = BTreeMap::from([
        (annotation::FORMAT.to_owned(), "1".to_owned()),
        (annotation::REGISTRIES.to_owned(), hosts.join(",")),
        (annotation::LIFETIMES.to_owned(), lives.join(",")),
        (annotation::IDENTITY.to_owned(), "ambient".to_owned()),
    ]);
    ObjectMeta {
        namespace: Some(namespace.to_owned()),
        name: Some("pull".to_owned()),
        resource_version: Some("1".to_owned()),
        labels: Some(BTreeMap::from([(MANAGED_BY.to_owned(), OWNER.to_owned())])),
        annotations: Some(annotations),
        ..ObjectMeta::default()
    }
}

fn ledger(secrets: &[ObjectMeta]) -> Ledger {
    let ledger = Ledger::default();
    for secret in secrets {
        ledger.saw(secret);
    }
    ledger
}

fn look(ledger: &Ledger, rules: &Rules, held: &[(&str, Token)]) -> Survey {
    let held = |wanted: &TokenKey| {
        let found = held.iter().find(|(host, _)| key(host) == *wanted);
        found.map(|(_, token)| token.clone())
    };
    let (since, now) = (at(1), at(500));
    let mut found = survey(ledger, rules, &mut Keys::default(), held, since, now);
    found
        .behind
        .sort_by(|one, other| one.namespace.cmp(&other.namespace));
    found
}

fn behind(found: &Survey) -> Vec<&str> {
    found.behind.iter().map(|one| &*one.namespace).collect()
}

#[test]
fn who_holds_an_older_token_is_behind() {
    let ledger = ledger(&[
        secret("old", &[(EAST, 1000)]),
        secret("new", &[(EAST, 1500)]),
        secret("newer", &[(EAST, 1600)]),
        secret("both", &[(EAST, 900), (WEST, 800)]),
        secret("elsewhere", &[(WEST, 800)]),
    ]);
    let found = look(&ledger, &Rules::default(), &[(EAST, token(500, 1500))]);
    assert_eq!(behind(&found), ["both", "old"]);
    assert_eq!(found.behind[0].ends, at(900));
    assert_eq!(*found.behind[0].keys, [Arc::new(key(EAST))]);
    // Once all is written, the oldest of the one region is what we hold, of the other what is there.
    assert_eq!(found.uses[&key(EAST)].oldest.expires_at, at(1500));
    assert_eq!(found.uses[&key(WEST)].oldest.expires_at, at(800));
    assert!(found.uses[&key(WEST)].held.is_none());
}

/// AWS has been down for long: writing would help nobody.
#[test]
fn a_token_that_has_ended_leaves_nobody_behind() {
    let ledger = ledger(&[secret("old", &[(EAST, 300)])]);
    for (end, is_behind) in [(499, false), (500, false), (501, true)] {
        let found = look(&ledger, &Rules::default(), &[(EAST, token(0, end))]);
        assert_eq!(found.behind.len(), usize::from(is_behind), "{end}");
    }
}

#[test]
fn two_regions_of_a_namespace_are_one_write() {
    let ledger = ledger(&[secret("both", &[(EAST, 900), (WEST, 800)])]);
    let held = [(EAST, token(500, 1500)), (WEST, token(500, 1500))];
    let found = look(&ledger, &Rules::default(), &held);
    assert_eq!(behind(&found), ["both"]);
    assert_eq!(found.behind[0].keys.len(), 2);
    assert_eq!(found.behind[0].ends, at(800));
}

#[test]
fn two_accounts_of_a_region_share_a_key() {
    let other = EAST.replace("123456789012", "210987654321");
    let ledger = ledger(&[secret("team", &[(EAST, 900), (&other, 1000)])]);
    let found = look(&ledger, &Rules::default(), &[(EAST, token(500, 1500))]);
    assert_eq!(found.uses.len(), 1);
    assert_eq!(found.behind[0].keys.len(), 1);
}

#[test]
fn what_the_rules_deny_is_left_as_it_is() {
    let rules = Rules::new(vec![
        Rule {
            namespaces: vec![Glob::new("closed")],
            deny: Some(Empty {}),
            ..Rule::default()
        },
        Rule {
            ambient: Some(Empty {}),
            ..Rule::default()
        },
    ]);
    let ledger = ledger(&[
        secret("closed", &[(EAST, 900), (WEST, 900)]),
        secret("open", &[(EAST, 1000)]),
    ]);
    let found = look(&ledger, &rules.unwrap(), &[(EAST, token(500, 1500))]);
    assert_eq!(behind(&found), ["open"]);
    assert!(!found.uses.contains_key(&key(WEST)), "nobody may use it");
}

#[test]
fn an_end_beyond_belief_is_behind_whatever_we_hold_and_due_if_we_hold_nothing() {
    let ledger = ledger(&[secret("team", &[(EAST, 1_000_000)])]);
    let found = look(&ledger, &Rules::default(), &[(EAST, token(500, 1500))]);
    assert_eq!(behind(&found), ["team"]);
    assert_eq!(found.uses[&key(EAST)].oldest.expires_at, at(1500));
    let found = look(&ledger, &Rules::default(), &[]);
    assert!(found.behind.is_empty());
    assert_eq!(found.uses[&key(EAST)].oldest, UNKNOWN);
}

/// `cargo test --release --lib ten_thousand -- --nocapture` says how long.
#[test]
fn ten_thousand_namespaces_are_looked_over_in_one_go() {
    let secrets: Vec<ObjectMeta> = (0..10_000)
        .map(|number| secret(&format!("namespace-{number}"), &[(EAST, 900), (WEST, 900)]))
        .collect();
    let ledger = ledger(&secrets);
    let held = [(EAST, token(500, 1500)), (WEST, token(500, 1500))];
    let start = tokio::time::Instant::now();
    let found = look(&ledger, &Rules::default(), &held);
    println!("{:?}", start.elapsed());
    assert_eq!(found.behind.len(), 10_000);
    assert_eq!(found.uses.len(), 2);
}

#[test]
fn what_failed_before_has_its_turn_after_all_others() {
    let behind = |namespace: &str, ends, is_retry| Behind {
        namespace: namespace.into(),
        keys: Box::default(),
        ends: at(ends),
        is_retry,
    };
    let mut queue = [
        behind("bad", 1, true),
        behind("late", 20, false),
        behind("early", 10, false),
    ];
    queue.sort_unstable_by_key(Behind::turn);
    let order = queue.each_ref().map(|one| &*one.namespace);
    assert_eq!(order, ["early", "late", "bad"]);
}

#[test]
fn another_identity_than_the_rules_say_now_is_due() {
    let role = AssumeRole {
        role_arn: "arn:aws:iam::123456789012:role/pull".to_owned(),
        external_id: None,
        session_name: None,
    };
    let rule = Rule {
        assume_role: Some(role),
        ..Rule::default()
    };
    let rules = Rules::new(vec![rule]).unwrap();
    let ledger = ledger(&[secret("team", &[(EAST, 1000)])]);
    let found = look(&ledger, &rules, &[]);
    let oldest = |found: &Survey| found.uses.values().next().unwrap().oldest;
    assert_eq!(oldest(&found), UNKNOWN);
    // With its own one, it is as old as it is.
    assert_eq!(
        oldest(&look(&ledger, &Rules::default(), &[])).expires_at,
        at(1000)
    );
}
