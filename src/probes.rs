//! The plain port: `/healthz`, `/readyz`, `/metrics`.
//!
//! A replica is ready when its certificate is one that the API server accepts, and every watch has
//! its first list. AWS is no part of readiness. If all replicas turned unready during an AWS outage,
//! new pods would lack the reference permanently, and only a missing reference cannot be repaired
//! later. A replica is alive when its async runtime runs.
//!
//! All replicas turn unready when the certificate is expired or not valid yet. This costs nothing,
//! because the API server refuses every connection anyway, and the Deployment shows the fault. A
//! changed `caBundle` turns no replica unready that was ready before, because a replica that runs
//! sets it again.

mod port;
mod scrapes;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use ecr_pull_secrets_core::certificate::life::Validity;
use ecr_pull_secrets_core::token::expiries::expiries;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;

use self::scrapes::Scrapes;
use crate::certificate::served::Served;
use crate::clock;
use crate::cluster::watch::Synced;
use crate::engine::Engine;
use crate::https::drain::{DrainPhase, DrainSignal};
use crate::telemetry::metrics::Metrics;

/// Whether the API server accepts the certificate of the admission endpoint.
#[derive(Clone)]
pub(crate) struct CertificateReadiness {
    pub(crate) served: Served,
    /// Whether the API server has trusted our CA; only in self-signed mode.
    pub(crate) trusted: Option<watch::Receiver<bool>>,
}

impl CertificateReadiness {
    /// The missing condition; none when ready.
    fn missing(&self) -> Option<&'static str> {
        let fault = certificate_fault(self.served.validity(), clock::now());
        let has_trust = self
            .trusted
            .as_ref()
            .is_none_or(|trusted| *trusted.borrow());
        let distrust = "the registration's caBundle does not hold our CA yet";
        fault.or_else(|| (!has_trust).then_some(distrust))
    }
}

/// The conditions of readiness.
#[derive(Clone)]
pub(crate) struct Readiness {
    /// The certificate of the admission endpoint, if there is one.
    pub(crate) certificate: Option<CertificateReadiness>,
    /// The first complete lists of all watches.
    pub(crate) synced: Vec<Synced>,
    /// The progress of the shutdown.
    pub(crate) drain: DrainSignal,
}

impl Readiness {
    /// The missing condition; none when ready.
    fn missing(&self) -> Option<&'static str> {
        if self.drain.phase() != DrainPhase::Serving {
            return Some("draining");
        }
        let certificate = self.certificate.as_ref();
        if let Some(missing) = certificate.and_then(CertificateReadiness::missing) {
            return Some(missing);
        }
        (!self.synced.iter().all(Synced::is_synced)).then_some("not synced with the API server")
    }

    /// Waits for the first lists of all watches.
    pub(crate) async fn synced(mut self) {
        for synced in &mut self.synced {
            synced.synced().await;
        }
    }
}

fn certificate_fault(served: Option<Validity>, now: Timestamp) -> Option<&'static str> {
    match served {
        None => Some("no serving certificate"),
        Some(validity) if validity.covers(now) => None,
        Some(validity) if now < validity.not_before => Some("serving certificate not valid yet"),
        Some(_) => Some("serving certificate expired"),
    }
}

/// Serves the plain port. Never returns.
pub(crate) async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    metrics: Metrics,
    engine: Arc<Engine>,
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
    let served = Arc::new((Scrapes::default(), metrics, engine));
    let scrape = move || {
        let served = served.clone();
        async move {
            let (scrapes, metrics, engine) = &*served;
            let survey = || survey(metrics, engine);
            let text = scrapes
                .text(Instant::now(), survey, || metrics.encode())
                .await;
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(CONTENT_TYPE, kind)], text)
        }
    };
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(scrape));
    port::serve(listener, routes).await;
}

/// Sets the metrics that follow from all Secrets and tokens.
fn survey(metrics: &Metrics, engine: &Engine) {
    #[allow(clippy::cast_precision_loss, reason = "seconds fit")]
    let earliest = engine
        .earliest_expiry()
        .map_or(0.0, |time| time.as_second() as f64);
    metrics.secret_expiry.set(earliest);
    metrics
        .secrets_foreign
        .set(i64::try_from(engine.ledger.read().foreign()).unwrap_or(i64::MAX));
    let tokens = engine.supply.tokens();
    let held = tokens.iter().map(|(key, token)| (key, token));
    let expiries = expiries(&engine.live.snapshot().rules, held);
    metrics.set_tokens(engine.supply.len(), expiries);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_counts_while_it_is_valid() {
        let now = clock::now();
        let hour = jiff::SignedDuration::from_hours(1);
        let fault = |not_before, not_after| {
            let validity = Validity {
                not_before,
                not_after,
            };
            certificate_fault(Some(validity), now)
        };
        assert_eq!(fault(now, now + hour), None);
        let early = fault(now + hour, now + hour * 2);
        assert_eq!(early, Some("serving certificate not valid yet"));
        assert_eq!(fault(now - hour, now), Some("serving certificate expired"));
        assert_eq!(certificate_fault(None, now), Some("no serving certificate"));
    }
}
