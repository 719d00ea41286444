//! `do-nothing ADDRESS CERTIFICATES`: our listener with a handler that reads the body and gives a
//! constant answer. It ends when its stdin does.
//!
//! A crate of its own, so that it is built like the binary that ships: same profile, same flags.

use std::error::Error;
use std::io::{Read as _, stdin};
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use ecr_pull_secrets::https::certificate::Files;
use ecr_pull_secrets::https::drain::Switch;
use ecr_pull_secrets::https::listener;
use ecr_pull_secrets::telemetry::metrics::Metrics;
use http::header::CONTENT_TYPE;
use tokio::net::TcpListener;

/// As long as ours.
const ANSWER: &str = concat!(
    r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"0df28fbd-5f5f-11e8-bc74-36e6bb280816","#,
    r#""allowed":true,"patchType":"JSONPatch","patch":"W3sib3AiOiJhZGQiLCJwYXRoIjoiL3NwZWMvaW1hZ2VQdWxsU2VjcmV0cyIsInZhbHVlIjpb"#,
    r#"eyJuYW1lIjoiZWNyLXJlZ2lzdHJ5LWNyZWRlbnRpYWxzIn1dfV0=","auditAnnotations":{"outcome":"injected"}}}"#,
);

async fn answer(body: Bytes) -> Response {
    drop(body);
    ([(CONTENT_TYPE, "application/json")], ANSWER).into_response()
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
    let files = Files::new(Path::new(&certificates), provider, Metrics::default());
    let tls = Arc::new(files.server_config()?);
    tokio::spawn(files.run());
    let router = Router::new()
        .route("/mutate", post(answer))
        .layer(DefaultBodyLimit::max(7 * 1024 * 1024));
    let listener = TcpListener::bind(&address).await?;
    let switch = Switch::default();
    listener::serve(listener, tls, router, switch.signal()).await;
    Ok(())
}
