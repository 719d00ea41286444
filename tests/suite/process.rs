//! The process, as an operator sees it.

use std::sync::Arc;

use crate::frame::trials;
use crate::harness::{LIMIT, Outcome, World, eventually};

trials!(each_replica_reports_that_guards_hold);

async fn each_replica_reports_that_guards_hold(world: Arc<World>) -> Outcome {
    eventually("the guards hold in both logs", LIMIT, || async {
        let logs = world.logs();
        let mut replicas = logs.iter().filter(|(name, _)| name.starts_with("replica-"));
        let holds =
            replicas.all(|(_, text)| text.contains("the guard policies deny what they must"));
        holds.then_some(())
    })
    .await;
    for (name, text) in world.logs() {
        assert!(!text.contains("guard_missing"), "{name}");
    }
    Ok(())
}
