//! `do-nothing ADDRESS CERTIFICATES [echo|patch]`: our listener with a handler that does nothing. It reads
//! the body and sends a constant answer. As `echo` it answers with the review's uid, and as `patch` with
//! the uid and a constant patch. The process ends when its stdin does.
//!
//! A crate of its own, because then the same profile and flags build it as the binary that ships.

use std::error::Error;
use std::io::{Read as _, stdin};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets::https_port::{
    Certificate, Connection, Connections, DrainSwitch, Files, Metrics, Service, serve, service,
};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Collected, Full};
use hyper::body::{Bytes, Incoming};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;

/// Age at which a connection is closed: longer than any benchmark.
const AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// An answer of the same length as ours.
const ANSWER: &str = concat!(
    r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"0df28fbd-5f5f-11e8-bc74-36e6bb280816","#,
    r#""allowed":true,"patchType":"JSONPatch","patch":"W3sib3AiOiJhZGQiLCJwYXRoIjoiL3NwZWMvaW1hZ2VQdWxsU2VjcmV0cyIsInZhbHVlIjpb"#,
    r#"eyJuYW1lIjoiZWNyLXJlZ2lzdHJ5LWNyZWRlbnRpYWxzIn1dfV0=","auditAnnotations":{"outcome":"injected"}}}"#,
);

/// Our patch of a pod without references, in base64:
/// `[{"op":"add","path":"/spec/imagePullSecrets","value":[{"name":"ecr-registry-credentials"}]}]`.
const PATCH: &str = concat!(
    "W3sib3AiOiJhZGQiLCJwYXRoIjoiL3NwZWMvaW1hZ2VQdWxsU2VjcmV0cyIsInZhbHVlIjpb",
    "eyJuYW1lIjoiZWNyLXJlZ2lzdHJ5LWNyZWRlbnRpYWxzIn1dfV0=",
);

/// What the handler does with a review.
#[derive(Clone, Copy)]
enum Handler {
    /// Read it, and send a constant answer.
    Constant,
    /// Read it as JSON, and answer with its uid and `allowed: true`.
    Echo,
    /// The same, with the patch that we send for a pod without references.
    Patch,
}

/// The only field of a review that an answer needs.
#[derive(Deserialize)]
struct Review<'a> {
    #[serde(borrow)]
    request: Asked<'a>,
}

#[derive(Deserialize)]
struct Asked<'a> {
    uid: &'a str,
}

impl Handler {
    /// The answer to a body; none if it is no review.
    fn respond(self, body: Collected<Bytes>) -> Option<Full<Bytes>> {
        match self {
            Self::Constant => Some(Full::from(ANSWER)),
            Self::Echo | Self::Patch => {
                let body = body.to_bytes();
                let review: Review<'_> = serde_json::from_slice(&body).ok()?;
                let mut response = json!({ "uid": review.request.uid, "allowed": true });
                if let Self::Patch = self {
                    response["patchType"] = json!("JSONPatch");
                    response["patch"] = json!(PATCH);
                }
                let answer = json!({
                    "apiVersion": "admission.k8s.io/v1",
                    "kind": "AdmissionReview",
                    "response": response,
                });
                Some(Full::from(answer.to_string()))
            }
        }
    }
}

impl Service for Handler {
    async fn answer(
        &self,
        request: Request<Incoming>,
        connection: &Connection,
    ) -> Response<Full<Bytes>> {
        let body = request.into_body().collect().await;
        connection.request_received();
        let Some(answer) = body.ok().and_then(|body| self.respond(body)) else {
            let mut refused = Response::default();
            *refused.status_mut() = StatusCode::BAD_REQUEST;
            return refused;
        };
        connection.review_decoded();
        let mut response = Response::new(answer);
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    std::thread::spawn(|| {
        let _ = stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let mut words = std::env::args().skip(1);
    let (Some(address), Some(certificates)) = (words.next(), words.next()) else {
        return Err("usage: do-nothing ADDRESS CERTIFICATES [echo]".into());
    };
    let handler = match words.next().as_deref() {
        None => Handler::Constant,
        Some("echo") => Handler::Echo,
        Some("patch") => Handler::Patch,
        Some(word) => return Err(format!("no such handler: {word}").into()),
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let certificate = Certificate::new(provider, service("ecr-pull-secrets"), Metrics::default());
    let tls = Arc::new(certificate.server_config()?);
    tokio::spawn(Files::new(Path::new(&certificates), certificate).run());
    let listener = TcpListener::bind(&address).await?;
    let connections = Connections::new(AGE, Metrics::default());
    let switch = DrainSwitch::default();
    serve(
        listener,
        tls,
        Arc::new(handler),
        connections,
        switch.signal(),
    )
    .await;
    Ok(())
}
