//! The plain port: `/healthz`, `/readyz`, `/metrics`.
//!
//! Ready means: a certificate is served that the API server takes, and memory is complete. AWS is
//! no part of it: if every replica turned unready because AWS is down, pods would lose their
//! reference for good, and that is the one thing that cannot be repaired. Alive means that the
//! runtime turns.
//!
//! An expired certificate, or one that is not good yet, is part of it, though it is the same in all replicas: the API server
//! refuses every connection then, so that being asked is worth nothing, and whoever looks at the
//! Deployment sees why. That the API server once knew our CA is enough for ever: a `caBundle` that
//! somebody spoils is mended, by a replica that goes on.

mod port;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use ecr_pull_secrets_core::certificate::life::Validity;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::certificate::served::Served;
use crate::clock;
use crate::cluster::watch::Synced;
use crate::engine::Engine;
use crate::https::drain::{Phase, Signal};
use crate::telemetry::metrics::Metrics;

/// What readiness is made of.
#[derive(Clone)]
pub(crate) struct Readiness {
    /// A certificate is served.
    pub(crate) certificate: Served,
    /// With a CA of our own: the API server has been seen to know it.
    pub(crate) trusted: Option<watch::Receiver<bool>>,
    /// Every watch has brought a first complete list.
    pub(crate) synced: Vec<Synced>,
    /// The process is not on its way out.
    pub(crate) drain: Signal,
}

impl Readiness {
    /// What is missing, in one word; nothing when ready.
    fn missing(&self) -> Option<&'static str> {
        if self.drain.phase() != Phase::Serving {
            return Some("draining");
        }
        if let Some(missing) = lacks(self.certificate.validity(), clock::now()) {
            return Some(missing);
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
    pub(crate) async fn synced(mut self) {
        for synced in &mut self.synced {
            synced.synced().await;
        }
    }
}

/// What is wrong with the certificate that is served.
fn lacks(served: Option<Validity>, now: Timestamp) -> Option<&'static str> {
    match served {
        None => Some("no serving certificate"),
        Some(validity) if validity.covers(now) => None,
        Some(validity) if now < validity.not_before => Some("serving certificate not valid yet"),
        Some(_) => Some("serving certificate expired"),
    }
}

/// Serves the plain port, for ever.
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
    let scrape = move || {
        #[allow(clippy::cast_precision_loss, reason = "seconds fit")]
        let earliest = engine
            .earliest_expiry()
            .map_or(0.0, |time| time.as_second() as f64);
        metrics.secret_expiry.set(earliest);
        metrics
            .secrets_foreign
            .set(i64::try_from(engine.ledger.foreign()).unwrap_or(i64::MAX));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_counts_while_it_is_good() {
        let now = clock::now();
        let hour = jiff::SignedDuration::from_hours(1);
        let lacks = |not_before, not_after| {
            let validity = Validity {
                not_before,
                not_after,
            };
            lacks(Some(validity), now)
        };
        assert_eq!(lacks(now, now + hour), None);
        let early = lacks(now + hour, now + hour * 2);
        assert_eq!(early, Some("serving certificate not valid yet"));
        assert_eq!(lacks(now - hour, now), Some("serving certificate expired"));
        assert_eq!(super::lacks(None, now), Some("no serving certificate"));
    }
}
