use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};

use ecr_pull_secrets_core::config::Config;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Bytes;
use kube::client::Body;
use serde_json::json;
use tower::service_fn;

use super::*;

/// A client of an API server where another writer is always quicker, and the number of its refusals.
fn contended() -> (Client, Arc<AtomicU32>) {
    let refusals = Arc::new(AtomicU32::new(0));
    let counted = refusals.clone();
    let service = service_fn(move |request: Request<Body>| {
        let (code, reason) = if request.method() == Method::GET {
            (404, "NotFound")
        } else {
            counted.fetch_add(1, Ordering::Relaxed);
            (409, "Conflict")
        };
        let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "", "reason": reason, "code": code, "details": { "name": "pull", "kind": "secrets" } });
        let answer = Response::builder().status(code);
        let answer = answer.body(Full::new(Bytes::from(status.to_string())));
        async move { Ok::<_, Infallible>(answer.unwrap()) }
    });
    (Client::new(service, "default"), refusals)
}

/// A mandate for this number of rounds.
struct Rounds(u32);

impl Mandate for Rounds {
    async fn review(&mut self) -> Result<Intent<'_>, Cause> {
        let left = self.0.checked_sub(1);
        self.0 = left.ok_or(Cause::NamespaceTerminating)?;
        let config = Config::default();
        Ok(Intent::new(&config, config.since, &[], Aim::Serving))
    }
}

#[tokio::test]
async fn contended_write_ends_with_its_mandate() {
    let (client, refusals) = contended();
    let writer = SecretWriter::alone(client, Arc::default());
    let (target, trigger) = (Target::new("team", "pull"), Trigger::admission);
    let turn = writer.turn().await;
    let mut mandate = Rounds(1);
    let written = writer.write(&target, &mut mandate, trigger, turn).await;
    assert_eq!(written, Err(Cause::NamespaceTerminating));
    assert_eq!(refusals.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn pausing_writer_gives_its_turn_away() {
    let (client, refusals) = contended();
    let mut writer = SecretWriter::alone(client, Arc::default());
    writer.turns = WriteTurns::new(1);
    let (target, trigger) = (Target::new("team", "pull"), Trigger::admission);
    let mut mandate = Rounds(ROUNDS);
    let contends = async {
        let turn = writer.turn().await;
        writer.write(&target, &mut mandate, trigger, turn).await
    };
    let next = async {
        let _turn = writer.turn().await;
        refusals.load(Ordering::Relaxed)
    };
    // The first has its turn before the second asks for one.
    tokio::select! {
        biased;
        result = contends => panic!("{result:?} before the second writer had a turn"),
        refusals = next => assert_eq!(refusals, 1),
    }
}
