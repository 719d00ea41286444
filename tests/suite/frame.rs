//! Turns tests into trials of the runner. Each gets the world that its group shares; the first one
//! starts it.

use std::io::{BufRead as _, BufReader, IsTerminal as _};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::{io, thread};

use libtest_mimic::{Arguments, ColorSetting, Failed, Trial};

use crate::harness::world::runtime;
use crate::harness::{Outcome, World};

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
    with_whole_lines(arguments, |arguments| {
        libtest_mimic::run(arguments, trials).has_failed()
    })
}

/// Ends a group, if its world has started: searches the logs of it, and stops it. Whether the search failed.
pub fn close(world: Option<&World>, search: Vec<Trial>) -> bool {
    world.is_some_and(|world| {
        let failed = fail(&Arguments::default(), None, [search]);
        world.stop();
        failed
    })
}

/// Prints what the runner prints line by line: it prints the name of a test that runs alone when the
/// test starts, and groups run side by side.
fn with_whole_lines<T>(mut arguments: Arguments, run: impl FnOnce(&Arguments) -> T) -> T {
    if arguments.logfile.is_some() {
        return run(&arguments);
    }
    let (lines, printer) = io::pipe().expect("a pipe");
    let color = arguments.color.unwrap_or(ColorSetting::Auto);
    if color == ColorSetting::Auto && io::stdout().is_terminal() {
        arguments.color = Some(ColorSetting::Always);
    }
    // The runner opens the pipe by this name, and closes it when it returns.
    arguments.logfile = Some(format!("/dev/fd/{}", printer.as_raw_fd()));
    thread::scope(|scope| {
        scope.spawn(|| {
            for line in BufReader::new(lines).lines() {
                println!("{}", line.expect("a line"));
            }
        });
        let result = run(&arguments);
        drop(printer);
        result
    })
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
