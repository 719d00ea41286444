use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::*;
use crate::config::rules::{Empty, Rule, check};
use crate::identity::{AssumeRole, Identity, Subject};
use crate::image::Registry;
use crate::rotation::keys::TokenKeys;
use crate::rules::{Glob, Rules};
use crate::selection::Wish;

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

/// A Secret of ours with tokens of the ambient identity, all minted at 0.
struct Secret {
    target: Target,
    entries: Vec<(Arc<str>, Lifetime)>,
}

/// A Secret with these hosts and expiries.
fn secret(namespace: &str, entries: &[(&str, i64)]) -> Secret {
    let entry = |(host, expiry): &(&str, i64)| {
        let lifetime = Lifetime {
            minted_at: at(0),
            expires_at: at(*expiry),
        };
        ((*host).into(), lifetime)
    };
    Secret {
        target: Target::new(namespace, "pull"),
        entries: entries.iter().map(entry).collect(),
    }
}

fn entry(key: Arc<TokenKey>, lifetime: Lifetime) -> RenewedEntry {
    let identity = IdentityMark::of("ambient");
    RenewedEntry {
        key,
        incumbent: Incumbent { lifetime, identity },
        claim: SecretClaim::Pods(Wish::None),
    }
}

fn look(secrets: &[Secret], rules: &Rules, held: &[(&str, Token)]) -> SurveyFindings {
    let held = |wanted: &TokenKey| {
        let found = held.iter().find(|(host, _)| key(host) == *wanted);
        found.map(|(_, token)| token.clone())
    };
    let mut keys = TokenKeys::default();
    let mut survey = Survey::new(held, at(1), at(500));
    for Secret { target, entries } in secrets {
        let subject = Subject::of_namespace(&target.namespace);
        let entries = entries.iter().filter_map(|(host, lifetime)| {
            let (_, key) = keys.of(rules, host, subject)?;
            Some(entry(key, *lifetime))
        });
        survey.visit(target, entries);
    }
    let mut found = survey.finish();
    found
        .stale
        .sort_by(|one, other| one.target.cmp(&other.target));
    found
}

/// Surveys one Secret with one entry of EAST, whose token has this owner; `held` is the key's.
fn look_at(owner: &str, [minted_at, expires_at]: [i64; 2], held: &Token) -> SurveyFindings {
    let lifetime = Lifetime {
        minted_at: at(minted_at),
        expires_at: at(expires_at),
    };
    let mut survey = Survey::new(|_: &TokenKey| Some(held.clone()), at(1), at(500));
    let mut entry = entry(Arc::new(key(EAST)), lifetime);
    entry.incumbent.identity = IdentityMark::of(owner);
    survey.visit(&Target::new("team", "pull"), [entry].into_iter());
    survey.finish()
}

fn namespaces(stale: &[StaleSecret]) -> Vec<&str> {
    stale.iter().map(|one| &*one.target.namespace).collect()
}

#[test]
fn secret_with_older_token_is_stale() {
    let secrets = [
        secret("old", &[(EAST, 1000)]),
        secret("new", &[(EAST, 1500)]),
        secret("newer", &[(EAST, 1600)]),
        secret("both", &[(EAST, 900), (WEST, 800)]),
        secret("elsewhere", &[(WEST, 800)]),
    ];
    let found = look(&secrets, &Rules::default(), &[(EAST, token(500, 1500))]);
    assert_eq!(namespaces(&found.stale), ["both", "old"]);
    assert_eq!(found.stale[0].expires_at, at(900));
    assert_eq!(*found.stale[0].keys, [Arc::new(key(EAST))]);
    // After all writes, the oldest token of EAST is the held one; WEST keeps its own.
    assert_eq!(found.uses[&key(EAST)].oldest.expires_at, at(1500));
    assert_eq!(found.uses[&key(WEST)].oldest.expires_at, at(800));
    assert!(found.uses[&key(WEST)].held.is_none());
}

/// Two replicas minted in the same moment; or a token was refused and replaced.
#[test]
fn token_of_the_same_moment_makes_no_secret_stale() {
    let life = 10_000;
    for (minted_at, expiry, is_stale) in [
        (0, life, false),
        (0, life - 30, false),
        (30, life - 1, false),
        (31, life - 1, true),
        (0, life - 31, true),
        // It does not serve the next pod, so each second counts.
        (0, 550, true),
    ] {
        let held = token(0, if expiry == 550 { 551 } else { life });
        let found = look_at("ambient", [minted_at, expiry], &held);
        assert_eq!(
            found.stale.len(),
            usize::from(is_stale),
            "{minted_at} {expiry}"
        );
    }
}

/// A role was changed a moment after the minting.
#[test]
fn token_of_another_identity_is_stale_at_once() {
    for (owner, is_stale) in [("ambient", false), ("another", true)] {
        let found = look_at(owner, [0, 9_999], &token(0, 10_000));
        assert_eq!(found.stale.len(), usize::from(is_stale));
    }
}

/// A tenant edits the annotation of its Secret. The key belongs to others, too.
#[test]
fn forged_minting_postpones_no_renewal() {
    let held = token(0, 10_000);
    for (minted_at, expires_at, is_stale) in [(400, 9_999, true), (400, 10_000, false)] {
        let found = look_at("ambient", [minted_at, expires_at], &held);
        assert_eq!(found.uses[&key(EAST)].oldest, Lifetime::from(&held));
        assert_eq!(found.stale.len(), usize::from(is_stale));
    }
}

/// The token store was lost, so this process holds no token to compare with.
#[test]
fn lost_store_leaves_earliest_times_of_all_secrets() {
    let found = |forged: [i64; 2]| {
        let mut survey = Survey::new(|_: &TokenKey| None, at(1), at(500));
        for (namespace, [minted_at, expires_at]) in [
            ("honest", [0, 10_000]),
            ("hostile", forged),
            ("honest-too", [100, 10_100]),
        ] {
            let lifetime = Lifetime {
                minted_at: at(minted_at),
                expires_at: at(expires_at),
            };
            let entries = [entry(Arc::new(key(EAST)), lifetime)];
            survey.visit(&Target::new(namespace, "pull"), entries.into_iter());
        }
        survey.finish().uses[&key(EAST)].oldest
    };
    for (forged, minted_at, expires_at) in [
        ([499, 9_999], 0, 9_999),
        ([499, 80_000], 0, 10_000),
        ([-50, 20_000], -50, 10_000),
    ] {
        let oldest = found(forged);
        assert_eq!(oldest.minted_at, at(minted_at), "{forged:?}");
        assert_eq!(oldest.expires_at, at(expires_at), "{forged:?}");
    }
}

/// No pod of an honest namespace wants the key now, but its next pod shall find a token.
#[test]
fn forged_entry_postpones_no_kept_key() {
    let held = token(0, 10_000);
    let forged = Lifetime {
        minted_at: at(499),
        expires_at: at(20_000),
    };
    let key = Arc::new(key(EAST));
    for is_first in [true, false] {
        let mut survey = Survey::new(|_: &TokenKey| Some(held.clone()), at(1), at(500));
        if is_first {
            survey.keep(&key);
        }
        let target = Target::new("hostile", "pull");
        survey.visit(&target, [entry(key.clone(), forged)].into_iter());
        survey.keep(&key);
        let found = survey.finish();
        assert_eq!(found.uses[&key].oldest, Lifetime::from(&held));
    }
}

#[test]
fn one_claim_of_the_configuration_counts_for_key() {
    let mut survey = Survey::new(|_: &TokenKey| None, at(1), at(500));
    let lifetime = Lifetime::from(&token(0, 1000));
    let entries = [
        (EAST, SecretClaim::Configuration),
        (EAST, SecretClaim::Pods(Wish::In)),
        (WEST, SecretClaim::Pods(Wish::In)),
    ];
    let entries = entries.map(|(host, claim)| RenewedEntry {
        claim,
        ..entry(Arc::new(key(host)), lifetime)
    });
    survey.visit(&Target::new("team", "pull"), entries.into_iter());
    let found = survey.finish();
    assert!(found.uses[&key(EAST)].is_configured);
    assert!(!found.uses[&key(WEST)].is_configured);
}

/// AWS has been down for long: a write would help no pod.
#[test]
fn expired_held_token_makes_no_secret_stale() {
    let secrets = [secret("old", &[(EAST, 300)])];
    for (end, is_stale) in [(499, false), (500, false), (501, true)] {
        let found = look(&secrets, &Rules::default(), &[(EAST, token(0, end))]);
        assert_eq!(found.stale.len(), usize::from(is_stale), "{end}");
    }
}

#[test]
fn two_regions_of_one_secret_are_one_write() {
    let secrets = [secret("both", &[(EAST, 900), (WEST, 800)])];
    let held = [(EAST, token(500, 1500)), (WEST, token(500, 1500))];
    let found = look(&secrets, &Rules::default(), &held);
    assert_eq!(namespaces(&found.stale), ["both"]);
    assert_eq!(found.stale[0].keys.len(), 2);
    assert_eq!(found.stale[0].expires_at, at(800));
}

#[test]
fn two_accounts_of_a_region_share_a_key() {
    let other = EAST.replace("123456789012", "210987654321");
    let secrets = [secret("team", &[(EAST, 900), (&other, 1000)])];
    let found = look(&secrets, &Rules::default(), &[(EAST, token(500, 1500))]);
    assert_eq!(found.uses.len(), 1);
    assert_eq!(found.stale[0].keys.len(), 1);
}

#[test]
fn denied_registry_is_not_renewed() {
    let rules = check(&[
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
    let secrets = [
        secret("closed", &[(EAST, 900), (WEST, 900)]),
        secret("open", &[(EAST, 1000)]),
    ];
    let found = look(&secrets, &rules.unwrap(), &[(EAST, token(500, 1500))]);
    assert_eq!(namespaces(&found.stale), ["open"]);
    assert!(!found.uses.contains_key(&key(WEST)), "no Secret may use it");
}

#[test]
fn impossible_expiry_is_replaced() {
    let secrets = [secret("team", &[(EAST, 1_000_000)])];
    let found = look(&secrets, &Rules::default(), &[(EAST, token(500, 1500))]);
    assert_eq!(namespaces(&found.stale), ["team"]);
    assert_eq!(found.uses[&key(EAST)].oldest.expires_at, at(1500));
    let found = look(&secrets, &Rules::default(), &[]);
    assert!(found.stale.is_empty());
    assert_eq!(found.uses[&key(EAST)].oldest, UNKNOWN);
}

/// No pod wants the entry of EAST, but its next pod shall find a token.
#[test]
fn key_that_nothing_wants_is_kept_while_its_token_works() {
    let key = Arc::new(key(EAST));
    for (end, is_kept) in [(None, false), (Some(500), false), (Some(1500), true)] {
        let held = |_: &TokenKey| end.map(|end| token(0, end));
        let mut survey = Survey::new(held, at(1), at(500));
        survey.keep(&key);
        let found = survey.finish();
        assert_eq!(found.uses.contains_key(&key), is_kept, "{end:?}");
        assert!(found.stale.is_empty());
        let oldest = found.uses.get(&key).map(|tokens| tokens.oldest.expires_at);
        assert_eq!(oldest, end.filter(|_| is_kept).map(at));
    }
}

#[test]
fn kept_key_changes_nothing_for_secrets_that_want_it() {
    let (key, wanted) = (Arc::new(key(EAST)), secret("team", &[(EAST, 900)]));
    for is_first in [true, false] {
        let held = |_: &TokenKey| Some(token(500, 1500));
        let mut survey = Survey::new(held, at(1), at(600));
        if is_first {
            survey.keep(&key);
        }
        let entries = wanted
            .entries
            .iter()
            .map(|(_, lifetime)| entry(key.clone(), *lifetime));
        survey.visit(&wanted.target, entries);
        survey.keep(&key);
        let found = survey.finish();
        assert_eq!(namespaces(&found.stale), ["team"]);
        assert_eq!(found.uses[&key].oldest.expires_at, at(1500));
    }
}

#[test]
fn ten_thousand_secrets_fit_one_pass() {
    let secrets: Vec<Secret> = (0..10_000)
        .map(|number| secret(&format!("namespace-{number}"), &[(EAST, 900), (WEST, 900)]))
        .collect();
    let held = [(EAST, token(500, 1500)), (WEST, token(500, 1500))];
    let found = look(&secrets, &Rules::default(), &held);
    assert_eq!(found.stale.len(), 10_000);
    assert_eq!(found.uses.len(), 2);
}

#[test]
fn failed_secret_is_written_after_all_others() {
    let stale = |namespace: &str, expiry, is_retry| StaleSecret {
        target: Target::new(namespace, "pull"),
        keys: Box::default(),
        expires_at: at(expiry),
        is_retry,
    };
    let mut queue = [
        stale("bad", 1, true),
        stale("late", 20, false),
        stale("early", 10, false),
    ];
    queue.sort_unstable_by_key(StaleSecret::turn);
    assert_eq!(namespaces(&queue), ["early", "late", "bad"]);
}

#[test]
fn entry_of_another_identity_is_due() {
    let role = AssumeRole {
        role_arn: "arn:aws:iam::123456789012:role/pull".to_owned(),
        external_id: None,
        session_name: None,
    };
    let rule = Rule {
        assume_role: Some(role),
        ..Rule::default()
    };
    let rules = check(&[rule]).unwrap();
    let secrets = [secret("team", &[(EAST, 1000)])];
    let found = look(&secrets, &rules, &[]);
    let oldest = |found: &SurveyFindings| found.uses.values().next().unwrap().oldest;
    assert_eq!(oldest(&found), UNKNOWN);
    // Under the identity of the rules, the entry has its own lifetime.
    assert_eq!(
        oldest(&look(&secrets, &Rules::default(), &[])).expires_at,
        at(1000)
    );
}
