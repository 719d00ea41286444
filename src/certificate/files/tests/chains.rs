//! Chains with intermediate certificates: whole, broken, and at their end.

use ecr_pull_secrets_core::certificate::life::Validity;
use rcgen::{BasicConstraints, DnType, IsCa, Issuer};

use super::*;
use crate::certificate::served::Terms;

/// Who may sign others.
fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// One, and its certificate.
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

    /// Its certificate until then, of the same name and key.
    fn until(&self, end: Timestamp, above: &Issuer<'_, KeyPair>) -> String {
        let mut params = authority(self.name);
        params.not_after = OffsetDateTime::from_unix_timestamp(end.as_second()).unwrap();
        params.signed_by(self.issuer.key(), above).unwrap().pem()
    }
}

/// For our Service, and its key.
fn leaf(issuer: &Issuer<'_, KeyPair>) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![SERVICE.to_owned()]).unwrap();
    (
        params.signed_by(&key, issuer).unwrap().pem(),
        key.serialize_pem(),
    )
}

/// A volume and its files, of which the chain is served, and that leaf.
fn serving(chain: &str, key: &str) -> (Volume, Files, Option<Vec<u8>>) {
    let mut volume = Volume::new();
    let mut files = volume.files();
    volume.swap(chain, key);
    files.look();
    let good = served(&files);
    assert!(good.is_some());
    (volume, files, good)
}

#[test]
fn a_chain_that_does_not_lead_on_never_replaces_the_whole_one() {
    let root = Authority::root();
    let middle = Authority::new("middle", &root.issuer);
    // Another one, and one of the same name with another key.
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
        files.look();
        files.look();
        assert_eq!(served(&files), good);
    }
    assert_eq!(
        (reloads(&files, "ok"), reloads(&files, "error")),
        (" 1".to_owned(), format!(" {}", broken.len()))
    );
    // The same files, when the one that is served is good no more.
    let ended = Validity {
        not_before: clock::now() - SignedDuration::from_hours(2),
        not_after: clock::now() - SignedDuration::from_hours(1),
    };
    files.certificate.served.send_replace(Some(Terms {
        leaf: ended,
        chain: ended,
    }));
    files.look();
    assert_ne!(served(&files), good);
}

#[test]
fn a_chain_that_leads_on_is_taken_up_whatever_else_is_in_it() {
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
        // Of the root itself, which needs nobody in between.
        (&root.issuer, String::new()),
    ] {
        let before = served(&files);
        let (leaf, key) = leaf(issuer);
        volume.swap(&(leaf + &rest), &key);
        files.look();
        assert_ne!(served(&files), before);
    }
    assert_eq!(reloads(&files, "error"), " 0");
}

#[test]
fn an_intermediate_certificate_that_has_ended_never_replaces_a_good_one_and_shows() {
    let root = Authority::root();
    let middle = Authority::new("middle", &root.issuer);
    let end = clock::now() - SignedDuration::from_hours(1);
    let ended = middle.until(end, &root.issuer);
    let (good, good_key) = leaf(&middle.issuer);
    let (bad, bad_key) = leaf(&middle.issuer);
    let (good, bad) = (good + &middle.pem, bad + &ended);
    let (mut volume, mut files, before) = serving(&good, &good_key);
    volume.swap(&bad, &bad_key);
    files.look();
    assert_eq!(served(&files), before);
    assert_eq!(reloads(&files, "error"), " 1");
    // With the renewed one beside it, whichever comes first.
    for rest in [ended.clone() + &middle.pem, middle.pem.clone() + &ended] {
        let before = served(&files);
        let (both, key) = leaf(&middle.issuer);
        volume.swap(&(both + &rest), &key);
        files.look();
        assert_ne!(served(&files), before);
    }
    // Better than nothing, and the metric says what is wrong. Whether the API server needs it, nobody can tell.
    let (mut volume, mut files, before) = serving(&bad, &bad_key);
    assert_end_shows(&files, end);
    let leaf = files.certificate.served().validity().unwrap();
    assert!(leaf.covers(clock::now()));
    volume.swap(&good, &good_key);
    files.look();
    assert_ne!(served(&files), before);
}
