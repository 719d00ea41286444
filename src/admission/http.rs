//! `POST /mutate`: limits and status codes around [`Admission`].
//!
//! A status other than 200 makes the API server fall back to its `failurePolicy`, so they are kept
//! for what is no review at all (4xx), for overload and for our own bugs (5xx). Whoever sends the
//! former may send many: they are counted, and logged at DEBUG only.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::admission::review::{InvalidReview, decode, encode};
use futures::FutureExt as _;
use http::header::{ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use tokio::task::block_in_place;
use tokio::time::Instant;
use tracing::{debug, error};

use super::handler::{Admission, Crowded};
use crate::https::body::{Bodies, BodyError};
use crate::https::connection::Service;
use crate::https::connections::Connection;
use crate::telemetry::metrics::Metrics;

/// The API server's default when it does not say how long it waits: the registration's 5 s.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// Whoever asks for more does not get it: a review holds its body until it is answered.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(10);
/// For the way back.
const MARGIN: Duration = Duration::from_millis(500);
/// What is said of a request that is none, in bytes.
const LONGEST_TEXT: usize = 256;
/// A body of so many bytes takes a millisecond to read, in which others are not to wait.
const LONG: usize = 128 * 1024;

/// Why a request gets no review for an answer.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("there is /mutate and nothing else")]
    Path,
    #[error("a review is posted")]
    Method,
    #[error("the content type must be application/json")]
    ContentType,
    #[error("the content must not be encoded")]
    Encoding,
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Crowded(#[from] Crowded),
    #[error(transparent)]
    Review(#[from] InvalidReview),
    #[error("cannot write an answer")]
    Answer(#[source] serde_json::Error),
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Path => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::ContentType | Self::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Body(BodyError::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body(BodyError::Broken(_)) | Self::Review(_) => StatusCode::BAD_REQUEST,
            Self::Body(BodyError::NoBudget) | Self::Crowded(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Answer(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// The answer of `/mutate`.
pub(crate) struct Webhook {
    admission: Admission,
    metrics: Metrics,
    bodies: Bodies,
}

impl Webhook {
    /// Answers by this admission.
    pub(crate) fn new(admission: Admission, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            admission,
            metrics,
            bodies: Bodies::default(),
        })
    }

    async fn review(
        &self,
        request: Request<Incoming>,
        connection: &Connection,
    ) -> Result<Vec<u8>, Refusal> {
        let (head, body) = request.into_parts();
        check(&head.method, &head.uri, &head.headers)?;
        let deadline = Instant::now() + patience(&head.uri).saturating_sub(MARGIN);
        let body = self.bodies.read(body, connection).await?;
        let mut timing = Timing::start(&self.metrics);
        let bytes = body.bytes();
        let review = if bytes.len() < LONG {
            decode(bytes)
        } else {
            block_in_place(|| decode(bytes))
        };
        let review = review.inspect_err(|_| timing.forget())?;
        connection.is_understood();
        let answer = self.admission.admit(&review, deadline).await;
        let answer = answer.inspect_err(|Crowded| timing.forget())?;
        self.metrics.admitted(answer.outcome, answer.cause);
        encode(&answer).map_err(Refusal::Answer)
    }

    fn refuse(&self, refusal: &Refusal) -> Response<Full<Bytes>> {
        let status = refusal.status();
        let mut text = refusal.to_string();
        // It may quote the request, and whoever sent it may not read it for a while.
        text.truncate(text.floor_char_boundary(LONGEST_TEXT));
        text.shrink_to_fit();
        debug!(status = status.as_u16(), refusal = text, "request refused");
        text.push('\n');
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        match status {
            // The API server tries again each second on the same connection; on a new one it finds
            // a replica that is not overloaded.
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
                self.metrics.admission_shed.inc();
                return response;
            }
            StatusCode::PAYLOAD_TOO_LARGE => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(ALLOW, HeaderValue::from_static("POST"));
            }
            _ => {}
        }
        self.metrics.admission_refused(status);
        response
    }
}

impl Service for Webhook {
    async fn answer(
        &self,
        request: Request<Incoming>,
        connection: &Connection,
    ) -> Response<Full<Bytes>> {
        let answer = AssertUnwindSafe(self.review(request, connection)).catch_unwind();
        match answer.await {
            Ok(Ok(review)) => {
                let mut response = Response::new(Full::from(review));
                let json = HeaderValue::from_static("application/json");
                response.headers_mut().insert(CONTENT_TYPE, json);
                response
            }
            Ok(Err(refusal)) => self.refuse(&refusal),
            // What the panic says stays untold: it may quote what it was working on.
            Err(_) => {
                self.metrics.admission_panics.inc();
                error!("panic while answering a review");
                let mut response = Response::new(Full::default());
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                response
            }
        }
    }
}

fn check(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    if uri.path() != "/mutate" {
        return Err(Refusal::Path);
    }
    if method != Method::POST {
        return Err(Refusal::Method);
    }
    if !is_json(headers) {
        return Err(Refusal::ContentType);
    }
    let encoding = headers.get(CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Refusal::Encoding);
    }
    Ok(())
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

/// How long the caller waits, as far as we do.
fn patience(uri: &Uri) -> Duration {
    let mut parameters = uri.query().unwrap_or_default().split('&');
    let timeout = parameters.find_map(|parameter| parameter.strip_prefix("timeout="));
    timeout
        .and_then(seconds)
        .map_or(DEFAULT_TIMEOUT, |timeout| timeout.min(LONGEST_TIMEOUT))
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
    started: Option<Instant>,
}

impl<'a> Timing<'a> {
    fn start(metrics: &'a Metrics) -> Self {
        metrics.admission_in_flight.inc();
        Self {
            metrics,
            started: Some(Instant::now()),
        }
    }

    /// It was no answer.
    fn forget(&mut self) {
        self.started = None;
    }
}

impl Drop for Timing<'_> {
    fn drop(&mut self) {
        self.metrics.admission_in_flight.dec();
        if let Some(started) = self.started {
            let took = started.elapsed().as_secs_f64();
            self.metrics.admission_duration.observe(took);
        }
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
    fn nobody_is_waited_for_longer_than_ten_seconds() {
        let patience = |uri| patience(&Uri::from_static(uri));
        assert_eq!(patience("/mutate?timeout=3s"), Duration::from_secs(3));
        assert_eq!(patience("/mutate?a=b&timeout=10s"), LONGEST_TIMEOUT);
        assert_eq!(patience("/mutate?timeout=30s"), LONGEST_TIMEOUT);
        for unsaid in ["/mutate", "/mutate?timeout=31s", "/mutate?timeout"] {
            assert_eq!(patience(unsaid), DEFAULT_TIMEOUT, "{unsaid}");
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
