//! `do-nothing ADDRESS CERTIFICATES`: our listener with a handler that reads the body and gives a
//! constant answer. It ends when its stdin does.
//!
//! A crate of its own, so that it is built like the binary that ships: same profile, same flags.

use std::error::Error;
use std::io::{Read as _, stdin};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets::https_port::{
    Certificate, Connection, Connections, DrainSwitch, Files, Metrics, Service, serve, service,
};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use tokio::net::TcpListener;

/// Of a connection: longer than a benchmark.
const AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// As long as ours.
const ANSWER: &str = concat!(
    r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"0df28fbd-5f5f-11e8-bc74-36e6bb280816","#,
    r#""allowed":true,"patchType":"JSONPatch","patch":"W3sib3AiOiJhZGQiLCJwYXRoIjoiL3NwZWMvaW1hZ2VQdWxsU2VjcmV0cyIsInZhbHVlIjpb"#,
    r#"eyJuYW1lIjoiZWNyLXJlZ2lzdHJ5LWNyZWRlbnRpYWxzIn1dfV0=","auditAnnotations":{"outcome":"injected"}}}"#,
);

struct Nothing;

impl Service for Nothing {
    async fn answer(
        &self,
        request: Request<Incoming>,
        connection: &Connection,
    ) -> Response<Full<Bytes>> {
        let _ = request.into_body().collect().await;
        connection.request_received();
        connection.review_decoded();
        let mut response = Response::new(Full::from(ANSWER));
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
        return Err("want: do-nothing ADDRESS CERTIFICATES".into());
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
        Arc::new(Nothing),
        connections,
        switch.signal(),
    )
    .await;
    Ok(())
}
