//! The worlds that tests and benchmarks run in: a real control plane, the stand-in for AWS, the chart
//! as a user installs it, and replicas of the real binary behind the chart's own Service or on a node.
//!
//! [`builder::Builder`] makes all of them. The first test of a group starts its world. A world ends with
//! this process, however that ends: control plane and replicas end when their stdin does.

pub mod builder;
pub mod certificates;
mod chart;
pub mod cluster;
pub mod docker;
pub mod installation;
mod interrupt;
pub mod kubeconfig;
pub mod launch;
pub mod memory;
pub mod namespace;
pub mod recorder;
pub mod replica;
pub mod review;
pub mod tenant;
pub mod tools;
pub mod world;

use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use world::World;

/// Result of a test: any error fails it.
pub type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// The default limit of a wait. It runs out only when something is broken.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Asks again until there is an answer, and fails with `what` after `limit`.
pub async fn eventually<T, F>(what: &str, limit: Duration, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        // A poll interval: the loop ends as soon as there is an answer.
        sleep(Duration::from_millis(100)).await;
    }
}
