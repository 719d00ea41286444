//! The serving certificate, from two files that somebody else keeps.
//!
//! The directory is that of a mounted Secret: `tls.crt` with the whole chain, `tls.key` in PKCS#8,
//! PKCS#1 or SEC1. It is read every ten seconds and compared byte by byte; what parses and fits
//! together replaces what is served, in one step, for new connections. What does not is reported
//! once, and the old certificate stays.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;
use tokio::time::interval;
use tracing::{info, warn};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::telemetry::metrics::Metrics;

/// How often the files are looked at. The kubelet itself takes up to a minute to change them.
const POLL: Duration = Duration::from_secs(10);

/// Why a pair of files is not taken up.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// One of them cannot be read.
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
}

/// What the listener serves: whatever was taken up last.
#[derive(Debug, Default)]
struct Resolver(ArcSwapOption<CertifiedKey>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

/// The bytes of both files.
#[derive(PartialEq, Eq)]
struct Pair {
    chain: Vec<u8>,
    key: Vec<u8>,
}

/// A certificate that follows its files.
pub struct Files {
    directory: PathBuf,
    resolver: Arc<Resolver>,
    provider: Arc<CryptoProvider>,
    metrics: Metrics,
    seen: Option<Result<Pair, String>>,
    loaded: watch::Sender<bool>,
}

impl Files {
    /// Nothing is read yet.
    pub fn new(directory: &Path, provider: Arc<CryptoProvider>, metrics: Metrics) -> Self {
        Self {
            directory: directory.to_owned(),
            resolver: Arc::default(),
            provider,
            metrics,
            seen: None,
            loaded: watch::Sender::new(false),
        }
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
    pub fn loaded(&self) -> watch::Receiver<bool> {
        self.loaded.subscribe()
    }

    /// Follows the files, for ever.
    pub async fn run(mut self) {
        let mut tick = interval(POLL);
        loop {
            tick.tick().await;
            self.look();
        }
    }

    fn look(&mut self) {
        let read = self.read().map_err(|error| error.to_string());
        if self.seen.as_ref() == Some(&read) {
            return;
        }
        let taken = match &read {
            Ok(pair) => self.take_up(pair).map_err(|error| error.to_string()),
            Err(error) => Err(error.clone()),
        };
        match taken {
            Ok(()) => self.metrics.certificate_reloaded("ok"),
            Err(error) => {
                let keeps = *self.loaded.borrow();
                warn!(error, keeps, "serving certificate not taken up");
                self.metrics.certificate_reloaded("error");
            }
        }
        self.seen = Some(read);
    }

    fn read(&self) -> Result<Pair, CertificateError> {
        let read = |name: &str| {
            let path = self.directory.join(name);
            fs::read(&path).map_err(|source| CertificateError::Read { path, source })
        };
        Ok(Pair {
            chain: read("tls.crt")?,
            key: read("tls.key")?,
        })
    }

    fn take_up(&self, pair: &Pair) -> Result<(), CertificateError> {
        let bad_chain = |error: &dyn std::error::Error| CertificateError::Chain(error.to_string());
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pair.chain)
            .collect::<Result<_, _>>()
            .map_err(|error| bad_chain(&error))?;
        let leaf = chain
            .first()
            .ok_or_else(|| CertificateError::Chain("no certificate".to_owned()))?;
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|error| bad_chain(&error))?;
        let not_after = parsed.validity().not_after.timestamp();
        let key = PrivateKeyDer::from_pem_slice(&pair.key).map_err(|_| CertificateError::Key)?;
        let certified = CertifiedKey::from_der(chain, key, &self.provider)
            .map_err(CertificateError::Mismatch)?;
        self.resolver.0.store(Some(Arc::new(certified)));
        #[allow(clippy::cast_precision_loss, reason = "seconds fit")]
        self.metrics.certificate_expiry.set(not_after as f64);
        info!(not_after, "serving certificate taken up");
        self.loaded.send_replace(true);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
