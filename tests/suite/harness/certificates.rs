//! A CA and a serving certificate in files, as cert-manager would put them there.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::world::OURS;

/// Writes `tls.crt` and `tls.key` for the Service, and `ca.crt`; returns the CA in PEM.
pub fn issue(directory: &Path) -> String {
    fs::create_dir(directory).expect("a folder");
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().expect("a key");
    let ca = params.self_signed(&ca_key).expect("a CA");
    let issuer = Issuer::new(params, ca_key);
    let key = KeyPair::generate().expect("a key");
    let names = vec![format!("{OURS}.{OURS}.svc")];
    let leaf = CertificateParams::new(names).expect("a name");
    let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
    for (name, text) in [
        ("tls.crt", leaf.pem()),
        ("tls.key", key.serialize_pem()),
        ("ca.crt", ca.pem()),
    ] {
        fs::write(directory.join(name), text).expect("a file");
    }
    ca.pem()
}
