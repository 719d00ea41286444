//! A public host of an OIDC issuer, for tests: it serves over TLS the documents that a test publishes there, as an operator
//! copies those of an API server to a bucket.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs as tls,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle, time::sleep};
use tokio_rustls::TlsAcceptor;

/// Path of the discovery document.
pub const DISCOVERY: &str = "/.well-known/openid-configuration";
/// Path of the key set, as API servers have it.
pub const KEY_SET: &str = "/openid/v1/jwks";

/// A running host. Dropping it stops it.
pub struct IssuerHost {
    address: SocketAddr,
    authority: String,
    site: Arc<Mutex<Site>>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Site {
    documents: HashMap<String, Bytes>,
    delays: VecDeque<Duration>,
    requests: u64,
}

impl IssuerHost {
    /// Serves on a free port of loopback, without documents. Must be called inside a tokio runtime.
    pub async fn start() -> io::Result<Self> {
        let names = vec!["127.0.0.1".to_owned()];
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let params = CertificateParams::new(names).map_err(io::Error::other)?;
        let certificate = params.self_signed(&key).map_err(io::Error::other)?;
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(tls::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .map_err(io::Error::other)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let site = Arc::new(Mutex::default());
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self {
            address,
            authority: certificate.pem(),
            accepting: tokio::spawn(accept(listener, acceptor, Arc::clone(&site))),
            site,
        })
    }

    /// The issuer: `https://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The CA of the host's certificate, in PEM.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Publishes a document, or replaces it.
    pub fn publish(&self, path: &str, document: &Value) {
        let text = Bytes::from(document.to_string());
        lock(&self.site).documents.insert(path.to_owned(), text);
    }

    /// Removes all documents.
    pub fn withdraw(&self) {
        lock(&self.site).documents.clear();
    }

    /// Delays the next answers, one each.
    pub fn delay(&self, delays: impl IntoIterator<Item = Duration>) {
        lock(&self.site).delays = delays.into_iter().collect();
    }

    /// Number of requests so far.
    pub fn requests(&self) -> u64 {
        lock(&self.site).requests
    }
}

impl Drop for IssuerHost {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock(site: &Mutex<Site>) -> MutexGuard<'_, Site> {
    site.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, site: Arc<Mutex<Site>>) {
    loop {
        // The error is the peer's, or no file descriptor is free; the next accept may succeed.
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let (acceptor, site) = (acceptor.clone(), Arc::clone(&site));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = service_fn(|request| answer(request, &site));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // The peer may end it at any time.
            let _ = connection.await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    site: &Mutex<Site>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (delay, document) = {
        let mut site = lock(site);
        site.requests += 1;
        let document = site.documents.get(request.uri().path()).cloned();
        (site.delays.pop_front(), document)
    };
    sleep(delay.unwrap_or_default()).await;
    let is_found = document.is_some();
    let mut response = Response::new(Full::from(document.unwrap_or_default()));
    if !is_found {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    Ok(response)
}
