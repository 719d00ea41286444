//! A running replica, as the kernel sees it.

use std::fs;
use std::time::Duration;

use tokio::time::sleep;

use crate::harness::replica::Replica;

/// Clock ticks per second in `/proc`, on every Linux.
const TICKS: f64 = 100.0;

/// Process of a replica.
pub struct Process(u32);

impl Process {
    /// Process of a replica, not of the lifeline around it.
    pub fn of(replica: &Replica) -> Self {
        Self(replica.process())
    }

    /// A size of `/proc/PID/status`, in MiB.
    pub fn mib(&self, name: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).expect("it runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib: f64 = line
            .and_then(|line| line.split_whitespace().next()?.parse().ok())
            .expect("a size");
        kib / 1024.0
    }

    /// Resets the peak of memory.
    pub fn forget_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.0), "5").expect("it is ours");
    }

    /// Seconds since the start, in hundredths.
    pub fn age(&self) -> f64 {
        let uptime = fs::read_to_string("/proc/uptime").expect("/proc");
        let uptime: f64 = uptime
            .split_whitespace()
            .next()
            .and_then(|text| text.parse().ok())
            .expect("a number");
        let start: f64 = self
            .stat(21)
            .and_then(|text| text.parse().ok())
            .expect("a number");
        uptime - start / TICKS
    }

    /// A field of `/proc/PID/stat`, counted from 0.
    fn stat(&self, field: usize) -> Option<String> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).ok()?;
        // The second field is a name in parentheses that may hold spaces.
        let (_, rest) = stat.rsplit_once(") ")?;
        rest.split(' ').nth(field - 2).map(str::to_owned)
    }
}

/// Waits until a new replica is ready; the time from its start, in ms.
pub async fn ready_ms(replica: &Replica) -> f64 {
    loop {
        let answer = replica.get("/readyz").await;
        if answer.is_some_and(|(status, _)| status.is_success()) {
            return Process::of(replica).age() * 1000.0;
        }
        sleep(Duration::from_millis(1)).await;
    }
}

/// A process and its descendants.
pub fn tree(process: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let all = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let parent = |process: u32| -> Option<u32> { Process(process).stat(3)?.parse().ok() };
    let is_below = |&one: &u32| {
        let mut ancestors = std::iter::successors(Some(one), |one| parent(*one));
        ancestors.any(|ancestor| ancestor == process)
    };
    all.filter(is_below).collect()
}

/// Seconds of CPU that a process and its descendants have used so far.
pub fn cpu_seconds(process: u32) -> f64 {
    let ticks = |one: u32, field| -> f64 {
        let text = Process(one).stat(field);
        text.and_then(|text| text.parse().ok()).unwrap_or(0.0)
    };
    let used = tree(process).into_iter();
    used.map(|one| (ticks(one, 13) + ticks(one, 14)) / TICKS)
        .sum()
}
