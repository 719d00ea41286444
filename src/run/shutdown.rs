//! The orderly end: drain, finish what has begun, wait until the election has released the lease.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::lifecycle::Tasks;
use super::tasks::ELECTION;
use crate::https::drain::{DrainPhase, DrainSwitch};
use crate::pull_secret::ensure::PullSecrets;

/// The time after the drain for what is still being answered: an admission takes 5 s at most.
const FINISH_TIMEOUT: Duration = Duration::from_secs(6);

/// Turns unready and goes on accepting for `delay`; then finishes what has begun. `serving` is the
/// listener of the admission endpoint, if there is one.
pub(super) async fn shut_down(
    switch: &DrainSwitch,
    delay: Duration,
    serving: Option<JoinHandle<()>>,
    writes: &PullSecrets,
    tasks: &mut Tasks,
) {
    info!(seconds = delay.as_secs(), "draining");
    switch.enter(DrainPhase::Draining);
    sleep(delay).await;
    switch.enter(DrainPhase::Closing);
    let finished = async {
        // A panic of the listener has been logged, and leaves nothing to finish.
        if let Some(serving) = serving {
            let _ = serving.await;
        }
        writes.settled().await;
        // It ends when the lease is released, most likely long ago.
        tasks.ended(ELECTION).await;
    };
    if timeout(FINISH_TIMEOUT, finished).await.is_err() {
        warn!("some connections or calls did not end in time");
    }
    info!("stopped");
}
