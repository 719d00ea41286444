use std::collections::BTreeMap;

use ecr_pull_secrets_core::pull_secret::annotation;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use serde_json::json;

use super::*;

const HOST: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
const SECOND: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

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

fn owner_of_data(manager: &str) -> ManagedFieldsEntry {
    ManagedFieldsEntry {
        manager: Some(manager.to_owned()),
        fields_v1: Some(FieldsV1(json!({ "f:data": { "f:.dockerconfigjson": {} } }))),
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
    assert_eq!(ledger.earliest_expiry(), Some(at(1000)));
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
    assert_eq!(ledger.earliest_expiry(), None);
    ledger.tolerate(&edited, &[registry(HOST)], at(800));
    assert!(serves(&ledger));
    // Another registry at the same version takes nothing away from the first.
    ledger.tolerate(&edited, &[registry(SECOND)], at(800));
    assert!(serves(&ledger) && ledger.serves("team", &[registry(SECOND)], at(500)));
    // The watch brings the same version once more, and then a newer one.
    ledger.saw(&edited);
    assert!(serves(&ledger));
    edited.resource_version = Some("3".to_owned());
    ledger.saw(&edited);
    assert!(!serves(&ledger));
    // What was found good in one version says nothing about the next.
    ledger.tolerate(&edited, &[registry(SECOND)], at(800));
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
