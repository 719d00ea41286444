//! What the lease holder is, and what it provisions: in a cluster of its own, where no other test's
//! replica leads.

mod leader;
mod logs;
mod provision;

use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use tokio::sync::OnceCell;

use crate::harness::world::runtime;
use crate::harness::{Outcome, World};

static LEADING: OnceCell<Arc<World>> = OnceCell::const_new();

/// Runs these tests. Whether one failed.
pub fn run(arguments: &Arguments) -> bool {
    let trials = [leader::trials(), provision::trials()];
    let trials = trials.into_iter().flatten().collect();
    let mut failed = libtest_mimic::run(arguments, trials).has_failed();
    if let Some(world) = LEADING.get() {
        failed |= libtest_mimic::run(&Arguments::default(), logs::trials()).has_failed();
        world.stop();
    }
    failed
}

fn stop_if_started() {
    if let Some(world) = LEADING.get() {
        world.stop();
    }
}

/// A test that gets the world of this module.
fn trial<F>(name: &str, test: fn(Arc<World>) -> F) -> Trial
where
    F: Future<Output = Outcome> + Send + 'static,
{
    Trial::test(name, move || {
        let outcome = runtime().block_on(async move {
            let start =
                || async { Arc::new(World::start(provision::CONFIG, stop_if_started).await) };
            test(LEADING.get_or_init(start).await.clone()).await
        });
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
