//! `POST /mutate`: bytes, limits and status codes around [`Admission`].
//!
//! A status other than 200 makes the API server fall back to its `failurePolicy`, so they are kept
//! for what is no review at all (4xx), for overload and for our own bugs (5xx).

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use ecr_pull_secrets_core::admission::review::{decode, encode};
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::{error, warn};

use super::handler::Admission;
use crate::telemetry::metrics::Metrics;

/// Two objects of at most 3 MB (`object` and `oldObject`) and 1 MB for what is around them.
const BODY_LIMIT: usize = 7 * 1024 * 1024;
/// The API server's default when it does not say how long it waits: the registration's 5 s.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// For the way back.
const MARGIN: Duration = Duration::from_millis(500);
/// Reviews at a time. One that waits for AWS holds its place for 2 s.
const IN_FLIGHT: usize = 1024;

#[derive(Clone)]
struct Shared {
    admission: Arc<Admission>,
    metrics: Metrics,
    places: Arc<Semaphore>,
}

/// The router of the HTTPS port.
pub fn router(admission: Arc<Admission>, metrics: Metrics) -> Router {
    let panics = metrics.clone();
    let shared = Shared {
        admission,
        metrics,
        places: Arc::new(Semaphore::new(IN_FLIGHT)),
    };
    Router::new()
        .route("/mutate", post(mutate))
        .with_state(shared)
        .layer(
            ServiceBuilder::new()
                .layer(CatchPanicLayer::custom(move |panic| {
                    on_panic(&panics, panic)
                }))
                .layer(DefaultBodyLimit::max(BODY_LIMIT)),
        )
}

#[derive(Deserialize)]
struct Parameters {
    timeout: Option<String>,
}

async fn mutate(
    State(shared): State<Shared>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Ok(_place) = shared.places.try_acquire() else {
        shared.metrics.admission_shed.inc();
        return overloaded();
    };
    if !is_json(&headers) {
        let text = "the content type must be application/json\n";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, text).into_response();
    }
    let guard = Timing::start(&shared.metrics);
    let review = match decode(&body) {
        Ok(review) => review,
        Err(error) => {
            warn!(%error, "not a review");
            return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response();
        }
    };
    let timeout = parameters
        .timeout
        .as_deref()
        .and_then(seconds)
        .unwrap_or(DEFAULT_TIMEOUT);
    let deadline = guard.started + timeout.saturating_sub(MARGIN);
    let answer = shared.admission.admit(&review, deadline).await;
    shared.metrics.admitted(answer.outcome, answer.cause);
    match encode(&answer) {
        Ok(bytes) => (
            [(CONTENT_TYPE, HeaderValue::from_static("application/json"))],
            bytes,
        )
            .into_response(),
        Err(error) => {
            error!(%error, "cannot write an answer");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The API server tries again each second on the same connection; on a new one it finds a replica
/// that is not overloaded.
fn overloaded() -> Response {
    let headers = [
        (RETRY_AFTER, HeaderValue::from_static("1")),
        (CONNECTION, HeaderValue::from_static("close")),
    ];
    (StatusCode::SERVICE_UNAVAILABLE, headers).into_response()
}

fn on_panic(metrics: &Metrics, _panic: Box<dyn Any + Send>) -> Response {
    // What the panic says stays untold: it may quote what it was working on.
    metrics.admission_panics.inc();
    error!("panic while answering a review");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    value
        .split(';')
        .next()
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// `5s`, as the API server writes it: whole seconds, 1 to 30.
fn seconds(text: &str) -> Option<Duration> {
    let seconds: u64 = text.strip_suffix('s')?.parse().ok()?;
    (1..=30)
        .contains(&seconds)
        .then(|| Duration::from_secs(seconds))
}

/// Measures on every way out, panics and closed connections included.
struct Timing<'a> {
    metrics: &'a Metrics,
    started: Instant,
}

impl<'a> Timing<'a> {
    fn start(metrics: &'a Metrics) -> Self {
        metrics.admission_in_flight.inc();
        Self {
            metrics,
            started: Instant::now(),
        }
    }
}

impl Drop for Timing<'_> {
    fn drop(&mut self) {
        self.metrics.admission_in_flight.dec();
        self.metrics
            .admission_duration
            .observe(self.started.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_servers_timeout_is_read_and_nothing_else_is() {
        assert_eq!(seconds("5s"), Some(Duration::from_secs(5)));
        for odd in [
            "",
            "s",
            "5",
            "0s",
            "31s",
            "-1s",
            "5ms",
            "99999999999999999999s",
        ] {
            assert_eq!(seconds(odd), None, "{odd}");
        }
    }

    #[test]
    fn json_is_told_by_its_content_type() {
        let with = |value: &'static str| {
            HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))])
        };
        assert!(is_json(&with("application/json")));
        assert!(is_json(&with("Application/JSON; charset=utf-8")));
        assert!(!is_json(&with("text/plain")));
        assert!(!is_json(&HeaderMap::new()));
    }
}
