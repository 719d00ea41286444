//! What only a real node can show: the kubelet pulls with our Secret. The image that ships is installed
//! with the chart's defaults.

mod clients;
mod images;
mod keyless;
mod kubelet;
mod missed;
mod pods;
mod refusals;
mod refusing_registry;
mod restarts;
mod rotation;
mod sources;
mod sync;
mod workloads;
mod world;

use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use tokio::sync::OnceCell;

use crate::frame::fail;
pub use world::NodeWorld;

static WORLD: OnceCell<Arc<NodeWorld>> = OnceCell::const_new();

/// Concurrent tests: two cores run the containers, too.
const TESTS_AT_A_TIME: usize = 4;

/// Runs these tests after the other groups. Whether one failed.
pub fn run(arguments: &Arguments) -> bool {
    let side_by_side = where_possible(side_by_side());
    let mut failed = fail(arguments, Some(TESTS_AT_A_TIME), [side_by_side]);
    failed |= fail(arguments, Some(1), [where_possible(last())]);
    if let Some(world) = WORLD.get() {
        world.stop();
    }
    failed
}

fn side_by_side() -> Vec<Trial> {
    [kubelet::trials(), refusals::trials(), workloads::trials()]
        .into_iter()
        .flatten()
        .collect()
}

/// Tests that run alone: one counts seconds, one stops the registry, one checks what all others left,
/// and the last ones replace, restart, kill and remove the replicas.
fn last() -> Vec<Trial> {
    [
        rotation::trials(),
        kubelet::trials_alone(),
        missed::trials(),
        sources::trials(),
        restarts::trials(),
        sync::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Tests that need root and Linux. Elsewhere they are listed as ignored.
pub fn where_possible(trials: Vec<Trial>) -> Vec<Trial> {
    let can_run = is_root_on_linux();
    if let (false, Some(first)) = (can_run, trials.first()) {
        let name = first.name();
        println!("{name} and its like are ignored: they need root and Linux");
    }
    trials
        .into_iter()
        .map(|trial| trial.with_ignored_flag(!can_run))
        .collect()
}

/// Whether this process may do what tests of a node and of control groups need.
pub(crate) fn is_root_on_linux() -> bool {
    // The owner of our own process entry is our user.
    use std::os::unix::fs::MetadataExt as _;
    cfg!(target_os = "linux") && std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// The world of these tests.
async fn shared() -> Arc<NodeWorld> {
    let start = || async { Arc::new(NodeWorld::start().await) };
    WORLD.get_or_init(start).await.clone()
}
