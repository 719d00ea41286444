//! How many writes run at a time: as many as the API server answers without a sign of overload.
//!
//! The limit is halved after such a sign, and grows by one after a round of answers without one.
//! While there is no other answer, writes pause as well, so that an API server that comes back gets
//! one call first.

use std::collections::HashMap;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::target::Target;

/// The most writes at a time. A pool of 16 applies some 750 Secrets a second on two cores, and more
/// do not help.
const MAX_WRITES: usize = 16;
/// The pauses after signs of overload.
const HOLDS: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
/// The shortest time between two signs of overload by one Secret: its namespace may have a webhook that
/// fails, and a tenant may make its Secret fresh and stale in turn.
const MIN_BETWEEN_SIGNS: Duration = Duration::from_secs(10 * 60);

/// The limit of concurrent writes.
#[derive(Debug)]
pub struct Pace {
    limit: usize,
    /// Answers since the limit changed.
    answers: usize,
    /// How often the limit was halved.
    cuts: u64,
    hold: Duration,
    opens_at: Duration,
    /// The Secrets that gave a sign of overload, and when.
    signs: HashMap<Target, Duration>,
}

/// The limit that a write began under.
#[derive(Clone, Copy, Debug)]
pub struct PaceTicket(u64);

impl Pace {
    /// Starts with the most writes, and no pause.
    pub fn new(now: Duration) -> Self {
        Self {
            limit: MAX_WRITES,
            answers: 0,
            cuts: 0,
            hold: Duration::ZERO,
            opens_at: now,
            signs: HashMap::new(),
        }
    }

    /// Whether one more write may start while this number runs.
    pub fn has_room(&self, running: usize, now: Duration) -> bool {
        running < self.limit && now >= self.opens_at
    }

    /// When the pause ends.
    pub fn opens_at(&self) -> Duration {
        self.opens_at
    }

    /// The ticket for a write that starts now.
    pub fn ticket(&self) -> PaceTicket {
        PaceTicket(self.cuts)
    }

    /// The API server had the time to answer, whatever the answer was.
    pub fn answered(&mut self) {
        self.hold = Duration::ZERO;
        self.answers += 1;
        if self.answers >= self.limit {
            self.limit = (self.limit + 1).min(MAX_WRITES);
            self.answers = 0;
        }
    }

    /// The write of this Secret says that the API server is overloaded or does not answer. Sixteen failures
    /// of one burst count once, and so do those of one Secret in ten minutes.
    pub fn overloaded(&mut self, target: &Target, ticket: PaceTicket, now: Duration) {
        self.signs.retain(|_, at| now < *at + MIN_BETWEEN_SIGNS);
        if ticket.0 != self.cuts || self.signs.contains_key(target) {
            return;
        }
        self.signs.insert(target.clone(), now);
        self.cuts += 1;
        self.answers = 0;
        self.limit = (self.limit / 2).max(1);
        self.hold = HOLDS.after(self.hold);
        self.opens_at = now + self.hold;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1000);

    fn target(number: usize) -> Target {
        Target::new(number.to_string(), "pull")
    }

    /// The greatest number that may run at this time.
    fn limit(pace: &Pace, now: Duration) -> usize {
        let room = |running: &usize| pace.has_room(*running, now);
        (0..).take_while(room).count()
    }

    #[test]
    fn overload_halves_and_round_of_answers_adds_one() {
        let later = START + HOLDS.longest;
        let mut pace = Pace::new(START);
        assert_eq!(limit(&pace, START), MAX_WRITES);
        for _ in 0..100 {
            pace.answered();
        }
        assert_eq!(limit(&pace, START), MAX_WRITES);
        pace.overloaded(&target(0), pace.ticket(), START);
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

    #[test]
    fn one_burst_counts_as_one_overload() {
        let mut pace = Pace::new(START);
        let tickets = [pace.ticket(); MAX_WRITES];
        for (number, ticket) in tickets.into_iter().enumerate() {
            pace.overloaded(&target(number), ticket, START);
        }
        assert_eq!(limit(&pace, START + HOLDS.longest), MAX_WRITES / 2);
        let next = target(MAX_WRITES);
        pace.overloaded(&next, pace.ticket(), START);
        assert_eq!(limit(&pace, START + HOLDS.longest), MAX_WRITES / 4);
    }

    #[test]
    fn one_secret_slows_all_once_in_ten_minutes() {
        let mut pace = Pace::new(START);
        let mut fails = |now| {
            pace.overloaded(&target(0), pace.ticket(), now);
            limit(&pace, now + HOLDS.longest)
        };
        let limits =
            [0, 1, 599, 600, 601].map(|seconds| fails(START + Duration::from_secs(seconds)));
        assert_eq!(limits, [8, 8, 8, 4, 4]);
    }

    #[test]
    fn during_overload_single_calls_follow_growing_pauses() {
        let mut now = START;
        let mut pace = Pace::new(now);
        let mut holds = Vec::new();
        for number in 0..8 {
            pace.overloaded(&target(number), pace.ticket(), now);
            assert_eq!(limit(&pace, now), 0);
            holds.push((pace.opens_at() - now).as_millis());
            now = pace.opens_at();
        }
        assert_eq!(limit(&pace, now), 1);
        assert_eq!(holds, [250, 500, 1000, 2000, 4000, 5000, 5000, 5000]);
        pace.answered();
        assert_eq!(limit(&pace, now), 2);
        pace.overloaded(&target(8), pace.ticket(), now);
        assert_eq!(pace.opens_at() - now, HOLDS.first);
    }
}
