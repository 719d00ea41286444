//! Single merges and the annotations; `limit` has the hundred registries, `laws` what holds for every
//! merge.

mod aliases;
mod laws;
mod limit;

use super::*;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::pull_secret::PREFIX;

const HOUR: i64 = 3600;
const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// The nth registry of one region.
fn registry(number: usize) -> Registry {
    Registry::of_host(&host(number)).unwrap()
}

fn host(number: usize) -> String {
    format!("{number:012}.dkr.ecr.eu-central-1.amazonaws.com")
}

fn auth(password: &str) -> String {
    BASE64_STANDARD.encode(format!("AWS:{password}"))
}

/// A token with this password, minted at one second and expiring at another.
fn grant(number: usize, password: &str, minted_at: i64, expires_at: i64) -> Grant {
    Grant {
        registry: registry(number),
        identity: Arc::from("ambient"),
        token: Token::new(auth(password), at(minted_at), Some(at(expires_at))).unwrap(),
    }
}

fn config(merged: &Merged) -> DockerConfig {
    DockerConfig::parse(merged.content.docker_config.expose_secret().as_bytes()).unwrap()
}

fn read(merged: &Merged) -> Described {
    Described::read(|name| merged.content.annotations.get(name).map(String::as_str))
}

/// Merges into what a merge left behind, as the next writer does.
fn merge_again(merged: &Merged, grants: &[Grant]) -> Merged {
    merge(config(merged), read(merged), grants, Timestamp::MIN, NOW)
}

fn first(grants: &[Grant]) -> Merged {
    merge(
        DockerConfig::default(),
        Described::default(),
        grants,
        Timestamp::MIN,
        NOW,
    )
}

fn described(annotations: &[(&str, &str)]) -> Described {
    Described::read(|name| {
        annotations
            .iter()
            .find(|(wanted, _)| name.strip_prefix(PREFIX) == Some(wanted))
            .map(|(_, value)| *value)
    })
}

#[test]
fn first_merge_writes_and_describes_one_entry() {
    let merged = first(&[grant(1, "one", 0, 12 * HOUR)]);
    let content: Value =
        serde_json::from_str(merged.content.docker_config.expose_secret()).unwrap();
    assert_eq!(content, json!({"auths": {host(1): {"auth": auth("one")}}}));
    assert!(merged.refused.is_empty());

    let annotations = &merged.content.annotations;
    let of = |name: &str| annotations[format!("{PREFIX}{name}").as_str()].as_str();
    assert_eq!(of("registries"), host(1));
    assert_eq!(of("expires-at"), "1970-01-01T12:00:00Z");
    assert_eq!(of("lifetimes"), "1970-01-01T00:00:00Z/1970-01-01T12:00:00Z");
    assert_eq!(of("identity"), "ambient");
    assert_eq!(of("format"), "1");
    assert_eq!(of("exclusive"), "true");
    assert_eq!(annotations.len(), 7);
    assert_eq!(merged.content.described, read(&merged));
}

#[test]
fn late_writer_never_makes_an_entry_older() {
    let new = first(&[grant(1, "new", 6 * HOUR, 18 * HOUR)]);
    let late = merge_again(
        &new,
        &[grant(1, "old", 0, 12 * HOUR), grant(2, "old", 0, 12 * HOUR)],
    );
    assert_eq!(config(&late).auth(&host(1)), Some(auth("new").as_str()));
    assert_eq!(config(&late).auth(&host(2)), Some(auth("old").as_str()));
    assert_eq!(
        late.content.described.0[&host(1)].lifetime,
        Lifetime {
            minted_at: at(6 * HOUR),
            expires_at: at(18 * HOUR)
        }
    );
}

#[test]
fn later_writer_wins_when_tokens_expire_together() {
    let one = first(&[grant(1, "one", 0, 12 * HOUR)]);
    let other = merge_again(&one, &[grant(1, "other", 1, 12 * HOUR)]);
    assert_eq!(config(&other).auth(&host(1)), Some(auth("other").as_str()));
    assert_eq!(
        other.content.described.0[&host(1)].lifetime.minted_at,
        at(1)
    );
}

/// A wrong clock, or an edit, can claim such an expiry.
#[test]
fn implausible_expiry_pins_no_token() {
    let claimed = first(&[grant(1, "pinned", 0, 24 * HOUR + 1)]);
    let repaired = merge_again(&claimed, &[grant(1, "new", HOUR, 13 * HOUR)]);
    assert_eq!(config(&repaired).auth(&host(1)), Some(auth("new").as_str()));
    assert_eq!(repaired.content.described.expires_at(), Some(at(13 * HOUR)));
    // One second later it is plausible.
    let grants = [grant(1, "new", HOUR, 13 * HOUR)];
    let later = merge(
        config(&claimed),
        read(&claimed),
        &grants,
        Timestamp::MIN,
        at(1),
    );
    assert_eq!(config(&later).auth(&host(1)), Some(auth("pinned").as_str()));
}

#[test]
fn lifetime_yields_to_a_later_plausible_expiry() {
    let token = |expires_at| grant(1, "x", 0, expires_at).token;
    let life = |expires_at| Lifetime {
        minted_at: at(0),
        expires_at: at(expires_at),
    };
    for (stored, offered, yields) in [
        (12 * HOUR, 13 * HOUR, true),
        (12 * HOUR, 12 * HOUR, false),
        (13 * HOUR, 12 * HOUR, false),
        (24 * HOUR, 12 * HOUR, false),
        (25 * HOUR, 12 * HOUR, true),
        (25 * HOUR, 25 * HOUR, false),
        (25 * HOUR, 26 * HOUR, true),
    ] {
        let offered = token(offered);
        assert_eq!(life(stored).yields_to(&offered, NOW), yields, "{stored}");
        assert_eq!(Lifetime::from(&offered).expires_at, offered.expires_at);
    }
}

#[test]
fn secret_with_only_described_entries_is_exclusive() {
    let grants = [grant(1, "x", 0, 12 * HOUR)];
    let exclusive = |config: Value, described: Described, grants: &[Grant]| {
        let config = DockerConfig::parse(config.to_string().as_bytes()).unwrap();
        let merged = merge(config, described, grants, Timestamp::MIN, NOW);
        let annotations = merged.content.annotations;
        let marked = annotations.contains_key(annotation::EXCLUSIVE);
        assert_eq!(
            is_exclusive(|name| annotations.get(name).map(String::as_str)),
            marked
        );
        marked
    };
    let nothing = Described::default;
    assert!(exclusive(json!({}), nothing(), &grants));
    assert!(!exclusive(json!({}), nothing(), &[]));
    let old = json!({ "auths": { host(1): { "auth": auth("old") } } });
    assert!(exclusive(old.clone(), nothing(), &grants));
    assert!(exclusive(old.clone(), read(&first(&grants)), &[]));
    assert!(!exclusive(
        old.clone(),
        nothing(),
        &[grant(2, "x", 0, 12 * HOUR)]
    ));
    let mut more = old.clone();
    more["auths"]["ghcr.io"] = json!({ "auth": auth("theirs") });
    assert!(!exclusive(more, nothing(), &grants));
    let mut extra = old.clone();
    extra["auths"][host(1)]["email"] = json!("joe@example.com");
    assert!(exclusive(extra.clone(), nothing(), &grants));
    assert!(!exclusive(extra, read(&first(&grants)), &[]));
    for rest in ["credHelpers", "HttpHeaders"] {
        let mut config = old.clone();
        config[rest] = json!({});
        assert!(!exclusive(config, nothing(), &grants), "{rest}");
    }
}

#[test]
fn exclusive_mark_of_another_format_is_ignored() {
    let marked = |format: &'static str, value: &'static str| {
        is_exclusive(|name| match name {
            annotation::FORMAT => Some(format),
            annotation::EXCLUSIVE => Some(value),
            _ => None,
        })
    };
    assert!(marked("1", "true"));
    assert!(!marked("2", "true") && !marked("1", "false") && !marked("1", ""));
}

#[test]
fn broken_or_removed_entry_takes_any_token() {
    let good = first(&[grant(1, "good", 6 * HOUR, 18 * HOUR)]);
    for edited in [
        json!({"auths": {}}),
        json!({"auths": {host(1): {}}}),
        json!({"auths": {host(1): {"auth": BASE64_STANDARD.encode("joe:password")}}}),
    ] {
        let edited = DockerConfig::parse(edited.to_string().as_bytes()).unwrap();
        let repaired = merge(
            edited,
            read(&good),
            &[grant(1, "older", 0, 12 * HOUR)],
            Timestamp::MIN,
            NOW,
        );
        assert_eq!(
            config(&repaired).auth(&host(1)),
            Some(auth("older").as_str())
        );
        assert_eq!(
            repaired.content.described.0[&host(1)].lifetime.expires_at,
            at(12 * HOUR)
        );
    }
}

/// Another writer's entry stays until there is a token of ours. Its lifetime is unknown.
#[test]
fn undescribed_entry_is_kept_undescribed() {
    let theirs = json!({"auths": {
        host(1): {"auth": auth("theirs")},
        "ghcr.io": {"username": "joe", "password": "x", "email": "joe@example.com"},
    }, "HttpHeaders": {"User-Agent": "x"}});
    let theirs = DockerConfig::parse(theirs.to_string().as_bytes()).unwrap();
    let merged = merge(
        theirs,
        Described::default(),
        &[grant(2, "ours", 0, 12 * HOUR)],
        Timestamp::MIN,
        NOW,
    );
    let content: Value =
        serde_json::from_str(merged.content.docker_config.expose_secret()).unwrap();
    assert_eq!(content["auths"][host(1)]["auth"], auth("theirs"));
    assert_eq!(
        content["auths"]["ghcr.io"],
        json!({"username": "joe", "password": "x", "email": "joe@example.com"})
    );
    assert_eq!(content["HttpHeaders"], json!({"User-Agent": "x"}));
    let hosts: Vec<&String> = merged.content.described.0.keys().collect();
    assert_eq!(hosts, [&host(2)]);
}

#[test]
fn fingerprint_follows_the_content_only() {
    let print = |merged: &Merged| merged.content.annotations[annotation::FINGERPRINT].clone();
    let one = print(&first(&[grant(1, "one", 0, 12 * HOUR)]));
    assert_eq!(one, print(&first(&[grant(1, "one", 5, 12 * HOUR)])));
    assert_ne!(one, print(&first(&[grant(1, "two", 0, 12 * HOUR)])));
    // The first 8 bytes of the SHA-256: every release must compute the same.
    assert_eq!(fingerprint("{\"auths\":{}}"), "ec21c035eccb78eb");
}

#[test]
fn annotations_hold_no_token() {
    let merged = first(&[grant(1, "secret-word", 0, 12 * HOUR)]);
    for value in merged.content.annotations.values() {
        assert!(!value.contains(&auth("secret-word")) && !value.contains("secret-word"));
    }
    assert!(!format!("{merged:?}").contains(&auth("secret-word")));
}

#[test]
fn common_identity_is_written_once() {
    let of = |number: usize, identity: &str| Grant {
        identity: Arc::from(identity),
        ..grant(number, "x", 0, 12 * HOUR)
    };
    // IAM allows commas in the name of a role.
    let comma = "arn:aws:iam::123456789012:role/a,b";
    for identities in [
        ["ambient", "ambient"],
        ["ambient", comma],
        [comma, comma],
        [comma, "ambient"],
    ] {
        let merged = first(&[of(1, identities[0]), of(2, identities[1])]);
        let described = read(&merged);
        assert_eq!(described, merged.content.described, "{identities:?}");
        assert_eq!(&*described.0[&host(1)].identity, identities[0]);
        assert_eq!(&*described.0[&host(2)].identity, identities[1]);
        let text = &merged.content.annotations[annotation::IDENTITY];
        let once = identities[0] == identities[1];
        assert_eq!(text == identities[0], once, "{text}");
    }
}

#[test]
fn annotation_has_the_earliest_expiry() {
    let merged = first(&[
        grant(1, "x", 0, 12 * HOUR),
        grant(2, "x", 0, 3 * HOUR),
        grant(3, "x", 0, 5 * HOUR),
    ]);
    assert_eq!(merged.content.described.expires_at(), Some(at(3 * HOUR)));
    assert_eq!(
        merged.content.annotations[annotation::EXPIRES_AT],
        "1970-01-01T03:00:00Z"
    );
    assert_eq!(Described::default().expires_at(), None);
    assert!(
        !first(&[])
            .content
            .annotations
            .contains_key(annotation::EXPIRES_AT)
    );
}

#[test]
fn annotations_of_another_format_are_ignored() {
    let sound = [
        ("format", "1"),
        ("registries", "a,b"),
        (
            "lifetimes",
            "1970-01-01T00:00:00Z/1970-01-01T12:00:00Z,1970-01-01T01:00:00Z/1970-01-01T13:00:00Z",
        ),
        ("identity", "ambient"),
    ];
    let read = described(&sound);
    assert_eq!(read.0.len(), 2);
    assert_eq!(read.0["b"].lifetime.minted_at, at(HOUR));
    assert_eq!(read.expires_at(), Some(at(12 * HOUR)));

    let unsound = [
        ("format", "2"),
        ("format", ""),
        ("registries", "a"),
        ("registries", "a,b,c"),
        ("registries", ""),
        ("lifetimes", "1970-01-01T00:00:00Z/1970-01-01T12:00:00Z"),
        (
            "lifetimes",
            "1970-01-01T00:00:00Z/1970-01-01T12:00:00Z,soon",
        ),
        ("lifetimes", ""),
        ("identity", ""),
        ("identity", "ambient ambient ambient"),
    ];
    for (name, value) in unsound {
        let edited = sound.map(|(known, old)| (known, if known == name { value } else { old }));
        assert_eq!(described(&edited), Described::default(), "{name}={value}");
    }
    for missing in 0..sound.len() {
        let mut rest = sound.to_vec();
        rest.remove(missing);
        assert_eq!(
            described(&rest),
            Described::default(),
            "without {:?}",
            sound[missing]
        );
    }
}
