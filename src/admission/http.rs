//! `POST /mutate`: limits and status codes around [`Admission`].
//!
//! A status other than 200 makes the API server fall back to its `failurePolicy`. So only requests
//! without a valid review get one (4xx), and overload and our own bugs (5xx). A hostile client may
//! send many of the former: they are counted, and logged at DEBUG only.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::admission::review::{InvalidReview, Review, decode, encode};
use futures::FutureExt as _;
use http::header::{ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use tokio::sync::Semaphore;
use tokio::task::block_in_place;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, error};

use super::handler::{Admission, Overloaded};
use crate::https::body::{BodyBudget, BodyError, LONG_BODY, ReadBody};
use crate::https::connection::Service;
use crate::https::connections::Connection;
use crate::telemetry::chain::chain;
use crate::telemetry::metrics::Metrics;

/// The time limit of a request without one: the registration's `timeoutSeconds`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest time limit, because a review holds its connection until it is answered.
const MAX_TIMEOUT: Duration = Duration::from_secs(10);
/// The part of the time limit that is left for the way back.
const MARGIN: Duration = Duration::from_millis(500);
/// The longest answer to an invalid request, in bytes.
const MAX_REFUSAL: usize = 256;

/// The reason why a request gets an error instead of a review.
#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error("the only path is /mutate")]
    Path,
    #[error("the only method is POST")]
    Method,
    #[error("the content type must be application/json")]
    ContentType,
    #[error("the content must not be encoded")]
    Encoding,
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    #[error(transparent)]
    Review(#[from] InvalidReview),
    #[error("cannot write an answer")]
    Answer(#[source] serde_json::Error),
}

impl RequestError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Path => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::ContentType | Self::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Body(BodyError::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body(BodyError::Broken(_)) | Self::Review(_) => StatusCode::BAD_REQUEST,
            Self::Body(BodyError::NoBudget) | Self::Overloaded(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Answer(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// The answer of `/mutate`.
pub(crate) struct Webhook {
    admission: Admission,
    metrics: Metrics,
    bodies: BodyBudget,
    /// The turn of a long body to be decoded: one at a time, so that hostile bodies take one core
    /// at most, and the memory for the view of one.
    long_decode: Semaphore,
}

impl Webhook {
    /// Answers by this admission.
    pub(crate) fn new(admission: Admission, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            admission,
            metrics,
            bodies: BodyBudget::default(),
            long_decode: Semaphore::new(1),
        })
    }

    async fn review(
        &self,
        request: Request<Incoming>,
        connection: &Connection,
    ) -> Result<Vec<u8>, RequestError> {
        let (head, body) = request.into_parts();
        check(&head.method, &head.uri, &head.headers)?;
        let deadline = Instant::now() + time_limit(&head.uri).saturating_sub(MARGIN);
        let body = self.bodies.read(body, connection).await?;
        let mut timing = Timing::start(&self.metrics);
        let config = self.admission.snapshot();
        let review = self.decode(body, &config.secret.name, deadline).await;
        let review = review.inspect_err(|_| timing.forget())?;
        connection.review_decoded();
        let answer = self.admission.admit(&review, &config, deadline).await;
        let answer = answer.inspect_err(|Overloaded| timing.forget())?;
        self.metrics.admitted(answer.outcome, answer.cause);
        encode(&answer).map_err(RequestError::Answer)
    }

    /// Decodes a review, and keeps of the names that the pod lists this one only. Frees the body:
    /// the review may wait for seconds.
    async fn decode(
        &self,
        body: ReadBody<'_>,
        secret: &str,
        deadline: Instant,
    ) -> Result<Review<'static>, RequestError> {
        let bytes = body.bytes();
        let decode = || {
            let mut review = decode(bytes)?;
            review.pod.forget_other_names(secret);
            Ok(review.into_owned())
        };
        // Decoding more takes about a millisecond, and blocks other requests.
        if bytes.len() < LONG_BODY {
            return decode();
        }
        let turn = timeout_at(deadline, self.long_decode.acquire()).await;
        let _turn = turn.map_err(|_| Overloaded)?;
        block_in_place(decode)
    }

    fn refuse(&self, refusal: &RequestError) -> Response<Full<Bytes>> {
        let status = refusal.status();
        // The text may quote the request, and the API server logs it. It stays in memory until the
        // client reads it.
        let mut text = chain(refusal);
        text.truncate(text.floor_char_boundary(MAX_REFUSAL));
        text.shrink_to_fit();
        debug!(status = status.as_u16(), refusal = text, "request refused");
        text.push('\n');
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        match status {
            // The API server retries each second on the same connection. On a new one it finds a
            // replica that is not overloaded.
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
            // The message of the panic is not logged, because it may quote the review.
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

fn check(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), RequestError> {
    if uri.path() != "/mutate" {
        return Err(RequestError::Path);
    }
    if method != Method::POST {
        return Err(RequestError::Method);
    }
    if !is_json(headers) {
        return Err(RequestError::ContentType);
    }
    let encoding = headers.get(CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(RequestError::Encoding);
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

/// The time limit that the API server names, within ours.
fn time_limit(uri: &Uri) -> Duration {
    let mut parameters = uri.query().unwrap_or_default().split('&');
    let timeout = parameters.find_map(|parameter| parameter.strip_prefix("timeout="));
    timeout
        .and_then(seconds)
        .map_or(DEFAULT_TIMEOUT, |timeout| timeout.min(MAX_TIMEOUT))
}

/// `5s`, as the API server writes it: whole seconds, 1 to 30.
fn seconds(text: &str) -> Option<Duration> {
    let seconds: u64 = text.strip_suffix('s')?.parse().ok()?;
    (1..=30)
        .contains(&seconds)
        .then(|| Duration::from_secs(seconds))
}

/// Measures each answer, also after a panic or when the connection closes.
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

    /// Leaves this request out of the measurement.
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
    fn time_limit_is_read_as_the_api_server_writes_it() {
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
    fn time_limit_is_at_most_ten_seconds() {
        let limit = |uri| time_limit(&Uri::from_static(uri));
        assert_eq!(limit("/mutate?timeout=3s"), Duration::from_secs(3));
        assert_eq!(limit("/mutate?a=b&timeout=10s"), MAX_TIMEOUT);
        assert_eq!(limit("/mutate?timeout=30s"), MAX_TIMEOUT);
        for absent in ["/mutate", "/mutate?timeout=31s", "/mutate?timeout"] {
            assert_eq!(limit(absent), DEFAULT_TIMEOUT, "{absent}");
        }
    }

    #[test]
    fn json_is_known_by_its_content_type() {
        let with = |value: &'static str| {
            HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))])
        };
        assert!(is_json(&with("application/json")));
        assert!(is_json(&with("Application/JSON; charset=utf-8")));
        assert!(!is_json(&with("text/plain")));
        assert!(!is_json(&HeaderMap::new()));
    }
}
