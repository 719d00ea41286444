//! How many writes run at a time: as many as the API server takes without complaint.
//!
//! Half as many after a complaint, one more after a round without. While there are only complaints,
//! there are pauses as well, and an API server that comes back meets one call, not a crowd.

use std::time::Duration;

use tokio::time::Instant;

/// A pool of 16 applies some 750 Secrets a second on two cores, and more do not help.
const MOST: usize = 16;
const FIRST_HOLD: Duration = Duration::from_millis(250);
const LONGEST_HOLD: Duration = Duration::from_secs(5);

/// See above.
#[derive(Debug)]
pub(super) struct Pace {
    limit: usize,
    /// Answers since the limit changed.
    answers: usize,
    /// Counts the cuts.
    cuts: u64,
    hold: Duration,
    opens_at: Instant,
}

/// Says which pace a write began under.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket(u64);

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            limit: MOST,
            answers: 0,
            cuts: 0,
            hold: Duration::ZERO,
            opens_at: now,
        }
    }

    /// Whether one more may start.
    pub(super) fn has_room(&self, running: usize, now: Instant) -> bool {
        running < self.limit && now >= self.opens_at
    }

    /// When the pause ends.
    pub(super) fn opens_at(&self) -> Instant {
        self.opens_at
    }

    /// For a write that starts.
    pub(super) fn ticket(&self) -> Ticket {
        Ticket(self.cuts)
    }

    /// The API server had the time to answer, whatever the answer.
    pub(super) fn answered(&mut self) {
        self.hold = Duration::ZERO;
        self.answers += 1;
        if self.answers >= self.limit {
            self.limit = (self.limit + 1).min(MOST);
            self.answers = 0;
        }
    }

    /// It had not. Sixteen complaints about one burst are one complaint.
    pub(super) fn busy(&mut self, ticket: Ticket, now: Instant) {
        if ticket.0 != self.cuts {
            return;
        }
        self.cuts += 1;
        self.answers = 0;
        self.limit = (self.limit / 2).max(1);
        self.hold = (self.hold * 2).clamp(FIRST_HOLD, LONGEST_HOLD);
        self.opens_at = now + self.hold;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The greatest number that may run at this time.
    fn limit(pace: &Pace, now: Instant) -> usize {
        let room = |running: &usize| pace.has_room(*running, now);
        (0..).take_while(room).count()
    }

    #[tokio::test]
    async fn a_complaint_halves_and_a_round_of_answers_adds_one() {
        let now = Instant::now();
        let later = now + LONGEST_HOLD;
        let mut pace = Pace::new(now);
        assert_eq!(limit(&pace, now), MOST);
        for _ in 0..100 {
            pace.answered();
        }
        assert_eq!(limit(&pace, now), MOST);
        pace.busy(pace.ticket(), now);
        assert_eq!(limit(&pace, later), 8);
        for _ in 0..7 {
            pace.answered();
        }
        assert_eq!(limit(&pace, later), 8);
        pace.answered();
        assert_eq!(limit(&pace, later), 9);
        for _ in 0..9 + 10 {
            pace.answered();
        }
        assert_eq!(limit(&pace, later), 11);
    }

    #[tokio::test]
    async fn one_burst_is_one_complaint() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        let tickets = [pace.ticket(); MOST];
        for ticket in tickets {
            pace.busy(ticket, now);
        }
        assert_eq!(limit(&pace, now + LONGEST_HOLD), MOST / 2);
        pace.busy(pace.ticket(), now);
        assert_eq!(limit(&pace, now + LONGEST_HOLD), MOST / 4);
    }

    #[tokio::test]
    async fn while_there_are_only_complaints_one_call_asks_now_and_then() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        let mut holds = Vec::new();
        for _ in 0..8 {
            pace.busy(pace.ticket(), now);
            assert_eq!(limit(&pace, now), 0);
            holds.push((pace.opens_at() - now).as_millis());
            now = pace.opens_at();
        }
        assert_eq!(limit(&pace, now), 1);
        assert_eq!(holds, [250, 500, 1000, 2000, 4000, 5000, 5000, 5000]);
        pace.answered();
        assert_eq!(limit(&pace, now), 2);
        pace.busy(pace.ticket(), now);
        assert_eq!(pace.opens_at() - now, FIRST_HOLD);
    }
}
