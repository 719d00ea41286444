//! Log lines that somebody outside can cause get a ration: a flood of requests is no flood of lines.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lines in [`WINDOW`].
const LINES: u32 = 60;
const WINDOW: Duration = Duration::from_secs(60);

/// See above.
#[derive(Debug, Default)]
pub(crate) struct Ration(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    since: Option<Instant>,
    lines: u32,
    unsaid: u64,
}

impl Ration {
    /// Whether one more line may be written, and how many were not since the last one.
    pub(crate) fn take(&self) -> Option<u64> {
        self.take_at(Instant::now())
    }

    fn take_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.since.is_none_or(|since| now >= since + WINDOW) {
            (state.since, state.lines) = (Some(now), 0);
        }
        if state.lines == LINES {
            state.unsaid += 1;
            return None;
        }
        state.lines += 1;
        Some(std::mem::take(&mut state.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_ration_is_counted_and_said_with_the_next_line() {
        let (ration, start) = (Ration::default(), Instant::now());
        for _ in 0..LINES {
            assert_eq!(ration.take_at(start), Some(0));
        }
        for _ in 0..1000 {
            assert_eq!(ration.take_at(start + WINDOW / 2), None);
        }
        assert_eq!(ration.take_at(start + WINDOW), Some(1000));
        assert_eq!(ration.take_at(start + WINDOW), Some(0));
    }
}
