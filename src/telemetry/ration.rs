//! A ration for log lines that a caller can cause: a flood of requests makes no flood of lines.

use std::time::Duration;

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

#[cfg(test)]
mod tests {
    use super::*;

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
