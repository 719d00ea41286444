//! How often `/metrics` computes. Any client that reaches the pod may ask for them, and the workers
//! that compute them answer reviews, too.
//!
//! Counters are exact in every answer. What a survey of all Secrets and tokens says may be a second
//! old. No two answers are computed at a time, and one that waits holds no worker.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// The shortest time between two surveys.
const SURVEY_INTERVAL: Duration = Duration::from_secs(1);

/// The time of the last survey. Held while an answer is computed.
#[derive(Debug, Default)]
pub(super) struct Scrapes(Mutex<Option<Instant>>);

impl Scrapes {
    /// The text of all metrics, after a survey if there was none in the second before `now`.
    pub(super) async fn text(
        &self,
        now: Instant,
        survey: impl FnOnce(),
        encode: impl FnOnce() -> String,
    ) -> String {
        let mut surveyed_at = self.0.lock().await;
        if surveyed_at.is_none_or(|at| now >= at + SURVEY_INTERVAL) {
            survey();
            *surveyed_at = Some(now);
        }
        encode()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn scrapes_of_one_second_survey_once() {
        let scrapes = Scrapes::default();
        let (start, surveys) = (Instant::now(), Cell::new(0));
        for (milliseconds, wanted) in [(0, "1"), (0, "1"), (999, "1"), (1000, "2"), (1001, "2")] {
            let survey = || surveys.set(surveys.get() + 1);
            let now = start + Duration::from_millis(milliseconds);
            let text = scrapes.text(now, survey, || surveys.get().to_string());
            assert_eq!(text.await, wanted, "{milliseconds}");
        }
    }
}
