//! Namespaces that could not be written, and when each is tried again: by itself, so that it delays
//! no other.

use std::collections::HashMap;
use std::time::Duration;

use ecr_pull_secrets_core::cause::Retry;
use tokio::time::Instant;

/// What nothing helps is looked at so often all the same: the obstacle may have gone.
const HOPELESS: Duration = Duration::from_secs(10 * 60);

/// See above.
#[derive(Debug, Default)]
pub(super) struct Pauses(HashMap<Box<str>, Pause>);

#[derive(Debug)]
struct Pause {
    until: Instant,
    length: Duration,
}

impl Pauses {
    /// The namespace waits, longer each time.
    pub(super) fn pause(&mut self, namespace: &str, retry: Retry, now: Instant) {
        let (first, longest) = retry.pauses().unwrap_or((HOPELESS, HOPELESS));
        let last = self.0.get(namespace);
        let length = last.map_or(first, |last| (last.length * 2).clamp(first, longest));
        let until = now + length;
        self.0.insert(namespace.into(), Pause { until, length });
    }

    /// The namespace was written.
    pub(super) fn forget(&mut self, namespace: &str) {
        self.0.remove(namespace);
    }

    /// Forgets the others.
    pub(super) fn retain(&mut self, is_behind: impl Fn(&str) -> bool) {
        self.0.retain(|namespace, _| is_behind(namespace));
    }

    /// Whether the namespace waits.
    pub(super) fn is_pausing(&self, namespace: &str, now: Instant) -> bool {
        let pause = self.0.get(namespace);
        pause.is_some_and(|pause| now < pause.until)
    }

    /// Whether it was tried before.
    pub(super) fn knows(&self, namespace: &str) -> bool {
        self.0.contains_key(namespace)
    }

    /// Whether some pause has ended.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.0.values().any(|pause| now >= pause.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pauses_double_for_each_namespace_by_itself() {
        let mut now = Instant::now();
        let mut pauses = Pauses::default();
        let mut lengths = Vec::new();
        for _ in 0..8 {
            pauses.pause("bad", Retry::Soon, now);
            assert!(pauses.is_pausing("bad", now) && !pauses.is_pausing("good", now));
            assert!(!pauses.is_over(now));
            let ends = (1..).find(|&ms| pauses.is_over(now + Duration::from_millis(ms)));
            lengths.extend(ends);
            now += Duration::from_secs(60);
        }
        assert_eq!(lengths, [500, 1000, 2000, 4000, 8000, 15000, 15000, 15000]);
        assert!(pauses.knows("bad") && !pauses.is_pausing("bad", now));
        pauses.forget("bad");
        assert!(!pauses.knows("bad") && !pauses.is_over(now));
        pauses.pause("bad", Retry::Soon, now);
        assert!(!pauses.is_pausing("bad", now + Duration::from_millis(500)));
    }

    #[tokio::test]
    async fn what_nothing_helps_waits_long_and_not_for_ever() {
        let now = Instant::now();
        let mut pauses = Pauses::default();
        pauses.pause("gone", Retry::Never, now);
        pauses.pause("gone", Retry::Never, now);
        assert!(pauses.is_pausing("gone", now + HOPELESS / 2));
        assert!(!pauses.is_pausing("gone", now + HOPELESS));
        pauses.pause("bad", Retry::Slowly, now);
        pauses.retain(|namespace| namespace == "bad");
        assert!(pauses.knows("bad") && !pauses.knows("gone"));
    }
}
