//! The API server's count of reviews that failed open.

use std::fs;
use std::sync::Arc;

use super::world::NodeWorld;
use crate::frame::trials;
use crate::harness::Outcome;
use crate::harness::tools::run;

trials!(no_review_failed_since_the_rollout);

async fn no_review_failed_since_the_rollout(world: Arc<NodeWorld>) -> Outcome {
    let missed = reviews_done_without(&world);
    assert!(missed.is_empty(), "{missed:?}\n{}", why(&world));
    Ok(())
}

/// Lines of the API server's fail-open count.
pub fn reviews_done_without(world: &NodeWorld) -> Vec<String> {
    let metrics = run(world.kubectl().args(["get", "--raw", "/metrics"]));
    let counts = |line: &&str| {
        line.starts_with("apiserver_admission_webhook_fail_open_count{")
            && line.contains("pods.ecr-pull-secrets.dev")
    };
    metrics.lines().filter(counts).map(str::to_owned).collect()
}

/// Lines about webhooks in the API server's log.
fn why(world: &NodeWorld) -> String {
    let log = fs::read_to_string(world.api_server_log()).unwrap_or_default();
    log.lines()
        .filter(|line| line.contains("webhook"))
        .collect::<Vec<_>>()
        .join("\n")
}
