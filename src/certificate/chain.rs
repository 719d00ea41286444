//! What a verifier can make of the certificates of a chain: which signed which, and until when they are good.

use ecr_pull_secrets_core::certificate::life::Validity;
use jiff::Timestamp;
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::server::ParsedCertificate;
use x509_parser::error::X509Error;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Why an API server that calls our Service does not take a leaf, whoever signed it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotOurs {
    /// Says which names it has, and which is wanted.
    #[error(transparent)]
    Name(#[from] rustls::Error),
    /// It is for clients, say.
    #[error("its extended key usage leaves out serverAuth")]
    Usage,
    /// No certificate can be for this Service.
    #[error("the Service's name is no name: {0}")]
    Service(#[from] InvalidDnsNameError),
}

/// Whether an API server can take this leaf for the Service.
pub(super) fn fits(leaf: &CertificateDer<'_>, service: &str) -> Result<(), NotOurs> {
    let name = ServerName::try_from(service)?;
    verify_server_name(&ParsedCertificate::try_from(leaf)?, &name)?;
    let is_for_servers = X509Certificate::from_der(leaf).is_ok_and(|(_, leaf)| {
        let usage = leaf.extended_key_usage();
        usage
            .is_ok_and(|usage| usage.is_none_or(|usage| usage.value.any || usage.value.server_auth))
    });
    if is_for_servers {
        Ok(())
    } else {
        Err(NotOurs::Usage)
    }
}

/// From when until when a certificate in DER is good; the error is a sentence.
///
/// # Errors
///
/// When it is no certificate.
pub(super) fn validity(certificate: &CertificateDer<'_>) -> Result<Validity, String> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    validity_of(&parsed)
}

fn validity_of(certificate: &X509Certificate<'_>) -> Result<Validity, String> {
    let at = |second| Timestamp::from_second(second).map_err(|error| error.to_string());
    Ok(Validity {
        not_before: at(certificate.validity().not_before.timestamp())?,
        not_after: at(certificate.validity().not_after.timestamp())?,
    })
}

/// The leaf and the intermediate certificates above it, each signed by the next, as far as the
/// chain has them. A root is no part of it: who verifies has his own.
pub(super) struct Path<'a>(Vec<X509Certificate<'a>>);

impl<'a> Path<'a> {
    /// The leaf comes first; those above it may come in any order, and some may not belong to it.
    ///
    /// # Errors
    ///
    /// A sentence, when one of them is no certificate.
    pub(super) fn of(chain: &'a [CertificateDer<'_>]) -> Result<Self, String> {
        let mut others = Vec::with_capacity(chain.len());
        for certificate in chain {
            let (_, parsed) =
                X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
            validity_of(&parsed)?;
            others.push(parsed);
        }
        let mut path: Vec<X509Certificate<'_>> = others.drain(..others.len().min(1)).collect();
        others.retain(|certificate| !is_root(certificate));
        while let Some(last) = path.last() {
            let issuers = others.iter().enumerate();
            let issuers = issuers.filter(|(_, issuer)| is_signed_by(last, issuer));
            // One that was renewed may be there twice.
            let Some((next, _)) = issuers.max_by_key(|(_, issuer)| issuer.validity().not_after)
            else {
                break;
            };
            path.push(others.swap_remove(next));
        }
        Ok(Self(path))
    }

    /// When all of them are good.
    pub(super) fn validity(&self) -> Option<Validity> {
        let each = self.0.iter().flat_map(validity_of);
        each.reduce(|one, other| Validity {
            not_before: one.not_before.max(other.not_before),
            not_after: one.not_after.min(other.not_after),
        })
    }

    /// The name of the issuer that it lacks, and another one has. Who verifies then has only the
    /// root, and cannot get there.
    pub(super) fn lacks_of(&self, whole: &Self) -> Option<String> {
        let last = self.0.last()?;
        let mut issuers = whole.0.iter().skip(1);
        let missing = issuers.find(|issuer| issuer.subject() == last.issuer())?;
        Some(missing.subject().to_string())
    }
}

fn is_root(certificate: &X509Certificate<'_>) -> bool {
    certificate.issuer() == certificate.subject()
}

/// By its name, and by its key where its algorithm is known.
fn is_signed_by(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    let is_another_key = || {
        let verified = certificate.verify_signature(Some(issuer.public_key()));
        matches!(verified, Err(X509Error::SignatureVerificationError))
    };
    certificate.issuer() == issuer.subject() && !is_another_key()
}
