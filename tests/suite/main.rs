//! The suite: every promise, on a real API server, with the shipped chart and the real binary.
//!
//! One binary, so that the control plane is started once. `cargo test --test suite NAME` runs what
//! contains NAME; `-- --list` lists. When all tests are through, what the processes logged at
//! TRACE meanwhile is searched for every token and key that there ever was.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]
#![allow(unreachable_pub, reason = "a binary has no outside")]

mod accounts;
mod adoption;
mod aws_trouble;
mod certificate_files;
mod chart;
mod contract;
mod edited;
mod ephemeral;
mod harness;
mod hostile;
mod late_writes;
mod leading;
mod limits;
mod logs;
mod moto;
mod node;
mod odd;
mod ownership;
mod process;
mod repairs;
mod resilience;
mod rotation;
mod rules;
mod scale;
mod serving;
mod shutdown;
mod theft;
mod token_store;
mod untouched;
mod workloads;

use std::process::ExitCode;
use std::sync::Arc;

use harness::{Outcome, World};
use libtest_mimic::{Arguments, Failed, Trial};

/// Tests wait for the control plane most of the time.
const TESTS_AT_A_TIME: usize = 8;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(TESTS_AT_A_TIME));
    let trials = [
        accounts::trials(),
        adoption::trials(),
        aws_trouble::trials(),
        certificate_files::trials(),
        chart::trials(),
        contract::trials(),
        edited::trials(),
        ephemeral::trials(),
        hostile::requests::trials(),
        hostile::crowds::trials(),
        late_writes::trials(),
        limits::trials(),
        moto::trials(),
        odd::trials(),
        ownership::trials(),
        process::trials(),
        rotation::trials(),
        rules::trials(),
        scale::trials(),
        shutdown::trials(),
        theft::trials(),
        token_store::trials(),
        untouched::trials(),
        workloads::trials(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let mut failed = libtest_mimic::run(&arguments, trials).has_failed();
    if let Some(world) = World::if_started() {
        failed |= libtest_mimic::run(&Arguments::default(), logs::trials()).has_failed();
        world.stop();
    }
    failed |= leading::run(&arguments);
    failed |= repairs::run(&arguments);
    failed |= resilience::run(&arguments);
    failed |= serving::run(&arguments);
    failed |= node::run(&arguments);
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// A test that gets the world.
pub(crate) fn trial<F>(name: &str, test: fn(Arc<World>) -> F) -> Trial
where
    F: Future<Output = Outcome> + Send + 'static,
{
    Trial::test(name, move || {
        let outcome =
            harness::world::runtime().block_on(async move { test(World::get().await).await });
        outcome.map_err(|error| Failed::from(error.to_string()))
    })
}

/// Lists the tests of a module under their own names.
macro_rules! trials {
    ($($test:ident),+ $(,)?) => {
        /// The tests of this module.
        pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
            let module = module_path!().rsplit("::").next().unwrap_or_default();
            vec![$(crate::trial(&format!("{module}::{}", stringify!($test)), $test)),+]
        }
    };
}
pub(crate) use trials;
