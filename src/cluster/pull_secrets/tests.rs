use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use ecr_pull_secrets_core::pull_secret::content::Described;
use futures::future::join_all;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Bytes;
use kube::client::Body;
use secrecy::SecretString;
use tokio::task::yield_now;
use tower::service_fn;

use super::*;

/// Calls that begin together.
const CALLS: usize = 16;
/// What an answer waits for: the other calls have arrived by then, if they may.
const TURNS: usize = 1000;

/// An API server that counts its calls.
struct Server {
    api: PullSecretApi,
    /// The most calls at a time.
    most: Arc<AtomicUsize>,
}

impl Server {
    fn new() -> Self {
        let (under_way, most) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let seen = most.clone();
        let service = service_fn(move |_: Request<Body>| {
            let (under_way, seen) = (under_way.clone(), seen.clone());
            async move {
                let now = under_way.fetch_add(1, Ordering::Relaxed) + 1;
                seen.fetch_max(now, Ordering::Relaxed);
                for _ in 0..TURNS {
                    yield_now().await;
                }
                under_way.fetch_sub(1, Ordering::Relaxed);
                let body = Full::new(Bytes::from(r#"{"metadata":{"name":"pull"}}"#));
                Ok::<_, Infallible>(Response::new(body))
            }
        });
        Self {
            api: PullSecretApi::new(Client::new(service, "default")),
            most,
        }
    }

    /// Writes content of this length, for several targets at a time.
    async fn write(&self, length: usize) {
        let content = Content {
            docker_config: SecretString::from("x".repeat(length)),
            annotations: BTreeMap::new(),
            described: Described::default(),
        };
        let targets: Vec<_> = targets().collect();
        let writes = targets
            .iter()
            .map(|target| self.api.apply(target, None, &content));
        for written in join_all(writes).await {
            written.unwrap();
        }
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }
}

fn targets() -> impl Iterator<Item = Target> {
    (0..CALLS).map(|number| Target::new(number.to_string(), "pull"))
}

#[tokio::test]
async fn few_secrets_are_read_at_a_time() {
    let server = Server::new();
    // Each loop has a clone.
    let reads = targets().map(|target| {
        let api = server.api.clone();
        async move { api.read(&target).await }
    });
    for read in join_all(reads).await {
        assert!(read.unwrap().is_some());
    }
    assert_eq!(server.most(), MAX_CONTENTS);
}

#[tokio::test]
async fn few_large_secrets_are_written_at_a_time() {
    let server = Server::new();
    server.write(SMALL_CONTENT_BYTES + 1).await;
    assert_eq!(server.most(), MAX_CONTENTS);
    server.write(SMALL_CONTENT_BYTES).await;
    assert_eq!(server.most(), CALLS, "small ones need no slot");
}
