//! Rations for log lines that a caller can cause: a flood of requests makes no flood of lines, and a
//! failure that repeats makes one line, then few.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::target::Target;
use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Lines in one [`WINDOW`].
const MAX_LINES: u32 = 60;
const WINDOW: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(crate) struct Ration(Mutex<RationWindow>);

#[derive(Debug, Default)]
struct RationWindow {
    since: Option<Instant>,
    lines: u32,
    unsaid: u64,
}

impl Ration {
    /// `Some` if one more line may be written: with the number of lines left out since the last.
    pub(crate) fn take(&self) -> Option<u64> {
        self.take_at(Instant::now())
    }

    fn take_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock();
        if state.since.is_none_or(|since| now >= since + WINDOW) {
            (state.since, state.lines) = (Some(now), 0);
        }
        if state.lines == MAX_LINES {
            state.unsaid += 1;
            return None;
        }
        state.lines += 1;
        Some(std::mem::take(&mut state.unsaid))
    }
}

/// The interval at which a failure that repeats is logged again.
const REPEAT_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// The most Secrets in memory; the one that failed longest ago makes way.
const MAX_FAILING: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// The failures of writes: one line for each Secret and cause, then one in [`REPEAT_INTERVAL`].
#[derive(Debug)]
pub(crate) struct FailingWrites(Mutex<LruCache<Target, BTreeMap<Cause, Repeats>>>);

#[derive(Debug)]
struct Repeats {
    said: Instant,
    unsaid: u64,
}

impl Default for FailingWrites {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(MAX_FAILING)))
    }
}

impl FailingWrites {
    /// `Some` if this failure is to be logged: with the number of times that it was left out since.
    pub(crate) fn take(&self, target: &Target, cause: Cause) -> Option<u64> {
        self.take_at(target, cause, Instant::now())
    }

    /// The Secret was written: its next failure is news.
    pub(crate) fn ended(&self, target: &Target) {
        self.0.lock().pop(target);
    }

    fn take_at(&self, target: &Target, cause: Cause, now: Instant) -> Option<u64> {
        let mut failing = self.0.lock();
        let causes = failing.get_or_insert_mut(target.clone(), BTreeMap::new);
        let Some(repeats) = causes.get_mut(&cause) else {
            let (said, unsaid) = (now, 0);
            causes.insert(cause, Repeats { said, unsaid });
            return Some(0);
        };
        if now < repeats.said + REPEAT_INTERVAL {
            repeats.unsaid += 1;
            return None;
        }
        repeats.said = now;
        Some(std::mem::take(&mut repeats.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failing_write_is_logged_once_then_rationed() {
        let (failing, start) = (FailingWrites::default(), Instant::now());
        let (team, other) = (Target::new("team", "pull"), Target::new("other", "pull"));
        let take = |target: &Target, cause, now| failing.take_at(target, cause, now);
        assert_eq!(take(&team, Cause::ForeignOwner, start), Some(0));
        for _ in 0..100 {
            assert_eq!(take(&team, Cause::ForeignOwner, start), None);
        }
        // Another cause and another namespace are news.
        assert_eq!(take(&team, Cause::QuotaExceeded, start), Some(0));
        assert_eq!(take(&other, Cause::ForeignOwner, start), Some(0));
        let later = start + REPEAT_INTERVAL;
        assert_eq!(take(&team, Cause::ForeignOwner, later), Some(100));
        assert_eq!(take(&team, Cause::ForeignOwner, later), None);
        failing.ended(&team);
        assert_eq!(take(&team, Cause::ForeignOwner, later), Some(0));
    }

    #[test]
    fn failing_writes_take_bounded_memory() {
        let (failing, now) = (FailingWrites::default(), Instant::now());
        for number in 0..=MAX_FAILING.get() {
            let target = Target::new(number.to_string(), "pull");
            assert_eq!(failing.take_at(&target, Cause::ForeignOwner, now), Some(0));
        }
        assert_eq!(failing.0.lock().len(), MAX_FAILING.get());
    }

    #[test]
    fn lines_beyond_the_ration_are_counted() {
        let (ration, start) = (Ration::default(), Instant::now());
        for _ in 0..MAX_LINES {
            assert_eq!(ration.take_at(start), Some(0));
        }
        for _ in 0..1000 {
            assert_eq!(ration.take_at(start + WINDOW / 2), None);
        }
        assert_eq!(ration.take_at(start + WINDOW), Some(1000));
        assert_eq!(ration.take_at(start + WINDOW), Some(0));
    }
}
