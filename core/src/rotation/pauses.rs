//! When a pull Secret that could not be written is tried again. Each has its own pause, so that it
//! delays no other.

use std::collections::HashMap;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::cause::Retry;
use crate::target::Target;

/// The pause where no retry helps: another writer may have removed the obstacle by then.
const NO_HOPE_PAUSE: Duration = Duration::from_secs(10 * 60);

/// The Secrets that wait, or have waited, for another attempt.
#[derive(Debug, Default)]
pub struct TargetPauses(HashMap<Target, TargetPause>);

#[derive(Debug)]
struct TargetPause {
    until: Duration,
    length: Duration,
}

impl TargetPauses {
    /// Lets a Secret wait, longer each time.
    pub fn pause(&mut self, target: &Target, retry: Retry, now: Duration) {
        let (first, longest) = retry.pauses().unwrap_or((NO_HOPE_PAUSE, NO_HOPE_PAUSE));
        let last = self.0.get(target).map(|last| last.length);
        let length = Backoff::new(first, longest).after(last.unwrap_or_default());
        let until = now + length;
        self.0.insert(target.clone(), TargetPause { until, length });
    }

    /// Forgets a Secret that was written.
    pub fn forget(&mut self, target: &Target) {
        self.0.remove(target);
    }

    /// Forgets all Secrets that are not stale any more.
    pub fn retain(&mut self, is_stale: impl Fn(&Target) -> bool) {
        self.0.retain(|target, _| is_stale(target));
    }

    /// Whether a Secret waits.
    pub fn is_pausing(&self, target: &Target, now: Duration) -> bool {
        let pause = self.0.get(target);
        pause.is_some_and(|pause| now < pause.until)
    }

    /// Whether a Secret was tried before.
    pub fn was_tried(&self, target: &Target) -> bool {
        self.0.contains_key(target)
    }

    /// Whether the pause of any Secret is over.
    pub fn is_any_over(&self, now: Duration) -> bool {
        self.0.values().any(|pause| now >= pause.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1000);

    fn target(namespace: &str) -> Target {
        Target::new(namespace, "pull")
    }

    #[test]
    fn pauses_double_for_each_secret_alone() {
        let (bad, good) = (target("bad"), target("good"));
        let mut now = START;
        let mut pauses = TargetPauses::default();
        let mut lengths = Vec::new();
        for _ in 0..8 {
            pauses.pause(&bad, Retry::Soon, now);
            assert!(pauses.is_pausing(&bad, now) && !pauses.is_pausing(&good, now));
            assert!(!pauses.is_any_over(now));
            let ends = (1..).find(|&ms| pauses.is_any_over(now + Duration::from_millis(ms)));
            lengths.extend(ends);
            now += Duration::from_secs(60);
        }
        assert_eq!(lengths, [500, 1000, 2000, 4000, 8000, 15000, 15000, 15000]);
        assert!(pauses.was_tried(&bad) && !pauses.is_pausing(&bad, now));
        pauses.forget(&bad);
        assert!(!pauses.was_tried(&bad) && !pauses.is_any_over(now));
        pauses.pause(&bad, Retry::Soon, now);
        assert!(!pauses.is_pausing(&bad, now + Duration::from_millis(500)));
    }

    #[test]
    fn hopeless_secret_waits_ten_minutes() {
        let (gone, bad) = (target("gone"), target("bad"));
        let mut pauses = TargetPauses::default();
        pauses.pause(&gone, Retry::Never, START);
        pauses.pause(&gone, Retry::Never, START);
        assert!(pauses.is_pausing(&gone, START + NO_HOPE_PAUSE / 2));
        assert!(!pauses.is_pausing(&gone, START + NO_HOPE_PAUSE));
        pauses.pause(&bad, Retry::Slowly, START);
        pauses.retain(|target| *target == bad);
        assert!(pauses.was_tried(&bad) && !pauses.was_tried(&gone));
    }
}
