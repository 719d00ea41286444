//! The certificates of a chain as a verifier sees them: which signed which, and when they are valid.

use ecr_pull_secrets_core::certificate::life::Validity;
use jiff::Timestamp;
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName, pem};
use rustls::server::ParsedCertificate;
use x509_parser::error::X509Error;
use x509_parser::nom;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// A chain that cannot be parsed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChainError {
    #[error("no certificate")]
    Empty,
    #[error(transparent)]
    Pem(#[from] pem::Error),
    #[error(transparent)]
    Certificate(#[from] nom::Err<X509Error>),
    #[error(transparent)]
    Validity(#[from] jiff::Error),
}

/// The reason why an API server refuses a leaf for the Service, with any CA.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnfitLeaf {
    /// The leaf has other names. The error lists them.
    #[error(transparent)]
    Name(#[from] rustls::Error),
    #[error("its extended key usage lacks serverAuth")]
    Usage,
    /// No certificate can be for this Service.
    #[error("the Service's name is invalid: {0}")]
    Service(#[from] InvalidDnsNameError),
}

/// Checks that an API server can accept this leaf for the Service.
pub(super) fn check_fit(leaf: &CertificateDer<'_>, service: &str) -> Result<(), UnfitLeaf> {
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
        Err(UnfitLeaf::Usage)
    }
}

/// The validity of a certificate in DER.
pub(super) fn validity(certificate: &CertificateDer<'_>) -> Result<Validity, ChainError> {
    let (_, parsed) = X509Certificate::from_der(certificate)?;
    validity_of(&parsed)
}

fn validity_of(certificate: &X509Certificate<'_>) -> Result<Validity, ChainError> {
    let validity = certificate.validity();
    Ok(Validity {
        not_before: Timestamp::from_second(validity.not_before.timestamp())?,
        not_after: Timestamp::from_second(validity.not_after.timestamp())?,
    })
}

/// The leaf and the intermediate certificates above it, each signed by the next, as far as the
/// chain has them. A root is not included, because a verifier has its own.
pub(super) struct LeafPath<'a>(Vec<X509Certificate<'a>>);

impl<'a> LeafPath<'a> {
    /// Finds the path in a chain. The leaf comes first; the other certificates may come in any
    /// order, and unrelated ones are ignored.
    pub(super) fn of(chain: &'a [CertificateDer<'_>]) -> Result<Self, ChainError> {
        let mut others = Vec::with_capacity(chain.len());
        for certificate in chain {
            let (_, parsed) = X509Certificate::from_der(certificate)?;
            validity_of(&parsed)?;
            others.push(parsed);
        }
        let mut path: Vec<X509Certificate<'_>> = others.drain(..others.len().min(1)).collect();
        others.retain(|certificate| !is_root(certificate));
        while let Some(last) = path.last() {
            let issuers = others.iter().enumerate();
            let issuers = issuers.filter(|(_, issuer)| is_signed_by(last, issuer));
            // A renewed issuer may be there twice.
            let Some((next, _)) = issuers.max_by_key(|(_, issuer)| issuer.validity().not_after)
            else {
                break;
            };
            path.push(others.swap_remove(next));
        }
        Ok(Self(path))
    }

    /// The time in which all certificates of the path are valid.
    pub(super) fn validity(&self) -> Option<Validity> {
        let each = self.0.iter().flat_map(validity_of);
        each.reduce(|one, other| Validity {
            not_before: one.not_before.max(other.not_before),
            not_after: one.not_after.min(other.not_after),
        })
    }

    /// The name of the issuer that this path lacks and another one has. Without that issuer a
    /// verifier cannot get from this path to its root.
    pub(super) fn missing_issuer(&self, whole: &Self) -> Option<String> {
        let last = self.0.last()?;
        let mut issuers = whole.0.iter().skip(1);
        let missing = issuers.find(|issuer| issuer.subject() == last.issuer())?;
        Some(missing.subject().to_string())
    }
}

fn is_root(certificate: &X509Certificate<'_>) -> bool {
    certificate.issuer() == certificate.subject()
}

/// Compares the names, and verifies the signature if its algorithm is supported.
fn is_signed_by(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    let is_another_key = || {
        let verified = certificate.verify_signature(Some(issuer.public_key()));
        matches!(verified, Err(X509Error::SignatureVerificationError))
    };
    certificate.issuer() == issuer.subject() && !is_another_key()
}
