//! Keeps an eye on the guard policies.

use std::time::Duration;

use ecr_pull_secrets_core::cause::Cause;
use kube::Client;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::cluster::policy;
use crate::probes::Readiness;

/// How often the guards are looked at while they hold.
const GUARD_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// And while they do not.
const GUARD_RETRY: Duration = Duration::from_secs(5);

/// Looks at the guards again and again, and tells when that changes. The API server takes a second
/// to obey a new policy: the first time that they do not hold is not worth a word.
pub(super) async fn report(
    client: Client,
    namespace: String,
    secret_name: String,
    readiness: Readiness,
) {
    readiness.synced().await;
    let mut held = None;
    let mut failures = 0;
    loop {
        match policy::verify(&client, &namespace, &secret_name).await {
            Ok(()) => {
                if held != Some(true) {
                    info!("the guard policies deny what they must");
                }
                (held, failures) = (Some(true), 0);
            }
            Err(detail) => {
                failures += 1;
                if failures > 1 && held != Some(false) {
                    let cause = Cause::GuardMissing;
                    warn!(
                        cause = cause.name(),
                        detail,
                        remedy = cause.remedy(),
                        "{cause}"
                    );
                    held = Some(false);
                }
            }
        }
        sleep(if failures == 0 {
            GUARD_INTERVAL
        } else {
            GUARD_RETRY
        })
        .await;
    }
}
