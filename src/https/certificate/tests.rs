use std::os::unix::fs::symlink;

use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use tempfile::TempDir;

use super::*;

/// A directory as the kubelet keeps it for a Secret volume: names that link to `..data`, which
/// links to a directory that is swapped as a whole.
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
        Files::new(
            self.directory.path(),
            Arc::new(default_provider()),
            Metrics::default(),
        )
    }
}

fn pair(name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()])
        .unwrap()
        .self_signed(&key);
    (certificate.unwrap().pem(), key.serialize_pem())
}

/// The leaf that the listener would show now.
fn served(files: &Files) -> Option<Vec<u8>> {
    files.resolver.0.load_full().map(|key| key.cert[0].to_vec())
}

fn reloads(files: &Files, result: &str) -> String {
    let metrics = files.metrics.encode();
    let name = format!("ecr_pull_secrets_certificate_reloads_total{{result=\"{result}\"}}");
    metrics
        .lines()
        .find_map(|line| line.strip_prefix(&name))
        .unwrap_or(" 0")
        .to_owned()
}

#[test]
fn a_certificate_that_comes_late_is_taken_up() {
    let mut volume = Volume::new();
    let mut files = volume.files();
    files.look();
    assert!(served(&files).is_none() && !*files.loaded().borrow());
    let (chain, key) = pair("one");
    volume.swap(&chain, &key);
    files.look();
    assert!(served(&files).is_some() && *files.loaded().borrow());
    assert!(files.metrics.certificate_expiry.get() > 0.0);
}

#[test]
fn each_swap_of_the_volume_is_taken_up_and_nothing_else_is() {
    let mut volume = Volume::new();
    let mut files = volume.files();
    let mut seen = Vec::new();
    for name in ["one", "two", "three"] {
        let (chain, key) = pair(name);
        volume.swap(&chain, &key);
        files.look();
        files.look();
        let leaf = served(&files).unwrap();
        assert!(!seen.contains(&leaf));
        seen.push(leaf);
    }
    assert_eq!(reloads(&files, "ok"), " 3");
}

#[test]
fn what_does_not_parse_or_fit_together_never_replaces_a_good_pair() {
    let mut volume = Volume::new();
    let mut files = volume.files();
    let (chain, key) = pair("good");
    volume.swap(&chain, &key);
    files.look();
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
        files.look();
        files.look();
        assert_eq!(served(&files), good);
    }
    assert_eq!(
        reloads(&files, "error"),
        format!(" {}", bad.len()),
        "each is reported once"
    );
    volume.swap(&other_chain, &other_key);
    files.look();
    assert_ne!(served(&files), good);
}

#[test]
fn a_whole_chain_is_served() {
    let mut volume = Volume::new();
    let mut files = volume.files();
    let (chain, key) = pair("leaf");
    let (issuer, _) = pair("issuer");
    volume.swap(&format!("{chain}{issuer}"), &key);
    files.look();
    assert_eq!(files.resolver.0.load_full().unwrap().cert.len(), 2);
}
