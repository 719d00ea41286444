//! The two documents of an OIDC issuer, fetched over TLS: the discovery document, and the key set (JWKS) that it names.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::signature::RsaPublicKeyComponents;
use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as Http, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs as tls,
    pki_types::{CertificateDer, pem::PemObject},
};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::time::timeout;

use crate::{encoding::base64url_decode, oidc::Keys, spec};

/// Time for a document. AWS's support names 5 s (re:Post, "InvalidIdentityToken").
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Attempts for a document. With two that run out, a call takes some 13 s and succeeds, as it has been seen to.
const FETCH_ATTEMPTS: usize = 3;
/// The largest document in bytes.
const MAX_DOCUMENT: usize = 1024 * 1024;

/// What AWS requires of the discovery document.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
    #[serde(rename = "response_types_supported")]
    _response_types: Vec<String>,
    #[serde(rename = "subject_types_supported")]
    _subject_types: Vec<String>,
    #[serde(rename = "id_token_signing_alg_values_supported")]
    _algorithms: Vec<String>,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<PublicKey>,
}

/// A key; one that is not RSA has neither modulus nor exponent.
#[derive(Deserialize)]
struct PublicKey {
    kid: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

type Client = Http<HttpsConnector<HttpConnector>, Empty<Bytes>>;

/// The keys that a provider's issuer publishes; `None` if its documents cannot be had, whatever the reason: AWS gives none.
pub(crate) async fn keys(provider: &spec::OidcProvider) -> Option<Keys> {
    let http = client(&provider.authority)?;
    let issuer = provider.issuer.trim_end_matches('/');
    let url = format!("{issuer}/.well-known/openid-configuration");
    let discovery: Discovery = document(&http, &url).await?;
    if discovery.issuer != provider.issuer {
        return None;
    }
    let set: KeySet = document(&http, &discovery.jwks_uri).await?;
    let key = |key: PublicKey| {
        let n = base64url_decode(&key.n?)?;
        let e = base64url_decode(&key.e?)?;
        Some((key.kid?, RsaPublicKeyComponents { n, e }))
    };
    Some(set.keys.into_iter().filter_map(key).collect())
}

fn client(authority: &str) -> Option<Client> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        roots.add(certificate.ok()?).ok()?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(tls::default_provider()))
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_only()
        .enable_http1()
        .build();
    Some(Http::builder(TokioExecutor::new()).build(connector))
}

async fn document<T: DeserializeOwned>(http: &Client, url: &str) -> Option<T> {
    let url: http::Uri = url.parse().ok()?;
    for _ in 0..FETCH_ATTEMPTS {
        if let Ok(body) = timeout(FETCH_TIMEOUT, body(http, &url)).await {
            return serde_json::from_slice(&body?).ok();
        }
    }
    None
}

async fn body(http: &Client, url: &http::Uri) -> Option<Bytes> {
    let answer = http.get(url.clone()).await.ok()?;
    if answer.status() != StatusCode::OK {
        return None;
    }
    let body = Limited::new(answer.into_body(), MAX_DOCUMENT);
    Some(body.collect().await.ok()?.to_bytes())
}
