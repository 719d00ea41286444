use std::collections::BTreeMap;

use jiff::SignedDuration;
use k8s_openapi::ByteString;
use rustls::crypto::aws_lc_rs::default_provider;

use super::*;
use crate::clock;

const SERVICE: &str = "ecr-pull-secrets.somewhere.svc";
const LIFETIME: Duration = Duration::from_secs(90 * 24 * 60 * 60);

fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

fn after(material: &Material, step: Step) -> Material {
    let now = clock::now();
    let made = material.after(step, LIFETIME, now, SERVICE, &provider());
    made.unwrap()
}

fn founded() -> Material {
    after(&Material::default(), Step::Found)
}

fn secret(material: &Material) -> Secret {
    let data = material.data().into_iter();
    let data: BTreeMap<_, _> = data
        .map(|(key, value)| (key.to_owned(), ByteString(value)))
        .collect();
    Secret {
        data: Some(data),
        ..Secret::default()
    }
}

fn read(secret: &Secret) -> Material {
    Material::read(secret, SERVICE, &provider())
}

#[test]
fn what_is_written_is_read_again() {
    let material = founded();
    assert!(material.is_whole() && material.is_good(clock::now()));
    let again = read(&secret(&material));
    assert!(again.is(&material) && again.is_whole());
    assert_eq!(again.held(), material.held());
    assert_eq!(again.bundle(), material.bundle());
}

#[test]
fn a_leaf_is_for_one_service_and_one_only() {
    let material = founded();
    let elsewhere = Material::read(
        &secret(&material),
        "ecr-pull-secrets.other.svc",
        &provider(),
    );
    assert!(!elsewhere.is_whole());
    assert!(
        elsewhere.held().signing.is_some(),
        "its CA may sign another"
    );
}

#[test]
fn every_step_leads_to_something_whole() {
    let founded = founded();
    let renewed = after(&founded, Step::RenewLeaf);
    assert!(renewed.is_whole() && renewed.chain != founded.chain);
    assert_eq!(renewed.bundle(), founded.bundle());

    let introduced = after(&renewed, Step::IntroduceCa);
    assert!(introduced.is_whole() && introduced.chain == renewed.chain);
    assert_eq!(introduced.held().leaf.unwrap().signer, 0);
    assert_eq!(introduced.held().signing, Some(1));
    assert!(introduced.bundle().starts_with(&founded.bundle()));

    let switched = after(&introduced, Step::SwitchLeafToNewCa);
    assert!(switched.is_whole() && switched.chain != introduced.chain);
    assert_eq!(switched.held().leaf.unwrap().signer, 1);
    assert_eq!(switched.bundle(), introduced.bundle());

    let dropped = after(&switched, Step::DropOldCa);
    assert!(dropped.is_whole() && dropped.chain == switched.chain);
    assert_eq!(dropped.held().authorities.len(), 1);
    assert!(introduced.bundle().ends_with(&dropped.bundle()));
}

#[test]
fn each_key_that_is_missing_or_spoilt_is_noticed() {
    let (material, other) = (founded(), founded());
    let good = secret(&material);
    for key in [CHAIN, KEY, BUNDLE, CA_KEY] {
        let foreign = secret(&other).data.unwrap().remove(key).unwrap();
        let mine = good.data.as_ref().unwrap()[key].clone();
        let half = ByteString(mine.0[..mine.0.len() / 2].to_vec());
        let garbage = ByteString(b"garbage".to_vec());
        for value in [None, Some(foreign), Some(half), Some(garbage)] {
            let mut spoilt = good.clone();
            let data = spoilt.data.as_mut().unwrap();
            data.remove(key);
            data.extend(value.map(|value| (key.to_owned(), value)));
            assert!(!read(&spoilt).is_whole(), "{key}");
        }
    }
    assert!(read(&good).is_whole());
    assert!(!read(&Secret::default()).is_whole());
}

#[test]
fn a_leaf_among_the_cas_is_noticed() {
    let material = founded();
    let mut spoilt = secret(&material);
    let data = spoilt.data.as_mut().unwrap();
    data.insert(BUNDLE.to_owned(), data[CHAIN].clone());
    assert!(!read(&spoilt).is_whole());
}

#[test]
fn a_leaf_ends_with_its_ca_at_the_latest() {
    let material = founded();
    let end = clock::now() + SignedDuration::try_from(LIFETIME * 11 / 2).unwrap();
    let late = material
        .after(Step::RenewLeaf, LIFETIME, end, SERVICE, &provider())
        .unwrap();
    let held = late.held();
    assert_eq!(
        held.leaf.unwrap().validity.not_after,
        held.authorities[0].not_after
    );
}

#[test]
fn a_step_that_does_not_fit_is_an_error() {
    let nothing = Material::default();
    let made = nothing.after(
        Step::RenewLeaf,
        LIFETIME,
        clock::now(),
        SERVICE,
        &provider(),
    );
    assert!(matches!(made, Err(MakeError::NoKey)));
}
