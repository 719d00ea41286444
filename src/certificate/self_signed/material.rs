//! Keys and certificates of self-signed mode: the content of the Secret, and how a step changes it.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ecr_pull_secrets_core::certificate::life::{
    self, CertificateStep, HeldCertificates, Leaf, Validity,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use secrecy::{ExposeSecret as _, SecretSlice};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::certificate::chain::{ChainError, validity};
use crate::certificate::served::Pair;

/// The key of the Secret with the leaf.
const CHAIN: &str = "tls.crt";
/// The key of the Secret with the private key of the leaf.
const KEY: &str = "tls.key";
/// The key of the Secret with all CAs in force.
const BUNDLE: &str = "ca.crt";
/// The key of the Secret with the private key of the newest CA. Older ones are not kept.
const CA_KEY: &str = "ca.key";

/// A key or a certificate that cannot be created.
#[derive(Debug, thiserror::Error)]
pub(super) enum MakeError {
    #[error(transparent)]
    Library(#[from] rcgen::Error),
    #[error("no certificate can expire so late")]
    Time(#[from] time::error::ComponentRange),
    /// The step does not fit the content of the Secret.
    #[error("the CA's key is missing")]
    NoKey,
    #[error("the CA is corrupt: {0}")]
    Authority(#[from] ChainError),
}

/// The content of the Secret, as far as it parses.
#[derive(Clone, Default)]
pub(super) struct Material {
    chain: Vec<u8>,
    key: SecretSlice<u8>,
    ca_key: SecretSlice<u8>,
    authorities: Vec<CertificateDer<'static>>,
    /// None if chain and key do not fit together, or no CA of the bundle signed them.
    pair: Option<Arc<Pair>>,
    held: HeldCertificates,
}

impl Material {
    /// Reads a Secret. Parts that do not parse or fit together are missing in [`Material::held`].
    pub(super) fn read(secret: &Secret, service: &str, provider: &Arc<CryptoProvider>) -> Self {
        let value = |key: &str| {
            let value = secret.data.as_ref().and_then(|data| data.get(key));
            value.map(|value| value.0.clone()).unwrap_or_default()
        };
        Self::new(
            value(CHAIN),
            SecretSlice::from(value(KEY)),
            &value(BUNDLE),
            SecretSlice::from(value(CA_KEY)),
            service,
            provider,
        )
    }

    fn new(
        chain: Vec<u8>,
        key: SecretSlice<u8>,
        bundle: &[u8],
        ca_key: SecretSlice<u8>,
        service: &str,
        provider: &Arc<CryptoProvider>,
    ) -> Self {
        let (authorities, validities) = authorities(bundle).unwrap_or_default();
        let pair = Pair::parse(&chain, key.expose_secret(), provider).ok();
        let signed = pair.and_then(|pair| {
            let leaf = pair.leaf()?;
            let by =
                |authority| is_signed(leaf, pair.leaf_validity(), authority, service, provider);
            let signer = authorities.iter().position(by)?;
            Some((pair, signer))
        });
        let leaf = signed.as_ref().map(|(pair, signer)| Leaf {
            validity: pair.leaf_validity(),
            signer: *signer,
        });
        let signing = key_pair(&ca_key).and_then(|key| {
            let belongs = |authority| belongs(&key, authority);
            authorities.iter().position(belongs)
        });
        Self {
            chain,
            key,
            ca_key,
            authorities,
            pair: signed.map(|(pair, _)| Arc::new(pair)),
            held: HeldCertificates {
                leaf,
                authorities: validities,
                signing,
            },
        }
    }

    /// The parts that the next step follows from.
    pub(super) fn held(&self) -> &HeldCertificates {
        &self.held
    }

    /// The pair to serve.
    pub(super) fn pair(&self) -> Option<&Arc<Pair>> {
        self.pair.as_ref()
    }

    /// The CAs in force, in PEM: what the API server must trust.
    pub(super) fn bundle(&self) -> Vec<u8> {
        let pem = self.authorities.iter().map(|der| pem(der));
        pem.collect::<String>().into_bytes()
    }

    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        self.chain == other.chain
            && self.authorities == other.authorities
            && self.key.expose_secret() == other.key.expose_secret()
            && self.ca_key.expose_secret() == other.ca_key.expose_secret()
    }

    /// The data of the Secret.
    pub(super) fn data(&self) -> [(&'static str, Vec<u8>); 4] {
        [
            (CHAIN, self.chain.clone()),
            (KEY, self.key.expose_secret().to_vec()),
            (BUNDLE, self.bundle()),
            (CA_KEY, self.ca_key.expose_secret().to_vec()),
        ]
    }

    /// The content of the Secret after a step.
    ///
    /// # Errors
    ///
    /// [`MakeError`]. A step that follows from [`Material::held`] causes none.
    pub(super) fn after(
        &self,
        step: CertificateStep,
        lifetime: Duration,
        now: Timestamp,
        service: &str,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, MakeError> {
        let stay = life::stay(&self.held, step);
        let stay = stay.iter().filter_map(|index| self.authorities.get(*index));
        let mut authorities: Vec<CertificateDer<'static>> = stay.cloned().collect();
        let (mut chain, mut key, mut ca_key) =
            (self.chain.clone(), self.key.clone(), self.ca_key.clone());
        if matches!(step, CertificateStep::Found | CertificateStep::IntroduceCa) {
            let made = KeyPair::generate()?;
            authorities.push(authority(&made, now, lifetime)?);
            ca_key = SecretSlice::from(made.serialize_pem().into_bytes());
        }
        if matches!(
            step,
            CertificateStep::Found
                | CertificateStep::RenewLeaf
                | CertificateStep::SwitchLeafToNewCa
        ) {
            let signing = key_pair(&ca_key).ok_or(MakeError::NoKey)?;
            let signer = authorities.iter().find(|der| belongs(&signing, der));
            let signer = signer.ok_or(MakeError::NoKey)?;
            let made = KeyPair::generate()?;
            chain = leaf(&made, signer, signing, now, lifetime, service)?;
            key = SecretSlice::from(made.serialize_pem().into_bytes());
        }
        let bundle: String = authorities.iter().map(|der| pem(der)).collect();
        Ok(Self::new(
            chain,
            key,
            bundle.as_bytes(),
            ca_key,
            service,
            provider,
        ))
    }
}

/// The CAs of a bundle, and their validities. None if one of its certificates is not a CA.
fn authorities(bundle: &[u8]) -> Option<(Vec<CertificateDer<'static>>, Vec<Validity>)> {
    let authorities: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(bundle)
        .collect::<Result<_, _>>()
        .ok()?;
    let is_ca = |der: &CertificateDer<'_>| {
        X509Certificate::from_der(der).is_ok_and(|(_, certificate)| certificate.is_ca())
    };
    let validities = authorities
        .iter()
        .map(|der| validity(der).ok().filter(|_| is_ca(der)));
    let validities = validities.collect::<Option<_>>()?;
    Some((authorities, validities))
}

/// Whether an API server that trusts this CA accepts this leaf for the Service. Its expiry is ignored.
fn is_signed(
    leaf: &CertificateDer<'_>,
    at: Validity,
    authority: &CertificateDer<'static>,
    service: &str,
    provider: &Arc<CryptoProvider>,
) -> bool {
    let mut roots = RootCertStore::empty();
    if roots.add(authority.clone()).is_err() {
        return false;
    }
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    let (Ok(verifier), Ok(name)) = (verifier, ServerName::try_from(service)) else {
        return false;
    };
    let second = u64::try_from(at.not_before.as_second()).unwrap_or_default();
    let time = UnixTime::since_unix_epoch(Duration::from_secs(second));
    verifier
        .verify_server_cert(leaf, &[], &name, &[], time)
        .is_ok()
}

fn key_pair(pem: &SecretSlice<u8>) -> Option<KeyPair> {
    let pem = std::str::from_utf8(pem.expose_secret()).ok()?;
    KeyPair::from_pem(pem).ok()
}

fn belongs(key: &KeyPair, certificate: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(certificate).is_ok_and(|(_, certificate)| {
        let public: &[u8] = &certificate.public_key().subject_public_key.data;
        public == key.public_key_raw()
    })
}

fn params(
    names: Vec<String>,
    common: &str,
    validity: Validity,
) -> Result<CertificateParams, MakeError> {
    let mut params = CertificateParams::new(names)?;
    params.not_before = OffsetDateTime::from_unix_timestamp(validity.not_before.as_second())?;
    params.not_after = OffsetDateTime::from_unix_timestamp(validity.not_after.as_second())?;
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, common);
    Ok(params)
}

/// The parameters of a CA. Leaves refer to it by name and key.
fn ca_params(name: &str, validity: Validity) -> Result<CertificateParams, MakeError> {
    let mut params = params(Vec::new(), name, validity)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn authority(
    key: &KeyPair,
    now: Timestamp,
    lifetime: Duration,
) -> Result<CertificateDer<'static>, MakeError> {
    // A name of its own, so that a verifier can tell two CAs apart.
    let name = format!("ecr-pull-secrets CA {}", now.strftime("%Y-%m-%dT%H:%M:%SZ"));
    let params = ca_params(&name, Validity::of_authority(now, lifetime))?;
    Ok(params.self_signed(key)?.into())
}

/// The name of one of our CAs.
fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?;
    name.as_str().ok().map(str::to_owned)
}

fn leaf(
    key: &KeyPair,
    signer: &CertificateDer<'static>,
    signing: KeyPair,
    now: Timestamp,
    lifetime: Duration,
    service: &str,
) -> Result<Vec<u8>, MakeError> {
    let of_signer = validity(signer)?;
    let name = common_name(signer).ok_or(MakeError::NoKey)?;
    let names = vec![service.to_owned(), format!("{service}.cluster.local")];
    let validity = Validity::of_leaf(now, lifetime, of_signer);
    let mut params = params(names, "ecr-pull-secrets", validity)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let issuer = Issuer::new(ca_params(&name, of_signer)?, signing);
    let signed = params.signed_by(key, &issuer)?;
    Ok(pem(signed.der()).into_bytes())
}

/// PEM with lines of 64 characters, as openssl writes it.
fn pem(der: &CertificateDer<'_>) -> String {
    let text = BASE64_STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII.
        let (line, after) = rest.split_at_checked(64).unwrap_or((rest, ""));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

#[cfg(test)]
mod tests;
