//! The process, as an operator sees it.

use std::sync::Arc;

use crate::frame::trials;
use crate::harness::world::CONFIG;
use crate::harness::{LIMIT, Outcome, World, eventually};

trials!(
    each_replica_reports_that_guards_hold,
    replica_reports_chosen_guards_that_are_absent,
);

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
        // The next test asks replicas for guards that the installation lacks. Replicas of another
        // installation, which has no guards, are named after its namespace.
        if !name.starts_with("chosen-guard-") && !name.starts_with("test-") {
            assert!(!text.contains("guard_missing"), "{name}");
        }
    }
    Ok(())
}

/// The Deployment says which guards there must be, and the cluster's answer does not change that.
async fn replica_reports_chosen_guards_that_are_absent(world: Arc<World>) -> Outcome {
    let start = |name: &str| world.replica(&format!("chosen-guard-{name}"));
    let recreates = CONFIG.replace("Config}", "Config, repair: {recreatePods: true}}");
    let replicas = [
        start("rest")
            .env("ECR_PULL_SECRETS_GUARD_REST", "true")
            .start(),
        start("pods").config(&recreates).start(),
    ];
    for guard in ["rest", "pods"] {
        let name = format!("chosen-guard-{guard}.log");
        eventually("its absence in the log", LIMIT, || async {
            let logs = world.logs();
            let (_, text) = logs.iter().find(|(log, _)| *log == name)?;
            let says = format!("cannot read the policy ecr-pull-secrets-guard-{guard}");
            let reports = |line: &str| line.contains("guard_missing") && line.contains(&says);
            text.lines().any(reports).then_some(())
        })
        .await;
    }
    for replica in replicas {
        replica.stop();
    }
    Ok(())
}
