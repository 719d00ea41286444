//! Checks the guard policies for as long as the process runs.

use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::target::Target;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::cluster::policy::{self, ChosenGuards};
use crate::engine::Engine;
use crate::probes::Readiness;
use crate::telemetry::chain::chain;

/// The time between two checks while the guards deny.
const CHECK_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// The time between two checks while they do not.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Logs whenever the outcome changes. The API server takes a second to obey a new policy, so the
/// first failure is not logged. `rest` says whether the installation has the optional guard.
pub(super) async fn report(engine: Arc<Engine>, readiness: Readiness, rest: bool) {
    readiness.synced().await;
    let mut held = None;
    let mut failures = 0;
    loop {
        let config = engine.live.snapshot();
        let target = Target::new(engine.namespace.as_str(), config.secret.name.as_str());
        let chosen = ChosenGuards {
            pods: config.repair.recreate_pods,
            rest,
        };
        match policy::verify(&engine.clients.call, &target, chosen).await {
            Ok(()) => {
                if held != Some(true) {
                    info!("the guard policies deny what they must");
                }
                (held, failures) = (Some(true), 0);
            }
            Err(error) => {
                failures += 1;
                if failures > 1 && held != Some(false) {
                    let cause = Cause::GuardMissing;
                    let (detail, remedy) = (chain(&error), cause.remedy());
                    warn!(cause = cause.name(), detail, remedy, "{cause}");
                    held = Some(false);
                }
            }
        }
        let interval = if failures == 0 {
            CHECK_INTERVAL
        } else {
            RETRY_INTERVAL
        };
        sleep(interval).await;
    }
}
