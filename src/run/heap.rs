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
/// By so many KiB it has to have grown: trimming takes a moment, in which nobody gets memory.
const GROWTH: u64 = 1024;

/// Runs for ever.
pub(super) async fn keep_small() {
    let mut least = 0;
    loop {
        sleep(INTERVAL).await;
        let before = anonymous();
        if before <= least + GROWTH {
            least = least.min(before);
            continue;
        }
        block_in_place(trim);
        least = anonymous();
        debug!(before, after = least, "gave memory back");
    }
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

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_read() {
        let status = "VmRSS:\t   20652 kB\nRssAnon:\t   10044 kB\nRssFile:\t   10608 kB\n";
        assert_eq!(of_status(status), Some(10_044));
        assert_eq!(of_status("RssAnon:\t10 MB\n"), None);
        assert_eq!(of_status(""), None);
    }

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn what_is_free_goes_back() {
        const KIB: usize = 1024;
        // Less than what gets a mapping of its own, and behind each a little that stays.
        let (large, small): (Vec<_>, Vec<_>) = (0..1024)
            .map(|_| (vec![1_u8; 64 * KIB], vec![1_u8; 64]))
            .unzip();
        let full = anonymous();
        drop(large);
        trim();
        let trimmed = anonymous();
        assert!(trimmed + 32 * KIB as u64 <= full, "{full}, {trimmed}");
        drop(small);
    }
}
