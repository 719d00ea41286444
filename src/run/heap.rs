//! Returns free memory to the system.
//!
//! glibc by itself returns only what is free at the end of its heap. After a list of ten thousand
//! objects, or a flood of connections, a small object that stays may lie behind a lot of free
//! memory.

use std::fs;
use std::time::Duration;

use tokio::task::block_in_place;
use tokio::time::sleep;
use tracing::debug;

/// The interval between two checks.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// The least free memory in KiB that is worth a trim. A trim blocks every allocation for a moment.
const MIN_TRIM: u64 = 512;

/// Never returns.
pub(super) async fn keep_small() {
    let mut trims = Trims::default();
    loop {
        sleep(CHECK_INTERVAL).await;
        let before = idle(anonymous());
        if trims.are_due(before) {
            block_in_place(trim);
            let after = idle(anonymous());
            trims.done(before, after);
            debug!(before, after, "returned free memory to the system");
        }
    }
}

/// Decides when to trim, by the memory that the process has and does not use. The size of the process
/// alone is no sign: connections that end leave free memory, and no growth.
#[derive(Default)]
struct Trims {
    /// The memory in KiB that no trim returns: stacks, and gaps smaller than a page.
    kept: u64,
}

impl Trims {
    /// Whether a trim is worth it with this many KiB idle.
    fn are_due(&mut self, idle: u64) -> bool {
        self.kept = self.kept.min(idle);
        idle > self.kept + MIN_TRIM
    }

    /// Records the idle KiB before and after a trim. After a trim that returned memory another one
    /// follows, because memory may have been freed meanwhile.
    fn done(&mut self, before: u64, after: u64) {
        if before < after + MIN_TRIM {
            self.kept = after;
        }
    }
}

/// The part of the anonymous memory that is not allocated, in KiB.
fn idle(anonymous: u64) -> u64 {
    anonymous.saturating_sub(used())
}

/// The anonymous memory of the process in KiB; zero if the system does not say.
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
    // SAFETY: malloc_trim has no preconditions, is thread-safe, and touches no memory in use.
    unsafe { libc::malloc_trim(0) };
}

/// The allocated memory in KiB.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "no crate wraps this one function of glibc")]
fn used() -> u64 {
    // SAFETY: mallinfo2 has no preconditions, is thread-safe, and only counts.
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
    fn anonymous_memory_is_read_from_status() {
        let status = "VmRSS:\t   20652 kB\nRssAnon:\t   10044 kB\nRssFile:\t   10608 kB\n";
        assert_eq!(of_status(status), Some(10_044));
        assert_eq!(of_status("RssAnon:\t10 MB\n"), None);
        assert_eq!(of_status(""), None);
    }

    #[test]
    fn memory_that_no_trim_returns_causes_no_trim() {
        let mut trims = Trims::default();
        assert!(trims.are_due(MIN_TRIM + 1));
        trims.done(5000, 900);
        assert!(trims.are_due(900));
        trims.done(900, 700);
        assert!(!trims.are_due(700) && !trims.are_due(700 + MIN_TRIM));
        assert!(trims.are_due(700 + MIN_TRIM + 1));
        // A lower value is the new measure.
        assert!(!trims.are_due(100));
        assert!(trims.are_due(100 + MIN_TRIM + 1));
    }

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn free_memory_returns_to_the_system() {
        const KIB: usize = 1024;
        const LIMIT: Duration = Duration::from_secs(30);
        // Smaller than an allocation with a mapping of its own. Every second one stays, so that the
        // free ones cannot join at the end of the heap, whose memory returns by itself.
        let (dropped, kept): (Vec<_>, Vec<_>) = (0..1024)
            .map(|_| (vec![1_u8; 64 * KIB], vec![1_u8; 64 * KIB]))
            .unzip();
        let full = anonymous();
        let unused = idle(full);
        drop(dropped);
        // The process has not grown, and has returned nothing. Another test may allocate memory for a
        // moment without touching it.
        let begun = Instant::now();
        while idle(anonymous()) < unused + 32 * KIB as u64 {
            assert!(begun.elapsed() < LIMIT, "{unused}, {}", idle(anonymous()));
            std::thread::yield_now();
        }
        trim();
        let trimmed = anonymous();
        assert!(trimmed + 32 * KIB as u64 <= full, "{full}, {trimmed}");
        drop(kept);
    }
}
