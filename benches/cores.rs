//! One core for the replica and one for the clients. On a shared core both would be measured.

use std::fs;
use std::process::Command;

use crate::harness::tools::run;

/// Core of the measured process.
pub const SERVER: usize = 0;
/// Core of the clients; the same if the machine has one.
pub const CLIENT: usize = 1;

/// Starts something on one core. A process inherits the core of the thread that starts it.
pub fn on_core<T>(core: usize, start: impl FnOnce() -> T) -> T {
    let everywhere = pin(None);
    pin(Some(&core.min(last(&everywhere)).to_string()));
    let started = start();
    pin(Some(&everywhere));
    started
}

/// Sets this thread's niceness, 0 to 19.
pub fn yield_to_others(nice: i32) {
    let mut command = Command::new("renice");
    run(command.args(["-n", &nice.to_string(), "-p", &thread()]));
}

/// Id of this thread.
fn thread() -> String {
    let thread = fs::read_link("/proc/thread-self").expect("/proc");
    let number = thread.file_name().expect("a number");
    number.to_string_lossy().into_owned()
}

/// Cores on which this thread may run; sets them if given.
fn pin(cores: Option<&str>) -> String {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", "--pid"]);
    let said = run(command.args(cores).arg(thread()));
    let list = said.lines().next().and_then(|line| line.rsplit(' ').next());
    list.expect("taskset says where").to_owned()
}

/// Last core of a list such as `0-3,7`.
fn last(list: &str) -> usize {
    let last = list.rsplit([',', '-']).next();
    last.and_then(|core| core.parse().ok()).expect("a core")
}
