//! The certificate that the listener serves: one pair, swapped in one step for new connections.
//!
//! A pair comes from mounted files ([`super::files`]), or from a Secret that the replicas manage
//! ([`super::self_signed`]). It must parse, and key and certificate must fit together. A pair that
//! is invalid at the moment, or not for our Service, never replaces a better one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

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

use super::chain::{ChainError, LeafPath, UnfitLeaf, check_fit, validity};
use crate::clock;
use crate::telemetry::chain::chain as with_sources;
use crate::telemetry::metrics::Metrics;

/// The interval between two checks for expiry.
const EXPIRY_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The interval between two reports of the same expiry.
const REMINDER_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// The reason why a pair is not loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("tls.crt: {0}")]
    Chain(#[from] ChainError),
    #[error("tls.key holds no private key in PKCS#8, PKCS#1 or SEC1")]
    Key,
    #[error("tls.key does not belong to tls.crt: {0}")]
    Mismatch(rustls::Error),
    /// The pair is invalid at the moment, and the served pair is valid.
    #[error(
        "tls.crt with its intermediate certificates is valid from {not_before} to {not_after}, and the served pair is valid now"
    )]
    NotValidNow {
        not_before: Timestamp,
        not_after: Timestamp,
    },
    /// The chain lacks an issuer that the served chain has.
    #[error(
        "tls.crt lacks the certificate of its issuer {0}, and the served pair has it: put the whole chain into tls.crt"
    )]
    Shortened(String),
    /// The pair is for another name, and the served pair is for the Service.
    #[error("tls.crt is not for our Service, and the served pair is: {0}")]
    Unfit(#[from] UnfitLeaf),
}

impl CertificateError {
    /// Whether the same pair may load later, when the served pair has expired.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::NotValidNow { .. } | Self::Shortened(_))
    }
}

/// The DNS name by which the API server calls us, if this is our namespace.
pub fn service(namespace: &str) -> String {
    format!("{OWNER}.{namespace}.svc")
}

/// A certificate with its chain and key.
pub(crate) struct Pair {
    certified: Arc<CertifiedKey>,
    validity: PairValidity,
}

/// The validity of a leaf, alone and with its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PairValidity {
    pub(super) leaf: Validity,
    /// The time in which the leaf and its intermediate certificates are all valid. The pair may
    /// outlive it: a verifier that trusts an intermediate certificate ignores those above.
    pub(super) chain: Validity,
}

impl PairValidity {
    /// The rank of the pair. A higher one is better.
    fn rank(self, now: Timestamp) -> u8 {
        u8::from(self.leaf.covers(now)) + u8::from(self.chain.covers(now))
    }
}

impl Pair {
    /// Parses PEM: the chain, leaf first, and a key in PKCS#8, PKCS#1 or SEC1.
    ///
    /// # Errors
    ///
    /// [`CertificateError`] says which of the two is wrong.
    pub(crate) fn parse(
        chain: &[u8],
        key: &[u8],
        provider: &CryptoProvider,
    ) -> Result<Self, CertificateError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(ChainError::Pem)?;
        let leaf = validity(chain.first().ok_or(ChainError::Empty)?)?;
        let path = LeafPath::of(&chain)?;
        let validity = PairValidity {
            leaf,
            chain: path.validity().unwrap_or(leaf),
        };
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| CertificateError::Key)?;
        let certified =
            CertifiedKey::from_der(chain, key, provider).map_err(CertificateError::Mismatch)?;
        Ok(Self {
            certified: Arc::new(certified),
            validity,
        })
    }

    /// The validity of the leaf.
    pub(crate) fn leaf_validity(&self) -> Validity {
        self.validity.leaf
    }

    /// The leaf in DER.
    pub(crate) fn leaf(&self) -> Option<&CertificateDer<'static>> {
        self.certified.cert.first()
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.validity.fmt(f)
    }
}

/// The pair that the listener serves: the last one that was loaded.
#[derive(Debug, Default)]
pub(super) struct Resolver(pub(super) ArcSwapOption<CertifiedKey>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

/// Whether a certificate is served, and its validity.
#[derive(Clone, Debug)]
pub(crate) struct Served(watch::Receiver<Option<PairValidity>>);

impl Served {
    /// The validity of the served leaf, if there is one.
    pub(crate) fn validity(&self) -> Option<Validity> {
        self.0.borrow().map(|validity| validity.leaf)
    }
}

/// The certificate that is served.
pub struct Certificate {
    pub(super) resolver: Arc<Resolver>,
    /// The provider of the keys.
    pub(crate) provider: Arc<CryptoProvider>,
    /// The DNS name of the Service.
    service: String,
    pub(super) metrics: Metrics,
    pub(super) served: watch::Sender<Option<PairValidity>>,
}

impl Certificate {
    /// Serves no pair yet. [`service`] gives the DNS name.
    pub fn new(provider: Arc<CryptoProvider>, service: String, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            resolver: Arc::default(),
            provider,
            service,
            metrics,
            served: watch::Sender::new(None),
        })
    }

    /// The TLS configuration of the listener. It never changes, although the pair behind it does.
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

    /// A handle for readiness.
    pub(crate) fn served(&self) -> Served {
        Served(self.served.subscribe())
    }

    /// Serves this pair from now on.
    ///
    /// # Errors
    ///
    /// [`CertificateError::NotValidNow`], [`CertificateError::Shortened`] or
    /// [`CertificateError::Unfit`]: the served pair stays.
    pub(crate) fn load(&self, pair: &Pair) -> Result<(), CertificateError> {
        let now = clock::now();
        let rank = |validity: PairValidity| validity.rank(now);
        let served = *self.served.borrow();
        let PairValidity { leaf, chain } = pair.validity;
        if rank(pair.validity) < served.map_or(0, rank) {
            return Err(CertificateError::NotValidNow {
                not_before: chain.not_before,
                not_after: chain.not_after,
            });
        }
        let served_for_us = self.resolver.0.load_full();
        let served_for_us = served_for_us.filter(|served| self.check_fit(served).is_ok());
        if served.is_some_and(|validity| validity.chain.covers(now))
            && let Some(served) = &served_for_us
            && let (Ok(path), Ok(whole)) = (
                LeafPath::of(&pair.certified.cert),
                LeafPath::of(&served.cert),
            )
            && let Some(missing) = path.missing_issuer(&whole)
        {
            return Err(CertificateError::Shortened(missing));
        }
        if let Err(error) = self.check_fit(&pair.certified) {
            if served_for_us.is_some() {
                return Err(error.into());
            }
            warn!(
                error = with_sources(&error),
                "the API server will refuse the serving certificate: it is not for our Service"
            );
        }
        self.resolver.0.store(Some(pair.certified.clone()));
        #[allow(clippy::cast_precision_loss, reason = "seconds fit")]
        let end = chain.not_after.as_second() as f64;
        self.metrics.certificate_expiry.set(end);
        self.metrics.certificate_reloaded("ok");
        let (not_before, not_after) = (chain.not_before, chain.not_after);
        info!(%not_before, %not_after, leaf_not_after = %leaf.not_after, "serving certificate loaded");
        self.served.send_replace(Some(pair.validity));
        Ok(())
    }

    fn check_fit(&self, certified: &CertifiedKey) -> Result<(), UnfitLeaf> {
        let leaf = certified.cert.first();
        leaf.map_or(Ok(()), |leaf| check_fit(leaf, &self.service))
    }

    /// Counts and logs a pair that cannot be loaded.
    pub(super) fn report_unusable(&self, error: &dyn std::error::Error) {
        let cause = Cause::CertificateUnusable;
        let is_served = self.served.borrow().is_some();
        let (error, remedy) = (with_sources(error), cause.remedy());
        warn!(cause = cause.name(), error, is_served, remedy, "{cause}");
        self.metrics.certificate_reloaded("error");
    }

    /// Logs when the served pair expires, and again every hour. Never returns.
    pub(crate) async fn report_expiry(self: Arc<Self>) {
        let mut tick = interval(EXPIRY_CHECK_INTERVAL);
        let mut reported: Option<(PairValidity, &str, Instant)> = None;
        loop {
            let now = tick.tick().await;
            let expired = self
                .served
                .borrow()
                .filter(|validity| validity.chain.not_after <= clock::now());
            let Some(validity) = expired else {
                reported = None;
                continue;
            };
            let part = if validity.leaf.not_after <= clock::now() {
                "leaf"
            } else {
                "intermediate"
            };
            let is_reported = |(of, of_part, at)| {
                (of, of_part) == (validity, part) && now < at + REMINDER_INTERVAL
            };
            if reported.is_some_and(is_reported) {
                continue;
            }
            reported = Some((validity, part, now));
            let cause = Cause::CertificateExpired;
            let (not_after, remedy) = (validity.chain.not_after, cause.remedy());
            warn!(cause = cause.name(), %not_after, part, remedy, "{cause}");
        }
    }
}
