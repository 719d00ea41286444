//! Turns tests into trials of the runner. Each gets the world that its group shares; the first one
//! starts it.

use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::harness::Outcome;
use crate::harness::world::runtime;

/// A test that gets what `shared` gives.
pub fn trial<S, G, F>(name: &str, shared: fn() -> G, test: fn(Arc<S>) -> F) -> Trial
where
    S: Send + Sync + 'static,
    G: Future<Output = Arc<S>> + Send + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    Trial::test(name, move || {
        let outcome = runtime().block_on(async move { test(shared().await).await });
        outcome.map_err(|error| Failed::from(error.to_string()))
    })
}

/// Runs the trials of some modules, with a limit of concurrent ones if given. Whether one failed.
pub fn fail<const N: usize>(
    arguments: &Arguments,
    at_a_time: Option<usize>,
    trials: [Vec<Trial>; N],
) -> bool {
    let mut arguments = arguments.clone();
    arguments.test_threads = at_a_time.or(arguments.test_threads);
    let trials = trials.into_iter().flatten().collect();
    libtest_mimic::run(&arguments, trials).has_failed()
}

/// Lists the tests of a module under their own names. The parent module has `shared`.
macro_rules! trials {
    ($($test:ident),+ $(,)?) => {
        /// The tests of this module.
        pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
            vec![$(crate::frame::trial(
                &format!(
                    "{}::{}",
                    module_path!().trim_start_matches("suite::"),
                    stringify!($test)
                ),
                super::shared,
                $test,
            )),+]
        }
    };
}
pub(crate) use trials;
