use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::pending;
use std::path::Path;
use std::time::Duration;

use ecr_pull_secrets_core::config::Config;
use http::header::ACCEPT;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Bytes;
use kube::Client;
use kube::client::Body;
use serde_json::json;
use tokio::time::timeout;
use tower::service_fn;

use super::*;
use crate::cluster::client::Clients;
use crate::cluster::look_ups::LookUps;
use crate::engine::Blueprint;
use crate::telemetry::metrics::Metrics;

const LIMIT: Duration = Duration::from_secs(30);
/// What tenants write, and can make large.
const WATCHED: [&str; 3] = [
    "/api/v1/secrets",
    "/api/v1/namespaces",
    "/api/v1/serviceaccounts",
];
/// The ways to ask for it: a list that is streamed, one in pages, and a watch.
const WAYS: [&str; 3] = ["stream", "page", "watch"];

/// A request for one of them: its path, its way, and whether it asks for metadata alone.
type Asked = (String, &'static str, bool);

fn asked(request: &Request<Body>) -> Asked {
    let query = request.uri().query().unwrap_or_default();
    let way = match query.contains("watch=true") {
        true if query.contains("sendInitialEvents=true") => WAYS[0],
        true => WAYS[2],
        false => WAYS[1],
    };
    let accept = request.headers().get(ACCEPT).map(|it| it.to_str().unwrap());
    let is_metadata = accept.is_some_and(|accept| {
        let mut kinds = accept.split(',');
        kinds.all(|kind| kind.contains("as=PartialObjectMetadata"))
    });
    (request.uri().path().to_owned(), way, is_metadata)
}

#[tokio::test]
async fn watches_ask_for_metadata_alone() {
    let (asks, mut seen) = mpsc::unbounded_channel();
    // It streams no list, and has no object.
    let service = service_fn(move |request: Request<Body>| {
        let asked = asked(&request);
        let way = asked.1;
        let _ = asks.send(asked);
        async move {
            let (code, body) = match way {
                "stream" => (400, json!({ "kind": "Status", "code": 400, "reason": "" })),
                "page" => (
                    200,
                    json!({ "metadata": { "resourceVersion": "1" }, "items": [] }),
                ),
                _ => pending().await,
            };
            let answer = Response::builder().status(code);
            let answer = answer.body(Full::new(Bytes::from(body.to_string())));
            Ok::<_, Infallible>(answer.unwrap())
        }
    });
    let client = Client::new(service, "default");
    let (engine, events) = Engine::build(Blueprint {
        config: Config::default(),
        clients: Clients {
            watch: client.clone(),
            call: client,
            look_ups: LookUps::default(),
        },
        namespace: "ours",
        aws_credentials_dir: Path::new("none"),
        metrics: Metrics::default(),
    });
    let (_resign, resigned) = watch::channel(false);
    let mut tasks = Tasks::default();
    start(&engine, events, resigned, &mut tasks);
    let mut missing: BTreeSet<_> = WATCHED
        .into_iter()
        .flat_map(|path| WAYS.map(|way| (path.to_owned(), way)))
        .collect();
    while !missing.is_empty() {
        let (path, way, is_metadata) = timeout(LIMIT, seen.recv()).await.unwrap().unwrap();
        if WATCHED.contains(&&*path) {
            assert!(is_metadata, "{way} of {path}");
            missing.remove(&(path, way));
        }
    }
}
