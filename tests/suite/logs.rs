//! What must never be in a log.

use std::path::Path;
use std::sync::Arc;

use aws_stand_in::client::Client as Aws;

use crate::frame::trials;
use crate::harness::{Outcome, World};

trials!(no_log_holds_a_token_or_key);

/// Least length of a secret: a shorter one may occur in a log by chance.
const SHORTEST: usize = 16;

async fn no_log_holds_a_token_or_key(world: Arc<World>) -> Outcome {
    search(&world.logs(), &world.aws, &world.kubeconfig).await
}

/// Searches for every token and key of the stand-in, and for the token of the kubeconfig.
pub async fn search(logs: &[(String, String)], aws: &Aws, kubeconfig: &Path) -> Outcome {
    let secrets = aws.secrets().await?;
    let kubeconfig = std::fs::read_to_string(kubeconfig)?;
    let kubeconfig: serde_json::Value = serde_json::from_str(&kubeconfig)?;
    let own_token = kubeconfig["users"][0]["user"]["token"]
        .as_str()
        .expect("a token");
    let mut searched = 0;
    for secret in secrets
        .all()
        .chain([own_token])
        .filter(|secret| secret.len() >= SHORTEST)
    {
        for (name, text) in logs {
            // A truncated token is a token: passwords differ after some 40 characters.
            let part = secret.get(..secret.len().min(200)).unwrap_or(secret);
            assert!(!text.contains(part), "{name} holds a secret");
        }
        searched += 1;
    }
    // A filtered run may mint little. The whole suite mints hundreds of tokens.
    println!("searched {} logs for {searched} secrets", logs.len());
    assert!(searched > 0 && !logs.is_empty());
    Ok(())
}
