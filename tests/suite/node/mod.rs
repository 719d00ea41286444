//! What only a real node can show: the kubelet pulls with our Secret, from the image that ships,
//! installed with the chart's defaults.

mod clients;
mod images;
mod kubelet;
mod missed;
mod pods;
mod restarts;
mod rotation;
mod workloads;
mod world;

use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::harness::Outcome;
use crate::harness::world::runtime;
pub use world::NodeWorld;

/// Tests at a time: two cores run the containers as well.
const TESTS_AT_A_TIME: usize = 4;

/// Runs these tests, after the control plane of the others is gone. Whether one failed.
pub fn run(arguments: &Arguments) -> bool {
    let mut arguments = arguments.clone();
    arguments.test_threads = Some(TESTS_AT_A_TIME);
    let mut failed = libtest_mimic::run(&arguments, where_possible(side_by_side())).has_failed();
    arguments.test_threads = Some(1);
    failed |= libtest_mimic::run(&arguments, where_possible(last())).has_failed();
    if let Some(world) = NodeWorld::if_started() {
        world.stop();
    }
    failed
}

fn side_by_side() -> Vec<Trial> {
    [kubelet::trials(), workloads::trials()]
        .into_iter()
        .flatten()
        .collect()
}

/// What cannot run beside anything else: one counts seconds, one stops the registry, one looks back
/// at all of it, and the last ones restart and kill the replicas.
fn last() -> Vec<Trial> {
    [
        rotation::trials(),
        kubelet::trials_alone(),
        missed::trials(),
        restarts::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn where_possible(trials: Vec<Trial>) -> Vec<Trial> {
    // A node needs root and Linux. Elsewhere the tests are listed as ignored, and say so.
    let can_run = cfg!(target_os = "linux") && is_root();
    if !can_run {
        println!("the tests of the node are ignored: they need root and Linux");
    }
    trials
        .into_iter()
        .map(|trial| trial.with_ignored_flag(!can_run))
        .collect()
}

fn is_root() -> bool {
    // The owner of our own process entry is who we are.
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// A test that gets the world with a node.
fn trial<F>(name: &str, test: fn(Arc<NodeWorld>) -> F) -> Trial
where
    F: Future<Output = Outcome> + Send + 'static,
{
    Trial::test(name, move || {
        let outcome = runtime().block_on(async move { test(NodeWorld::get().await).await });
        outcome.map_err(|error| Failed::from(error.to_string()))
    })
}

/// Lists the tests of a module under their own names.
macro_rules! trials {
    ($($test:ident),+ $(,)?) => {
        /// The tests of this module.
        pub(super) fn trials() -> Vec<libtest_mimic::Trial> {
            let module = module_path!().trim_start_matches("suite::");
            vec![$(super::trial(&format!("{module}::{}", stringify!($test)), $test)),+]
        }
    };
}
use trials;
