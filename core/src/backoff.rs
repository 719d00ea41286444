//! Doubling pauses: one rule for every loop that tries again.
//!
//! Nothing here is random or knows the time: jitter is an argument between 0 and 1.

use std::time::Duration;

/// The bounds of a pause that doubles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The pause after the first failure.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
}

impl Backoff {
    /// Pauses from `first` to `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    /// The pause that follows `last`; zero before the first failure.
    pub fn after(self, last: Duration) -> Duration {
        let next = last.saturating_mul(2);
        next.max(self.first).min(self.longest)
    }

    /// The pause after this number of failures in a row; the first is 1.
    pub fn nth(self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.first
            .saturating_mul(1_u32 << doublings)
            .min(self.longest)
    }
}

/// Spreads a pause over its second half, so that replicas do not act in step. A jitter outside 0
/// to 1 counts as 1.
pub fn jittered(pause: Duration, jitter: f64) -> Duration {
    let jitter = Some(jitter)
        .filter(|jitter| (0.0..=1.0).contains(jitter))
        .unwrap_or(1.0);
    pause.mul_f64(0.5 + jitter / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const BOUNDS: Backoff = Backoff::new(SECOND, Duration::from_secs(5));

    #[test]
    fn pause_doubles_up_to_the_longest() {
        let mut pause = Duration::ZERO;
        let mut pauses = Vec::new();
        for failures in 1..=5 {
            pause = BOUNDS.after(pause);
            pauses.push(pause.as_secs());
            assert_eq!(pause, BOUNDS.nth(failures));
        }
        assert_eq!(pauses, [1, 2, 4, 5, 5]);
        assert_eq!(BOUNDS.nth(u32::MAX), BOUNDS.longest);
        assert_eq!(BOUNDS.after(Duration::MAX), BOUNDS.longest);
        assert_eq!(BOUNDS.nth(0), BOUNDS.first);
    }

    #[test]
    fn longest_wins_over_first() {
        let odd = Backoff::new(SECOND, SECOND / 2);
        assert_eq!(odd.after(Duration::ZERO), SECOND / 2);
        assert_eq!(odd.nth(1), SECOND / 2);
    }

    #[test]
    fn jitter_stays_in_the_second_half() {
        assert_eq!(jittered(SECOND, 0.0), SECOND / 2);
        assert_eq!(jittered(SECOND, 1.0), SECOND);
        for odd in [-1.0, 2.0, f64::NAN, f64::INFINITY] {
            assert_eq!(jittered(SECOND, odd), SECOND);
        }
    }
}
