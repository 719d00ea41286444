//! What must never be in a log.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use aws_stand_in::client::Client as Aws;

use crate::frame::trials;
use crate::harness::{Outcome, World};

trials!(no_log_holds_a_token_or_key);

/// Least length of a secret: a shorter one may occur in a log by chance.
const SHORTEST: usize = 16;
/// The length from which a part of a secret is a leak.
const LEAK: usize = 12;

async fn no_log_holds_a_token_or_key(world: Arc<World>) -> Outcome {
    search(&world.logs(), &world.aws, &world.kubeconfig).await
}

/// Searches for a part of any token and key of the stand-in, and of the token of the kubeconfig.
pub async fn search(logs: &[(String, String)], aws: &Aws, kubeconfig: &Path) -> Outcome {
    let secrets = aws.secrets().await?;
    let kubeconfig = std::fs::read_to_string(kubeconfig)?;
    let kubeconfig: serde_json::Value = serde_json::from_str(&kubeconfig)?;
    let own_token = kubeconfig["users"][0]["user"]["token"]
        .as_str()
        .expect("a token");
    let secrets = secrets
        .all()
        .chain([own_token])
        .filter(|secret| secret.len() >= SHORTEST);
    let parts = Parts::of(secrets);
    parts.assert_absent(logs);
    // A filtered run may mint little. The whole suite mints hundreds of tokens.
    println!(
        "searched {} logs for {} parts of secrets",
        logs.len(),
        parts.0.len()
    );
    assert!(!parts.0.is_empty() && !logs.is_empty());
    Ok(())
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

/// Whether a text has letters of both cases, as nearly every random one has, and no space.
fn is_random(part: &[u8]) -> bool {
    part.iter().any(u8::is_ascii_lowercase)
        && part.iter().any(u8::is_ascii_uppercase)
        && part.iter().all(u8::is_ascii_graphic)
}
