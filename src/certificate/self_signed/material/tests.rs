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

fn after(material: &Material, step: CertificateStep) -> Material {
    let now = clock::now();
    let made = material.after(step, LIFETIME, now, SERVICE, &provider());
    made.unwrap()
}

fn founded() -> Material {
    after(&Material::default(), CertificateStep::Found)
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
fn written_secret_reads_back_unchanged() {
    let material = founded();
    assert!(material.held().is_complete() && material.held().is_valid(clock::now()));
    let again = read(&secret(&material));
    assert!(again.is_same_as(&material) && again.held().is_complete());
    assert_eq!(again.held(), material.held());
    assert_eq!(again.bundle(), material.bundle());
}

#[test]
fn leaf_is_for_one_service_only() {
    let material = founded();
    let elsewhere = Material::read(
        &secret(&material),
        "ecr-pull-secrets.other.svc",
        &provider(),
    );
    assert!(!elsewhere.held().is_complete());
    assert!(
        elsewhere.held().signing.is_some(),
        "its CA may sign another"
    );
}

#[test]
fn each_step_leads_to_complete_material() {
    let founded = founded();
    let renewed = after(&founded, CertificateStep::RenewLeaf);
    assert!(renewed.held().is_complete() && renewed.chain != founded.chain);
    assert_eq!(renewed.bundle(), founded.bundle());

    let introduced = after(&renewed, CertificateStep::IntroduceCa);
    assert!(introduced.held().is_complete() && introduced.chain == renewed.chain);
    assert_eq!(introduced.held().leaf.unwrap().signer, 0);
    assert_eq!(introduced.held().signing, Some(1));
    assert!(introduced.bundle().starts_with(&founded.bundle()));

    let switched = after(&introduced, CertificateStep::SwitchLeafToNewCa);
    assert!(switched.held().is_complete() && switched.chain != introduced.chain);
    assert_eq!(switched.held().leaf.unwrap().signer, 1);
    assert_eq!(switched.bundle(), introduced.bundle());

    let dropped = after(&switched, CertificateStep::DropOldCa);
    assert!(dropped.held().is_complete() && dropped.chain == switched.chain);
    assert_eq!(dropped.held().authorities.len(), 1);
    assert!(introduced.bundle().ends_with(&dropped.bundle()));
}

#[test]
fn missing_or_corrupt_key_makes_material_incomplete() {
    let (material, other) = (founded(), founded());
    let good = secret(&material);
    for key in [CHAIN, KEY, BUNDLE, CA_KEY] {
        let foreign = secret(&other).data.unwrap().remove(key).unwrap();
        let mine = good.data.as_ref().unwrap()[key].clone();
        let half = ByteString(mine.0[..mine.0.len() / 2].to_vec());
        let garbage = ByteString(b"garbage".to_vec());
        for value in [None, Some(foreign), Some(half), Some(garbage)] {
            let mut corrupt = good.clone();
            let data = corrupt.data.as_mut().unwrap();
            data.remove(key);
            data.extend(value.map(|value| (key.to_owned(), value)));
            assert!(!read(&corrupt).held().is_complete(), "{key}");
        }
    }
    assert!(read(&good).held().is_complete());
    assert!(!read(&Secret::default()).held().is_complete());
}

#[test]
fn leaf_among_the_cas_makes_material_incomplete() {
    let material = founded();
    let mut corrupt = secret(&material);
    let data = corrupt.data.as_mut().unwrap();
    data.insert(BUNDLE.to_owned(), data[CHAIN].clone());
    assert!(!read(&corrupt).held().is_complete());
}

#[test]
fn leaf_never_outlives_its_ca() {
    let material = founded();
    let end = clock::now() + SignedDuration::try_from(LIFETIME * 11 / 2).unwrap();
    let late = material
        .after(
            CertificateStep::RenewLeaf,
            LIFETIME,
            end,
            SERVICE,
            &provider(),
        )
        .unwrap();
    let held = late.held();
    assert_eq!(
        held.leaf.unwrap().validity.not_after,
        held.authorities[0].not_after
    );
}

#[test]
fn step_without_the_ca_key_fails() {
    let nothing = Material::default();
    let made = nothing.after(
        CertificateStep::RenewLeaf,
        LIFETIME,
        clock::now(),
        SERVICE,
        &provider(),
    );
    assert!(matches!(made, Err(MakeError::NoKey)));
}
