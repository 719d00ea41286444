//! Chains with intermediate certificates: complete, broken and expired.

use ecr_pull_secrets_core::certificate::life::Validity;
use rcgen::{BasicConstraints, DnType, IsCa, Issuer};

use super::*;
use crate::certificate::served::PairValidity;

/// The parameters of a CA.
fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// A CA and its certificate.
struct Authority {
    name: &'static str,
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn root() -> Self {
        let name = "root";
        let (params, key) = (authority(name), KeyPair::generate().unwrap());
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { name, issuer, pem }
    }

    fn new(name: &'static str, above: &Issuer<'_, KeyPair>) -> Self {
        let (params, key) = (authority(name), KeyPair::generate().unwrap());
        let pem = params.signed_by(&key, above).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { name, issuer, pem }
    }

    /// A certificate of the same name and key with this expiry.
    fn until(&self, end: Timestamp, above: &Issuer<'_, KeyPair>) -> String {
        let mut params = authority(self.name);
        params.not_after = OffsetDateTime::from_unix_timestamp(end.as_second()).unwrap();
        params.signed_by(self.issuer.key(), above).unwrap().pem()
    }
}

/// A leaf for our Service, and its key.
fn leaf(issuer: &Issuer<'_, KeyPair>) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![SERVICE.to_owned()]).unwrap();
    (
        params.signed_by(&key, issuer).unwrap().pem(),
        key.serialize_pem(),
    )
}

/// A volume whose chain is served, and the served leaf.
fn serving(chain: &str, key: &str) -> (Volume, Files, Option<Vec<u8>>) {
    let mut volume = Volume::new();
    let mut files = volume.files();
    volume.swap(chain, key);
    files.poll();
    let good = served(&files);
    assert!(good.is_some());
    (volume, files, good)
}

#[test]
fn broken_chain_never_replaces_a_complete_one() {
    let root = Authority::root();
    let middle = Authority::new("middle", &root.issuer);
    // An unrelated CA, and a CA with the same name and another key.
    let (other, namesake) = (
        Authority::new("other", &root.issuer),
        Authority::new("middle", &root.issuer),
    );
    let (one, one_key) = leaf(&middle.issuer);
    let (two, two_key) = leaf(&middle.issuer);
    let (mut volume, mut files, good) = serving(&(one.clone() + &middle.pem), &one_key);
    let broken = [
        (one.clone(), &one_key),
        (two.clone(), &two_key),
        (two.clone() + &other.pem, &two_key),
        (two.clone() + &namesake.pem, &two_key),
    ];
    for (chain, key) in &broken {
        volume.swap(chain, key);
        files.poll();
        files.poll();
        assert_eq!(served(&files), good);
    }
    assert_eq!(
        (reloads(&files, "ok"), reloads(&files, "error")),
        (" 1".to_owned(), format!(" {}", broken.len()))
    );
    // The same files load when the served chain has expired.
    let expired = Validity {
        not_before: clock::now() - SignedDuration::from_hours(2),
        not_after: clock::now() - SignedDuration::from_hours(1),
    };
    files.certificate.served.send_replace(Some(PairValidity {
        leaf: expired,
        chain: expired,
    }));
    files.poll();
    assert_ne!(served(&files), good);
}

#[test]
fn complete_chain_is_loaded_with_unrelated_certificates() {
    let root = Authority::root();
    let (middle, next) = (
        Authority::new("middle", &root.issuer),
        Authority::new("next", &root.issuer),
    );
    let below = Authority::new("below", &middle.issuer);
    let (one, key) = leaf(&below.issuer);
    let whole = [one, below.pem.clone(), middle.pem.clone(), root.pem].concat();
    let (mut volume, mut files, _) = serving(&whole, &key);
    let chain = files.certificate.resolver.0.load_full().unwrap();
    assert_eq!(chain.cert.len(), 4, "all of it is served");
    let (unrelated, _) = pair("unrelated");
    let of_another_order = [&middle.pem, &unrelated, &below.pem].map(String::as_str);
    for (issuer, rest) in [
        (&below.issuer, of_another_order.concat()),
        (&next.issuer, next.pem.clone()),
        // A leaf of the root itself, without an intermediate certificate.
        (&root.issuer, String::new()),
    ] {
        let before = served(&files);
        let (leaf, key) = leaf(issuer);
        volume.swap(&(leaf + &rest), &key);
        files.poll();
        assert_ne!(served(&files), before);
    }
    assert_eq!(reloads(&files, "error"), " 0");
}

#[test]
fn expired_intermediate_never_replaces_a_valid_one() {
    let root = Authority::root();
    let middle = Authority::new("middle", &root.issuer);
    let end = clock::now() - SignedDuration::from_hours(1);
    let expired = middle.until(end, &root.issuer);
    let (good, good_key) = leaf(&middle.issuer);
    let (bad, bad_key) = leaf(&middle.issuer);
    let (good, bad) = (good + &middle.pem, bad + &expired);
    let (mut volume, mut files, before) = serving(&good, &good_key);
    volume.swap(&bad, &bad_key);
    files.poll();
    assert_eq!(served(&files), before);
    assert_eq!(reloads(&files, "error"), " 1");
    // Beside the renewed certificate it does no harm, in either order.
    for rest in [expired.clone() + &middle.pem, middle.pem.clone() + &expired] {
        let before = served(&files);
        let (both, key) = leaf(&middle.issuer);
        volume.swap(&(both + &rest), &key);
        files.poll();
        assert_ne!(served(&files), before);
    }
    // Without a better pair it is served, and the metric shows the fault. The API server may not need it.
    let (mut volume, mut files, before) = serving(&bad, &bad_key);
    assert_end_shows(&files, end);
    let leaf = files.certificate.served().validity().unwrap();
    assert!(leaf.covers(clock::now()));
    volume.swap(&good, &good_key);
    files.poll();
    assert_ne!(served(&files), before);
}
