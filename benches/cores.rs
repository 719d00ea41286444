//! Who runs on which core: one side each, or both would be measured.

use std::fs;
use std::process::Command;

use crate::harness::tools::run;

/// Of what is measured.
pub const SERVER: usize = 0;
/// Of who measures. With one core there is no other.
pub const CLIENT: usize = 1;

/// Starts something on one core: what this thread starts, starts where it runs itself.
pub fn on_core<T>(core: usize, start: impl FnOnce() -> T) -> T {
    let everywhere = pin(None);
    pin(Some(&core.min(last(&everywhere)).to_string()));
    let started = start();
    pin(Some(&everywhere));
    started
}

/// This thread's share of its core, from 0 to 19: the more, the less.
pub fn yield_to_others(nice: i32) {
    let mut command = Command::new("renice");
    run(command.args(["-n", &nice.to_string(), "-p", &thread()]));
}

/// The number of this thread.
fn thread() -> String {
    let thread = fs::read_link("/proc/thread-self").expect("/proc");
    let number = thread.file_name().expect("a number");
    number.to_string_lossy().into_owned()
}

/// Where this thread may run, and from now on, if it is told, somewhere else.
fn pin(cores: Option<&str>) -> String {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", "--pid"]);
    let said = run(command.args(cores).arg(thread()));
    let list = said.lines().next().and_then(|line| line.rsplit(' ').next());
    list.expect("taskset says where").to_owned()
}

/// The last core of a list such as `0-3,7`.
fn last(list: &str) -> usize {
    let last = list.rsplit([',', '-']).next();
    last.and_then(|core| core.parse().ok()).expect("a core")
}
