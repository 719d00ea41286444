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

/// This process and others on the clients' core, until it is dropped. Threads that exist already yield
/// there to those of [`crate::hostile::clients`] that come later. The measured process has its own core
/// meanwhile.
pub struct Confined {
    everywhere: String,
}

impl Confined {
    /// Moves all threads.
    pub fn new(others: &[u32]) -> Self {
        let everywhere = pin(None);
        let core = CLIENT.min(last(&everywhere)).to_string();
        for process in others.iter().copied().chain([std::process::id()]) {
            set_cores(process, &core);
            set_niceness(process, 19);
        }
        Self { everywhere }
    }
}

impl Drop for Confined {
    fn drop(&mut self) {
        set_cores(std::process::id(), &self.everywhere);
        set_niceness(std::process::id(), 0);
    }
}

/// Moves all threads of a process to these cores.
fn set_cores(process: u32, cores: &str) {
    let mut command = Command::new("taskset");
    command.args(["--all-tasks", "--cpu-list", "--pid", cores]);
    run(command.arg(process.to_string()));
}

/// Sets the niceness of all threads of a process.
fn set_niceness(process: u32, nice: i32) {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    let threads = threads.flatten().map(|thread| thread.file_name());
    let mut command = Command::new("renice");
    run(command.args(["-n", &nice.to_string(), "-p"]).args(threads));
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
