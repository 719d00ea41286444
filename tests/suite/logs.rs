//! What must never be in a log, an Event or a metric.

use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::api::events::v1::Event;
use kube::Resource as _;
use kube::api::{ListParams, Request};

use crate::frame::trials;
use crate::harness::replica::Replica;
use crate::harness::{Outcome, World};

trials!(no_log_holds_a_token_or_key);

/// Least length of a secret: a shorter one may occur in a log by chance.
const SHORTEST: usize = 16;
/// The length from which a part of a secret is a leak.
const LEAK: usize = 12;

async fn no_log_holds_a_token_or_key(world: Arc<World>) -> Outcome {
    search(&world).await
}

/// Searches all logs and Events of a world and the metrics of its running replicas for a part of any token, key or key id of
/// the stand-in, and of the token of the kubeconfig.
pub async fn search(world: &World) -> Outcome {
    let mut texts = world.logs();
    assert!(!texts.is_empty());
    texts.push(events(world).await);
    for replica in &world.replicas() {
        // A test may have stopped it.
        texts.extend(metrics(replica).await);
    }
    let secrets = world.aws.secrets().await?;
    let kubeconfig = std::fs::read_to_string(&world.kubeconfig)?;
    let kubeconfig: serde_json::Value = serde_json::from_str(&kubeconfig)?;
    let own_token = kubeconfig["users"][0]["user"]["token"]
        .as_str()
        .expect("a token");
    let secrets = secrets
        .all()
        .chain([own_token])
        .filter(|secret| secret.len() >= SHORTEST);
    let parts = Parts::of(secrets);
    parts.assert_absent(&texts);
    // A filtered run may mint little. The whole suite mints hundreds of tokens.
    println!(
        "searched {} texts for {} parts of secrets",
        texts.len(),
        parts.0.len()
    );
    assert!(!parts.0.is_empty());
    Ok(())
}

/// All Events of a world, as the API server stores them.
pub async fn events(world: &World) -> (String, String) {
    let all = Request::new(Event::url_path(&(), None));
    let all = all.list(&ListParams::default()).expect("a request");
    // As a text: a test may have written an Event that no library reads.
    let text = world.cluster.client.request_text(all).await;
    let text = text.expect("Events");
    ("the Events".to_owned(), text)
}

/// The metrics of a replica, if it runs.
pub async fn metrics(replica: &Replica) -> Option<(String, String)> {
    let (status, text) = replica.get("/metrics").await?;
    assert_eq!(status, 200);
    Some((format!("/metrics of {}", replica.name), text))
}

/// Every part of some secrets that would be a leak.
pub struct Parts(HashSet<[u8; LEAK]>);

impl Parts {
    /// The parts of these secrets that are random: a word can be in a log by chance.
    pub fn of<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut parts = HashSet::new();
        for secret in secrets {
            let windows = secret.as_bytes().array_windows::<LEAK>();
            parts.extend(windows.filter(|part| is_random(part.as_slice())));
        }
        Self(parts)
    }

    /// Fails with the name of the first log that holds one.
    pub fn assert_absent(&self, logs: &[(String, String)]) {
        for (name, text) in logs {
            let mut windows = text.as_bytes().array_windows::<LEAK>();
            let leaked = windows.any(|part| is_random(part) && self.0.contains(part));
            assert!(!leaked, "{name} holds a part of a secret");
        }
    }
}

/// Whether a text has upper case letters and others or digits, as nearly every random one has, and no space. The id of an
/// access key has no lower case letter.
fn is_random(part: &[u8]) -> bool {
    let is_other = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    part.iter().any(is_other)
        && part.iter().any(u8::is_ascii_uppercase)
        && part.iter().all(u8::is_ascii_graphic)
}
