use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ecr_pull_secrets_core::pull_secret::{DATA_KEY, MANAGED_BY, OWNER, annotation};
use ecr_pull_secrets_core::token::Token;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use serde_json::json;

use super::*;

const HOST: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
const SECOND: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

const UID: &str = "0b1c2d3e-4f50-4617-8899-aabbccddeeff";

/// A token for a host that lives from 0 to then.
fn grant(host: &str, expires_at: i64) -> Grant {
    let text = BASE64_STANDARD.encode("AWS:password");
    Grant {
        registry: registry(host),
        identity: "ambient".into(),
        token: Token::new(text, at(0), Some(at(expires_at))).unwrap(),
    }
}

fn registry(host: &str) -> Registry {
    Registry::of_host(host).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Ours, with one entry that lives from 0 to 1000.
fn secret(version: u64) -> ObjectMeta {
    let annotations = BTreeMap::from([
        (annotation::FORMAT.to_owned(), "1".to_owned()),
        (annotation::REGISTRIES.to_owned(), HOST.to_owned()),
        (
            annotation::LIFETIMES.to_owned(),
            format!("{}/{}", at(0), at(1000)),
        ),
        (annotation::IDENTITY.to_owned(), "ambient".to_owned()),
    ]);
    ObjectMeta {
        namespace: Some("team".to_owned()),
        resource_version: Some(version.to_string()),
        labels: Some(BTreeMap::from([(MANAGED_BY.to_owned(), OWNER.to_owned())])),
        annotations: Some(annotations),
        managed_fields: Some(vec![owner_of_data(OWNER)]),
        ..ObjectMeta::default()
    }
}

/// That somebody owns one of our annotations, maybe beside others.
fn owner_of_registries(manager: &str) -> ManagedFieldsEntry {
    let name = format!("f:{}", annotation::REGISTRIES);
    ManagedFieldsEntry {
        manager: Some(manager.to_owned()),
        fields_v1: Some(FieldsV1(
            json!({ "f:metadata": { "f:annotations": { name: {} } } }),
        )),
        ..ManagedFieldsEntry::default()
    }
}

fn owner_of_data(manager: &str) -> ManagedFieldsEntry {
    ManagedFieldsEntry {
        manager: Some(manager.to_owned()),
        fields_v1: Some(FieldsV1(
            json!({ "f:data": { format!("f:{DATA_KEY}"): {} } }),
        )),
        ..ManagedFieldsEntry::default()
    }
}

fn serves(ledger: &Ledger) -> bool {
    ledger.serves("team", &[registry(HOST)], at(500))
}

#[test]
fn an_entry_serves_until_a_tenth_of_its_life_is_left() {
    let ledger = Ledger::new("pull");
    assert!(!serves(&ledger));
    ledger.saw(&secret(1));
    assert!(serves(&ledger));
    assert!(ledger.serves("team", &[registry(HOST)], at(899)));
    assert!(!ledger.serves("team", &[registry(HOST)], at(900)));
    assert!(!ledger.serves("other", &[registry(HOST)], at(500)));
    let other = registry("123456789012.dkr.ecr.us-west-2.amazonaws.com");
    assert!(!ledger.serves("team", &[registry(HOST), other], at(500)));
    assert_eq!(ledger.earliest_expiry(|_, _| true), Some(at(1000)));
    let counts = |namespace: &str, host: &Arc<str>| namespace != "team" || &**host != HOST;
    assert_eq!(ledger.earliest_expiry(counts), None);
}

#[test]
fn old_news_never_replaces_newer() {
    let ledger = Ledger::new("pull");
    ledger.saw(&secret(9));
    let mut older = secret(8);
    older.annotations = None;
    ledger.saw(&older);
    assert!(serves(&ledger));
    ledger.lost(&secret(7));
    assert!(ledger.holds("team"));
    ledger.lost(&secret(10));
    assert!(!ledger.holds("team") && !serves(&ledger));
    // The answer to a write of ours that somebody deleted at once.
    ledger.saw(&secret(9));
    assert!(!ledger.holds("team"));
    ledger.saw(&secret(11));
    assert!(serves(&ledger));
}

#[test]
fn content_that_somebody_else_wrote_does_not_serve_unless_it_was_looked_at() {
    let ledger = Ledger::new("pull");
    let mut edited = secret(2);
    edited.managed_fields = Some(vec![owner_of_data(OWNER), owner_of_data("kubectl-edit")]);
    ledger.saw(&edited);
    assert!(ledger.holds("team") && !serves(&ledger));
    assert_eq!(ledger.earliest_expiry(|_, _| true), None);
    ledger.tolerate(&edited, &[grant(HOST, 1100)], at(800));
    assert!(serves(&ledger));
    // Another registry at the same version takes nothing away from the first.
    ledger.tolerate(&edited, &[grant(SECOND, 1100)], at(800));
    assert!(serves(&ledger) && ledger.serves("team", &[registry(SECOND)], at(500)));
    // The watch brings the same version once more, and then a newer one.
    ledger.saw(&edited);
    assert!(serves(&ledger));
    edited.resource_version = Some("3".to_owned());
    ledger.saw(&edited);
    assert!(!serves(&ledger));
    // What was found good in one version says nothing about the next.
    ledger.tolerate(&edited, &[grant(SECOND, 1100)], at(800));
    assert!(!serves(&ledger));
}

#[test]
fn a_secret_without_our_label_does_not_serve() {
    let ledger = Ledger::new("pull");
    let mut foreign = secret(1);
    foreign.labels = None;
    ledger.saw(&foreign);
    assert!(ledger.holds("team") && !serves(&ledger));
    assert_eq!(ledger.foreign(), 1);
    assert!(ledger.is_doubtful("team") && !ledger.is_doubtful("other"));
    ledger.saw(&secret(2));
    assert_eq!(ledger.foreign(), 0);
    assert!(!ledger.is_doubtful("team"));
}

#[test]
fn a_new_list_forgets_what_is_gone_and_keeps_what_was_written_meanwhile() {
    let ledger = Ledger::new("pull");
    ledger.saw(&secret(1));
    ledger.write().listed = Some(HashMap::new());
    let mut written = secret(5);
    written.namespace = Some("new".to_owned());
    ledger.saw(&written);
    let mut rows = ledger.write();
    rows.by_namespace = rows.listed.take().unwrap();
    drop(rows);
    assert!(!ledger.holds("team"));
    assert!(ledger.holds("new"));
}

/// As a write of ours leaves it.
fn exclusive(version: u64) -> ObjectMeta {
    let mut secret = secret(version);
    secret.uid = Some(UID.to_owned());
    let annotations = secret.annotations.get_or_insert_default();
    annotations.insert(annotation::EXCLUSIVE.to_owned(), "true".to_owned());
    secret
}

fn replaceable(secret: &ObjectMeta, grants: &[Grant]) -> Option<ObjectVersion> {
    let ledger = Ledger::new("pull");
    ledger.saw(secret);
    ledger.replaceable("team", grants, at(500))
}

#[test]
fn a_secret_that_is_ours_alone_is_replaced_unread_by_grants_for_all_of_it() {
    let base = replaceable(&exclusive(7), &[grant(HOST, 2000)]).unwrap();
    assert_eq!(base.uid, UID);
    assert_eq!(base.version, "7");
    let both = [grant(SECOND, 2000), grant(HOST, 1000)];
    assert!(replaceable(&exclusive(7), &both).is_some());
}

#[test]
fn whatever_could_get_lost_or_older_is_read_first() {
    let newer = [grant(HOST, 2000)];
    assert_eq!(replaceable(&secret(7), &newer), None, "not marked");
    assert_eq!(replaceable(&exclusive(7), &[grant(HOST, 999)]), None);
    assert_eq!(replaceable(&exclusive(7), &[grant(SECOND, 2000)]), None);
    assert_eq!(replaceable(&exclusive(7), &[]), None);
    assert_eq!(replaceable(&exclusive(0), &newer), None, "no version");
    let changes: [fn(&mut ObjectMeta); 6] = [
        // Nothing is said any more of what is there, so nothing would take its place.
        |secret| {
            let annotations = secret.annotations.get_or_insert_default();
            annotations.remove(annotation::LIFETIMES);
        },
        |secret| {
            let managers = secret.managed_fields.get_or_insert_default();
            managers.push(owner_of_registries("kubectl-annotate"));
        },
        |secret| secret.uid = None,
        |secret| secret.labels = None,
        |secret| secret.managed_fields = Some(vec![owner_of_data("kubectl-edit")]),
        |secret| {
            // A host that is not one of ECR's is in no row.
            for (name, more) in [
                (annotation::REGISTRIES, ",example.com"),
                (annotation::LIFETIMES, ",1970-01-01T00:00:00Z"),
            ] {
                let annotations = secret.annotations.get_or_insert_default();
                annotations
                    .entry(name.to_owned())
                    .or_default()
                    .push_str(more);
            }
        },
    ];
    for change in changes {
        let mut changed = exclusive(7);
        change(&mut changed);
        assert_eq!(replaceable(&changed, &newer), None, "{changed:?}");
        assert_eq!(replaceable(&changed, &[]), None, "{changed:?}");
    }
    // Who set it to what we say, owns it beside us.
    let mut restored = exclusive(7);
    let managers = restored.managed_fields.get_or_insert_default();
    managers.extend([OWNER, "velero"].map(owner_of_registries));
    assert!(replaceable(&restored, &newer).is_some());
    let ledger = Ledger::new("pull");
    ledger.saw(&exclusive(7));
    ledger.lost(&exclusive(8));
    assert_eq!(ledger.replaceable("team", &newer, at(500)), None);
}

#[test]
fn an_end_beyond_belief_is_no_reason_to_read() {
    let mut claims = exclusive(7);
    let lifetimes = format!("{}/{}", at(0), at(1_000_000));
    let annotations = claims.annotations.get_or_insert_default();
    annotations.insert(annotation::LIFETIMES.to_owned(), lifetimes);
    assert!(replaceable(&claims, &[grant(HOST, 2000)]).is_some());
}

fn all(ledger: &Ledger) -> Vec<(String, Vec<(String, Timestamp)>)> {
    let mut all = Vec::new();
    ledger.for_each(|namespace, _, holds| {
        let holds = holds.map(|(host, life)| (host.to_string(), life.expires_at));
        all.push((namespace.to_owned(), holds.collect()));
    });
    all
}

#[test]
fn what_rotation_goes_through_is_ours_edited_or_not() {
    let ledger = Ledger::new("pull");
    assert!(all(&ledger).is_empty());
    ledger.saw(&secret(1));
    let ours = [("team".to_owned(), vec![(HOST.to_owned(), at(1000))])];
    assert_eq!(all(&ledger), ours);
    let mut edited = secret(2);
    edited.managed_fields = Some(vec![owner_of_data("kubectl-edit")]);
    ledger.saw(&edited);
    assert_eq!(all(&ledger), ours);
    assert_eq!(ledger.holds_of("team").len(), 1);
    let mut foreign = secret(3);
    foreign.labels = None;
    ledger.saw(&foreign);
    assert!(all(&ledger).is_empty() && ledger.holds_of("team").is_empty());
    ledger.saw(&secret(4));
    ledger.lost(&secret(5));
    assert!(all(&ledger).is_empty() && ledger.holds_of("team").is_empty());
}

/// Somebody else's content says nothing about its end: it stays until our next token.
#[test]
fn a_tolerated_host_counts_with_the_life_of_the_token_that_was_not_written() {
    let ledger = Ledger::new("pull");
    let mut edited = secret(2);
    edited.managed_fields = Some(vec![owner_of_data("kubectl-edit")]);
    edited.annotations = None;
    ledger.tolerate(&edited, &[grant(HOST, 1100)], at(800));
    assert_eq!(all(&ledger)[0].1, [(HOST.to_owned(), at(1100))]);
    // What the annotations say counts more.
    let mut edited = secret(3);
    edited.managed_fields = Some(vec![owner_of_data("kubectl-edit")]);
    ledger.tolerate(&edited, &[grant(HOST, 1100), grant(SECOND, 1200)], at(800));
    let wanted = [(HOST.to_owned(), at(1000)), (SECOND.to_owned(), at(1200))];
    assert_eq!(all(&ledger)[0].1, wanted);
}

#[test]
fn a_secret_that_a_live_read_did_not_find_is_gone_until_there_is_news() {
    let ledger = Ledger::new("pull");
    ledger.missed("team");
    ledger.saw(&secret(5));
    ledger.missed("team");
    assert!(!ledger.holds("team"));
    ledger.saw(&secret(5));
    assert!(!ledger.holds("team"));
    ledger.saw(&secret(6));
    assert!(ledger.holds("team"));
}

#[test]
fn every_change_makes_a_new_edition() {
    let ledger = Ledger::new("pull");
    let mut last = ledger.edition();
    let changes: [fn(&Ledger); 3] = [
        |ledger| ledger.saw(&secret(1)),
        |ledger| ledger.tolerate(&secret(2), &[], at(0)),
        |ledger| ledger.lost(&secret(3)),
    ];
    for change in changes {
        change(&ledger);
        let edition = ledger.edition();
        assert_ne!(edition, last);
        last = edition;
    }
}

#[test]
fn a_secret_of_ours_that_says_nothing_of_its_tokens_counts_as_edited() {
    let read = |metadata: &ObjectMeta| Held::read(metadata, |host| host.into());
    let mut metadata = secret(1);
    assert_eq!(read(&metadata).change(), Change::Written);
    let annotations = metadata.annotations.as_mut().unwrap();
    annotations.remove(annotation::LIFETIMES);
    assert_eq!(read(&metadata).change(), Change::Edited);
}

#[test]
fn of_deleted_secrets_only_the_last_are_remembered() {
    let ledger = Ledger::new("pull");
    for version in 0..2 * GONE_REMEMBERED as u64 {
        let mut metadata = secret(version + 1);
        metadata.namespace = Some(format!("team-{version}"));
        ledger.saw(&metadata);
        ledger.lost(&metadata);
    }
    assert_eq!(ledger.write().by_namespace.len(), GONE_REMEMBERED);
}
