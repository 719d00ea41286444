//! The plain port: `/healthz`, `/readyz`, `/metrics`.
//!
//! Ready means: a certificate is served that the API server takes, and memory is complete. AWS is
//! no part of it: if every replica turned unready because AWS is down, pods would lose their
//! reference for good, and that is the one thing that cannot be repaired. Alive means that the
//! runtime turns.
//!
//! An expired certificate is part of it, though it is the same in all replicas: the API server
//! refuses every connection then, so that being asked is worth nothing, and whoever looks at the
//! Deployment sees why. That the API server once knew our CA is enough for ever: a `caBundle` that
//! somebody spoils is mended, by a replica that goes on.

mod port;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::clock;
use crate::cluster::watch::Synced;
use crate::https::certificate::Served;
use crate::https::drain::{Phase, Signal};
use crate::scope::Scope;
use crate::telemetry::metrics::Metrics;

/// What readiness is made of.
#[derive(Clone)]
pub struct Readiness {
    /// A certificate is served.
    pub certificate: Served,
    /// With a CA of our own: the API server has been seen to know it.
    pub trusted: Option<watch::Receiver<bool>>,
    /// Every watch has brought a first complete list.
    pub synced: Vec<Synced>,
    /// The process is not on its way out.
    pub drain: Signal,
}

impl Readiness {
    /// What is missing, in one word; nothing when ready.
    fn missing(&self) -> Option<&'static str> {
        if self.drain.phase() != Phase::Serving {
            return Some("draining");
        }
        match self.certificate.validity() {
            None => return Some("no serving certificate"),
            Some(validity) if validity.not_after <= clock::now() => {
                return Some("serving certificate expired");
            }
            Some(_) => {}
        }
        if self
            .trusted
            .as_ref()
            .is_some_and(|trusted| !*trusted.borrow())
        {
            return Some("the registration's caBundle does not hold our CA yet");
        }
        (!self.synced.iter().all(Synced::is_synced)).then_some("not synced with the API server")
    }

    /// Waits until memory is complete.
    pub async fn synced(mut self) {
        for synced in &mut self.synced {
            synced.synced().await;
        }
    }
}

/// Serves the plain port, for ever.
pub async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    metrics: Metrics,
    scope: Arc<Scope>,
) {
    let ready = move || {
        let missing = readiness.missing();
        async move {
            match missing {
                None => (StatusCode::OK, "ok\n".to_owned()),
                Some(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("{missing}\n")),
            }
        }
    };
    let scrape = move || {
        #[allow(clippy::cast_precision_loss, reason = "seconds fit")]
        let earliest = scope
            .earliest_expiry()
            .map_or(0.0, |time| time.as_second() as f64);
        metrics.secret_expiry.set(earliest);
        metrics
            .secrets_foreign
            .set(i64::try_from(scope.ledger.foreign()).unwrap_or(i64::MAX));
        let text = metrics.encode();
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        async move { ([(CONTENT_TYPE, kind)], text) }
    };
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(scrape));
    port::serve(listener, routes).await;
}
