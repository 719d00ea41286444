use std::fs;
use std::os::unix::fs::symlink;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use rustls::crypto::aws_lc_rs::default_provider;
use tempfile::TempDir;
use time::OffsetDateTime;
use x509_parser::asn1_rs::{Any, FromDer as _, OctetString, Sequence};

use super::*;
use crate::clock;
use crate::telemetry::metrics::Metrics;

mod chains;

const SERVICE: &str = "ecr-pull-secrets.somewhere.svc";

/// A Secret volume as the kubelet manages it: the names link to `..data`, which links to a directory
/// that is swapped as a whole.
struct Volume {
    directory: TempDir,
    version: u32,
}

impl Volume {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), directory.path().join(name)).unwrap();
        }
        Self {
            directory,
            version: 0,
        }
    }

    fn swap(&mut self, chain: &str, key: &str) {
        self.version += 1;
        let root = self.directory.path();
        let version = format!("..version-{}", self.version);
        fs::create_dir(root.join(&version)).unwrap();
        fs::write(root.join(&version).join("tls.crt"), chain).unwrap();
        fs::write(root.join(&version).join("tls.key"), key).unwrap();
        symlink(&version, root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    }

    fn files(&self) -> Files {
        let provider = Arc::new(default_provider());
        let certificate = Certificate::new(provider, SERVICE.to_owned(), Metrics::default());
        Files::new(self.directory.path(), certificate)
    }
}

fn pair(name: &str) -> (String, String) {
    let now = clock::now();
    lasting(name, now, now + SignedDuration::from_hours(1))
}

fn lasting(name: &str, not_before: Timestamp, not_after: Timestamp) -> (String, String) {
    let at = |time: Timestamp| OffsetDateTime::from_unix_timestamp(time.as_second()).unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = at(not_before);
    params.not_after = at(not_after);
    signed(&params)
}

/// Signed by its own key.
fn signed(params: &CertificateParams) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key);
    (certificate.unwrap().pem(), key.serialize_pem())
}

/// A certificate for our Service, with these extended key usages.
fn ours(usages: &[ExtendedKeyUsagePurpose]) -> (String, String) {
    let mut params = CertificateParams::new(vec![SERVICE.to_owned()]).unwrap();
    params.extended_key_usages = usages.to_vec();
    signed(&params)
}

/// The leaf that the listener presents now.
fn served(files: &Files) -> Option<Vec<u8>> {
    let resolver = &files.certificate.resolver;
    resolver.0.load_full().map(|key| key.cert[0].to_vec())
}

fn reloads(files: &Files, result: &str) -> String {
    let metrics = files.certificate.metrics.encode();
    let name = format!("ecr_pull_secrets_certificate_reloads_total{{result=\"{result}\"}}");
    metrics
        .lines()
        .find_map(|line| line.strip_prefix(&name))
        .unwrap_or(" 0")
        .to_owned()
}

/// Compares the metric with the expiry.
fn assert_end_shows(files: &Files, end: Timestamp) {
    #[allow(clippy::cast_precision_loss, reason = "seconds fit")]
    let end = end.as_second() as f64;
    let shown = files.certificate.metrics.certificate_expiry.get();
    assert!((shown - end).abs() < 0.5, "{shown} {end}");
}

#[test]
fn late_certificate_is_loaded() {
    let mut volume = Volume::new();
    let mut files = volume.files();
    files.poll();
    assert!(served(&files).is_none() && files.certificate.served().validity().is_none());
    let (chain, key) = pair("one");
    volume.swap(&chain, &key);
    files.poll();
    let validity = files.certificate.served().validity().unwrap();
    assert!(served(&files).is_some() && validity.covers(clock::now()));
    assert_end_shows(&files, validity.not_after);
}

#[test]
fn each_swap_of_the_volume_is_loaded_once() {
    let mut volume = Volume::new();
    let mut files = volume.files();
    let mut seen = Vec::new();
    for name in ["one", "two", "three"] {
        let (chain, key) = pair(name);
        volume.swap(&chain, &key);
        files.poll();
        files.poll();
        let leaf = served(&files).unwrap();
        assert!(!seen.contains(&leaf));
        seen.push(leaf);
    }
    assert_eq!(reloads(&files, "ok"), " 3");
}

#[test]
fn corrupt_pair_never_replaces_a_valid_one() {
    let mut volume = Volume::new();
    let mut files = volume.files();
    let (chain, key) = pair("good");
    volume.swap(&chain, &key);
    files.poll();
    let good = served(&files);
    let (other_chain, other_key) = pair("other");
    let bad = [
        (chain.as_str(), other_key.as_str()),
        (other_chain.as_str(), key.as_str()),
        (&chain[..chain.len() / 2], key.as_str()),
        (chain.as_str(), &key[..key.len() / 2]),
        ("", ""),
        ("no certificate", "no key"),
        (key.as_str(), chain.as_str()),
    ];
    for (chain, key) in bad {
        volume.swap(chain, key);
        files.poll();
        files.poll();
        assert_eq!(served(&files), good);
    }
    assert_eq!(
        reloads(&files, "error"),
        format!(" {}", bad.len()),
        "each is reported once"
    );
    volume.swap(&other_chain, &other_key);
    files.poll();
    assert_ne!(served(&files), good);
}

#[test]
fn unfit_pair_never_replaces_one_for_our_service() {
    let mut volume = Volume::new();
    let mut files = volume.files();
    let ingress = pair("shop.example");
    let client = ours(&[ExtendedKeyUsagePurpose::ClientAuth]);
    let mut seen = None;
    // Each is loaded, because the served pair is not for our Service either.
    for (chain, key) in [&ingress, &client, &ours(&[])] {
        volume.swap(chain, key);
        files.poll();
        assert_ne!(served(&files), seen);
        seen = served(&files);
    }
    for (chain, key) in [&ingress, &client] {
        volume.swap(chain, key);
        files.poll();
        files.poll();
        assert_eq!(served(&files), seen);
    }
    assert_eq!(reloads(&files, "error"), " 2", "each is reported once");
    let refused = Pair::parse(
        ingress.0.as_bytes(),
        ingress.1.as_bytes(),
        &default_provider(),
    )
    .and_then(|pair| files.certificate.load(&pair));
    let said = refused.unwrap_err().to_string();
    assert!(
        said.contains("shop.example") && said.contains(SERVICE),
        "{said}"
    );
    for usage in [
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::Any,
    ] {
        let (chain, key) = ours(&[ExtendedKeyUsagePurpose::ClientAuth, usage]);
        volume.swap(&chain, &key);
        files.poll();
        assert_ne!(served(&files), seen);
        seen = served(&files);
    }
}

/// The key inside a PKCS#8 file: PKCS#1 for RSA, SEC1 for EC.
fn unwrapped(key: &KeyPair, label: &str) -> String {
    let (_, wrapped) = Sequence::from_der(key.serialized_der()).unwrap();
    let (rest, _version) = Any::from_der(&wrapped.content).unwrap();
    let (rest, _algorithm) = Any::from_der(rest).unwrap();
    let (_, key) = OctetString::from_der(rest).unwrap();
    let text = BASE64_STANDARD.encode(key.as_ref());
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

#[test]
fn key_is_pkcs8_pkcs1_or_sec1() {
    let ec = KeyPair::generate().unwrap();
    let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    for (key, text) in [
        (&ec, ec.serialize_pem()),
        (&ec, unwrapped(&ec, "EC PRIVATE KEY")),
        (&rsa, rsa.serialize_pem()),
        (&rsa, unwrapped(&rsa, "RSA PRIVATE KEY")),
    ] {
        let params = CertificateParams::new(vec!["name".to_owned()]).unwrap();
        let chain = params.self_signed(key).unwrap().pem();
        let mut volume = Volume::new();
        let mut files = volume.files();
        volume.swap(&chain, &text);
        files.poll();
        assert!(served(&files).is_some(), "{}", text.lines().next().unwrap());
    }
}

#[test]
fn invalid_pair_never_replaces_a_valid_one() {
    let (now, hour) = (clock::now(), SignedDuration::from_hours(1));
    let mut volume = Volume::new();
    let mut files = volume.files();
    let (chain, key) = pair("good");
    volume.swap(&chain, &key);
    files.poll();
    let good = served(&files);
    for (not_before, not_after) in [(now - hour * 2, now - hour), (now + hour, now + hour * 2)] {
        let (chain, key) = lasting("not now", not_before, not_after);
        volume.swap(&chain, &key);
        files.poll();
        files.poll();
        assert_eq!(served(&files), good);
    }
    assert_eq!(reloads(&files, "error"), " 2", "each is reported once");
}

#[test]
fn early_certificate_is_loaded_when_it_becomes_valid() {
    let now = clock::now();
    let mut volume = Volume::new();
    let mut files = volume.files();
    let (chain, key) = pair("good");
    volume.swap(&chain, &key);
    files.poll();
    let good = served(&files);
    let soon = Timestamp::from_second(now.as_second() + 2).unwrap();
    let (chain, key) = lasting("soon", soon, now + SignedDuration::from_hours(1));
    volume.swap(&chain, &key);
    while clock::now() < soon {
        assert_eq!(served(&files), good);
        files.poll();
    }
    files.poll();
    assert_ne!(served(&files), good);
}

#[test]
fn expired_pair_is_served_without_a_better_one() {
    let (now, hour) = (clock::now(), SignedDuration::from_hours(1));
    let mut volume = Volume::new();
    let mut files = volume.files();
    let mut seen = None;
    for hours in [3, 2] {
        let (chain, key) = lasting("expired", now - hour * (hours + 1), now - hour * hours);
        volume.swap(&chain, &key);
        files.poll();
        assert_ne!(served(&files), seen);
        seen = served(&files);
    }
    assert!(files.certificate.metrics.certificate_expiry.get() > 0.0);
    let (chain, key) = pair("good");
    volume.swap(&chain, &key);
    files.poll();
    assert_ne!(served(&files), seen);
}

/// The kubelet may swap between the two reads. A pair of two versions would not fit together.
#[test]
fn both_files_come_from_one_version() {
    let mut volume = Volume::new();
    let (chain, key) = pair("whole");
    volume.swap(&chain, &key);
    let files = volume.files();
    let root = volume.directory.path();
    // A reader that follows the names in the directory finds this.
    fs::remove_file(root.join("tls.key")).unwrap();
    fs::write(root.join("tls.key"), "another version's").unwrap();
    let read = files.volume.read(["tls.crt", "tls.key"]).unwrap();
    assert_eq!(read, [chain.as_bytes(), key.as_bytes()]);
}
