//! What every test stands on: a real control plane, the stand-in for AWS, the chart installed as a
//! user would, and two replicas of the real binary behind the chart's own Service.
//!
//! All of it is started once, by the first test that asks, and ends with this process in whatever
//! way it ends: the control plane and the replicas hold on to a pipe from us.

pub mod cluster;
pub mod docker;
pub mod installation;
pub mod interrupt;
pub mod namespace;
pub mod recorder;
pub mod replica;
pub mod review;
pub mod tools;
pub mod world;

use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use world::World;

/// What a test returns: any error fails it.
pub type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// The default limit of a wait. Generous: it only ever runs out when something is broken.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Asks again and again until there is an answer, and fails with `what` after `limit`.
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
        // A poll interval, not a wait: the loop ends as soon as the condition holds.
        sleep(Duration::from_millis(100)).await;
    }
}
