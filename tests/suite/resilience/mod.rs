//! A fleet of a thousand namespaces and three replicas, to which everything happens that takes a
//! process down or stops it in its tracks: in a cluster of its own, whose etcd is watched version
//! by version.

mod fan_out;
mod fleet;
mod logs;
mod outage;

use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::harness::Outcome;
use crate::harness::recorder;
use crate::harness::world::runtime;
use fleet::Fleet;

/// Runs these tests one after the other. Whether one failed.
pub fn run(arguments: &Arguments) -> bool {
    let mut arguments = arguments.clone();
    arguments.test_threads = Some(1);
    let unit = Trial::test(
        "resilience::the_recorder_notices_every_kind_of_fault",
        || {
            recorder::notices_every_kind_of_fault();
            Ok(())
        },
    );
    // Before there are many namespaces, and their tokens to renew.
    let trials = [vec![unit], outage::trials(), fan_out::trials()];
    let trials = trials.into_iter().flatten().collect();
    let mut failed = libtest_mimic::run(&arguments, trials).has_failed();
    if let Some(fleet) = Fleet::if_started() {
        failed |= libtest_mimic::run(&Arguments::default(), logs::trials()).has_failed();
        fleet.stop();
    }
    failed
}

/// A test that gets the fleet.
fn trial<F>(name: &str, test: fn(Arc<Fleet>) -> F) -> Trial
where
    F: Future<Output = Outcome> + Send + 'static,
{
    Trial::test(name, move || {
        let outcome = runtime().block_on(async move { test(Fleet::get().await).await });
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
