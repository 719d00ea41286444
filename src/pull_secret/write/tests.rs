use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};

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

#[tokio::test]
async fn pausing_writer_gives_its_turn_away() {
    let (client, refusals) = contended();
    let mut writer = SecretWriter::alone(client, Arc::default());
    writer.turns = WriteTurns::new(1);
    let (config, target) = (Config::default(), Target::new("team", "pull"));
    let contends = async {
        let turn = writer.turn().await;
        writer
            .write(&config, &target, &[], Trigger::admission, turn)
            .await
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
