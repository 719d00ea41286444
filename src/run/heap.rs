//! Memory that nobody needs any more goes back to the system.
//!
//! glibc gives back only what is free at the end of its heap. After a list of ten thousand objects,
//! or a crowd of connections, some small thing that stays lies behind a lot that does not.

use std::fs;
use std::time::Duration;

use tokio::task::block_in_place;
use tokio::time::sleep;
use tracing::debug;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(5);
/// So many KiB have to be worth it: trimming takes a moment, in which nobody gets memory.
const WORTH: u64 = 512;

/// Runs for ever.
pub(super) async fn keep_small() {
    let mut trims = Trims::default();
    loop {
        sleep(INTERVAL).await;
        let before = idle(anonymous());
        if trims.are_due(before) {
            block_in_place(trim);
            let after = idle(anonymous());
            trims.done(before, after);
            debug!(before, after, "gave idle memory back");
        }
    }
}

/// When to trim, by what the process has and does not use. What it has alone does not tell: a crowd that
/// goes leaves holes, and no growth.
#[derive(Default)]
struct Trims {
    /// What no trim gives back, in KiB: stacks, and holes smaller than a page.
    kept: u64,
}

impl Trims {
    /// Whether a trim is worth it with so many KiB idle.
    fn are_due(&mut self, idle: u64) -> bool {
        self.kept = self.kept.min(idle);
        idle > self.kept + WORTH
    }

    /// So many KiB were idle before a trim, and so many are now. After one that gave back something there
    /// is another: what was freed meanwhile is not what none gives back.
    fn done(&mut self, before: u64, after: u64) {
        if before < after + WORTH {
            self.kept = after;
        }
    }
}

/// Of so many KiB of memory that is no file's, those that nobody uses.
fn idle(anonymous: u64) -> u64 {
    anonymous.saturating_sub(used())
}

/// What the process has of memory that is no file's, in KiB; nothing where the system does not tell.
fn anonymous() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    of_status(&status).unwrap_or_default()
}

fn of_status(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "no crate wraps this one function of glibc")]
fn trim() {
    // SAFETY: it has no preconditions, may be called from any thread, and touches no memory that is
    // in use.
    unsafe { libc::malloc_trim(0) };
}

/// What was allocated and not freed, in KiB.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "no crate wraps this one function of glibc")]
fn used() -> u64 {
    // SAFETY: it has no preconditions, may be called from any thread, and only counts.
    let heap = unsafe { libc::mallinfo2() };
    ((heap.uordblks + heap.hblkhd) / 1024) as u64
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn used() -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn the_size_is_read() {
        let status = "VmRSS:\t   20652 kB\nRssAnon:\t   10044 kB\nRssFile:\t   10608 kB\n";
        assert_eq!(of_status(status), Some(10_044));
        assert_eq!(of_status("RssAnon:\t10 MB\n"), None);
        assert_eq!(of_status(""), None);
    }

    #[test]
    fn what_a_trim_leaves_is_no_reason_for_another() {
        let mut trims = Trims::default();
        assert!(trims.are_due(WORTH + 1));
        trims.done(5000, 900);
        assert!(trims.are_due(900));
        trims.done(900, 700);
        assert!(!trims.are_due(700) && !trims.are_due(700 + WORTH));
        assert!(trims.are_due(700 + WORTH + 1));
        // Less than ever since: from then on that is the measure.
        assert!(!trims.are_due(100));
        assert!(trims.are_due(100 + WORTH + 1));
    }

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn what_is_free_goes_back() {
        const KIB: usize = 1024;
        const LIMIT: Duration = Duration::from_secs(30);
        // Less than what gets a mapping of its own, and behind each a little that stays.
        let (large, small): (Vec<_>, Vec<_>) = (0..1024)
            .map(|_| (vec![1_u8; 64 * KIB], vec![1_u8; 64]))
            .unzip();
        let full = anonymous();
        let unused = idle(full);
        drop(large);
        // Nothing has grown, and nothing has gone back. Another test may count as used for a moment what
        // it never touched.
        let begun = Instant::now();
        while idle(anonymous()) < unused + 32 * KIB as u64 {
            assert!(begun.elapsed() < LIMIT, "{unused}, {}", idle(anonymous()));
            std::thread::yield_now();
        }
        trim();
        let trimmed = anonymous();
        assert!(trimmed + 32 * KIB as u64 <= full, "{full}, {trimmed}");
        drop(small);
    }
}
