//! The certificate that the listener serves: one pair, swapped in one step for new connections.
//!
//! Where it comes from is for others to know: files that somebody else keeps ([`super::files`]), or a
//! Secret that the replicas keep themselves ([`super::self_signed`]). Whatever they bring must parse and
//! fit together, and what is not good at the moment, or not for our Service, never replaces what is.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use arc_swap::ArcSwapOption;
use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::certificate::life::Validity;
use ecr_pull_secrets_core::pull_secret::OWNER;
use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;
use tokio::time::{Instant, interval};
use tracing::{info, warn};

use super::chain::{NotOurs, Path, fits, validity};
use crate::clock;
use crate::telemetry::metrics::Metrics;

/// How often is looked whether the end has come.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is said again that it has.
const REMIND: Duration = Duration::from_secs(60 * 60);

/// Why a pair is not taken up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    /// One of the files cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// `tls.crt` holds no certificate, or something else besides.
    #[error("tls.crt: {0}")]
    Chain(String),
    /// `tls.key` holds no private key.
    #[error("tls.key holds no private key in PKCS#8, PKCS#1 or SEC1")]
    Key,
    /// They do not fit together.
    #[error("tls.key does not belong to tls.crt: {0}")]
    Mismatch(rustls::Error),
    /// It is not good at the moment, and the one that is served is.
    #[error(
        "tls.crt with its intermediate certificates is good from {not_before} to {not_after}, and the one that is served is good now"
    )]
    NotGoodNow {
        /// The first moment.
        not_before: Timestamp,
        /// The end.
        not_after: Timestamp,
    },
    /// It breaks off where the one that is served goes on.
    #[error(
        "tls.crt lacks the certificate of {0} that signed it, and the one that is served has one: it must hold the whole chain"
    )]
    Shortened(String),
    /// It is another's, and the one that is served is ours.
    #[error("tls.crt is not for our Service, and the one that is served is: {0}")]
    Elsewhere(#[from] NotOurs),
}

/// What the API server calls us, if this is our namespace.
pub fn service(namespace: &str) -> String {
    format!("{OWNER}.{namespace}.svc")
}

/// A certificate with its chain and key, ready to be served.
pub(crate) struct Pair {
    certified: Arc<CertifiedKey>,
    terms: Terms,
}

/// When a certificate with its chain is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) leaf: Validity,
    /// Of the leaf and the intermediate certificates above it. Who trusts one of these himself does
    /// not need those above, so that an end of this one is no certain end.
    pub(super) chain: Validity,
}

impl Terms {
    /// More is better.
    fn worth(self, now: Timestamp) -> u8 {
        u8::from(self.leaf.covers(now)) + u8::from(self.chain.covers(now))
    }
}

impl Pair {
    /// Reads PEM: the chain, leaf first, and a key in PKCS#8, PKCS#1 or SEC1.
    ///
    /// # Errors
    ///
    /// [`CertificateError`] says which of the two is wrong.
    pub(crate) fn parse(
        chain: &[u8],
        key: &[u8],
        provider: &CryptoProvider,
    ) -> Result<Self, CertificateError> {
        let bad_chain = |error: &dyn std::error::Error| CertificateError::Chain(error.to_string());
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|error| bad_chain(&error))?;
        let leaf = chain
            .first()
            .ok_or_else(|| CertificateError::Chain("no certificate".to_owned()))?;
        let leaf = validity(leaf).map_err(CertificateError::Chain)?;
        let path = Path::of(&chain).map_err(CertificateError::Chain)?;
        let terms = Terms {
            leaf,
            chain: path.validity().unwrap_or(leaf),
        };
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| CertificateError::Key)?;
        let certified =
            CertifiedKey::from_der(chain, key, provider).map_err(CertificateError::Mismatch)?;
        Ok(Self {
            certified: Arc::new(certified),
            terms,
        })
    }

    /// Of the leaf.
    pub(crate) fn validity(&self) -> Validity {
        self.terms.leaf
    }

    /// The leaf in DER.
    pub(crate) fn leaf(&self) -> Option<&CertificateDer<'static>> {
        self.certified.cert.first()
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.terms.fmt(f)
    }
}

/// What the listener serves: whatever was taken up last.
#[derive(Debug, Default)]
pub(super) struct Resolver(pub(super) ArcSwapOption<CertifiedKey>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

/// Whether a certificate is served, and for how long it is good.
#[derive(Clone, Debug)]
pub(crate) struct Served(watch::Receiver<Option<Terms>>);

impl Served {
    /// Of the leaf. None: there is none yet.
    pub(crate) fn validity(&self) -> Option<Validity> {
        self.0.borrow().map(|terms| terms.leaf)
    }
}

/// The certificate that is served.
pub struct Certificate {
    pub(super) resolver: Arc<Resolver>,
    /// Of the keys.
    pub(crate) provider: Arc<CryptoProvider>,
    /// What the API server calls us.
    service: String,
    pub(super) metrics: Metrics,
    pub(super) served: watch::Sender<Option<Terms>>,
}

impl Certificate {
    /// None yet; see [`service`].
    pub fn new(provider: Arc<CryptoProvider>, service: String, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            resolver: Arc::default(),
            provider,
            service,
            metrics,
            served: watch::Sender::new(None),
        })
    }

    /// The configuration of the listener. It never changes; the certificate behind it does.
    ///
    /// # Errors
    ///
    /// When the crypto provider offers neither TLS 1.3 nor 1.2.
    pub fn server_config(&self) -> Result<ServerConfig, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(self.resolver.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// Whether a certificate is served.
    pub(crate) fn served(&self) -> Served {
        Served(self.served.subscribe())
    }

    /// Serves this one from now on.
    ///
    /// # Errors
    ///
    /// [`CertificateError::NotGoodNow`], [`CertificateError::Shortened`] or
    /// [`CertificateError::Elsewhere`]: the present one stays.
    pub(crate) fn take_up(&self, pair: &Pair) -> Result<(), CertificateError> {
        let now = clock::now();
        let worth = |terms: Terms| terms.worth(now);
        let present = *self.served.borrow();
        let Terms { leaf, chain } = pair.terms;
        if worth(pair.terms) < present.map_or(0, worth) {
            return Err(CertificateError::NotGoodNow {
                not_before: chain.not_before,
                not_after: chain.not_after,
            });
        }
        let present_of_ours = self.resolver.0.load_full();
        let present_of_ours = present_of_ours.filter(|present| self.fits(present).is_ok());
        if present.is_some_and(|terms| terms.chain.covers(now))
            && let Some(present) = &present_of_ours
            && let (Ok(path), Ok(whole)) = (Path::of(&pair.certified.cert), Path::of(&present.cert))
            && let Some(missing) = path.lacks_of(&whole)
        {
            return Err(CertificateError::Shortened(missing));
        }
        if let Err(error) = self.fits(&pair.certified) {
            if present_of_ours.is_some() {
                return Err(error.into());
            }
            warn!(%error, "the API server will refuse the serving certificate: it is not for our Service");
        }
        self.resolver.0.store(Some(pair.certified.clone()));
        #[allow(clippy::cast_precision_loss, reason = "seconds fit")]
        let end = chain.not_after.as_second() as f64;
        self.metrics.certificate_expiry.set(end);
        self.metrics.certificate_reloaded("ok");
        let (not_before, not_after) = (chain.not_before, chain.not_after);
        info!(%not_before, %not_after, leaf_not_after = %leaf.not_after, "serving certificate taken up");
        self.served.send_replace(Some(pair.terms));
        Ok(())
    }

    fn fits(&self, certified: &CertifiedKey) -> Result<(), NotOurs> {
        let leaf = certified.cert.first();
        leaf.map_or(Ok(()), |leaf| fits(leaf, &self.service))
    }

    /// Counts and tells that something was not taken up.
    pub(super) fn refused(&self, error: &str) {
        let cause = Cause::CertificateUnusable;
        let is_served = self.served.borrow().is_some();
        let remedy = cause.remedy();
        warn!(cause = cause.name(), error, is_served, remedy, "{cause}");
        self.metrics.certificate_reloaded("error");
    }

    /// Says when the end of what is served has come, and again every hour, for ever.
    pub(crate) async fn report_expiry(self: Arc<Self>) {
        let mut tick = interval(LOOK);
        let mut said: Option<(Terms, &str, Instant)> = None;
        loop {
            let now = tick.tick().await;
            let ended = self
                .served
                .borrow()
                .filter(|terms| terms.chain.not_after <= clock::now());
            let Some(terms) = ended else {
                said = None;
                continue;
            };
            let part = if terms.leaf.not_after <= clock::now() {
                "leaf"
            } else {
                "intermediate"
            };
            let is_said = |(about, of, when)| (about, of) == (terms, part) && now < when + REMIND;
            if said.is_some_and(is_said) {
                continue;
            }
            said = Some((terms, part, now));
            let cause = Cause::CertificateExpired;
            let (not_after, remedy) = (terms.chain.not_after, cause.remedy());
            warn!(cause = cause.name(), %not_after, part, remedy, "{cause}");
        }
    }
}
