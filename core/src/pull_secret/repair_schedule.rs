//! When a namespace whose Secret somebody changed is looked at: soon, and then less and less often,
//! where somebody keeps changing it.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

/// Changes come in bursts.
const SOON: Duration = Duration::from_millis(200);
/// The second look, and the longest pause between two.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5 * 60));
/// After so long without a change nobody is at it any more.
const QUIET: Duration = Duration::from_secs(10 * 60);

/// All namespaces in which there was a change lately.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    cases: HashMap<Box<str>, Case>,
    due: BTreeSet<(Instant, Box<str>)>,
}

#[derive(Debug)]
struct Case {
    state: State,
    /// When the last look began.
    looked: Option<Instant>,
    /// From then to the next.
    pause: Duration,
    /// When it was heard of last.
    heard: Instant,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// In `due`.
    Waiting,
    /// Being looked at.
    Looking,
    /// Being looked at, and changed since the look began.
    LookingAgain,
    /// Nothing to do.
    Idle,
}

impl Schedule {
    /// The Secret of a namespace changed.
    pub(super) fn heard(&mut self, namespace: Box<str>, now: Instant) {
        if !self.cases.contains_key(&namespace) {
            self.forget(now);
        }
        let case = self.cases.entry(namespace.clone()).or_insert(Case {
            state: State::Idle,
            looked: None,
            pause: Duration::ZERO,
            heard: now,
        });
        if case.is_over(now) {
            case.pause = Duration::ZERO;
        }
        case.heard = now;
        match case.state {
            State::Idle => self.wait(namespace, now),
            State::Looking => case.state = State::LookingAgain,
            State::Waiting | State::LookingAgain => {}
        }
    }

    /// When the next look is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Begins a look that is due.
    pub(super) fn begin(&mut self, now: Instant) -> Option<Box<str>> {
        if self.next()? > now {
            return None;
        }
        let (_, namespace) = self.due.pop_first()?;
        let case = self.cases.get_mut(&namespace)?;
        case.state = State::Looking;
        case.looked = Some(now);
        case.pause = (case.pause * 2).clamp(PAUSES.0, PAUSES.1);
        Some(namespace)
    }

    /// A look is over; `again` where it came to nothing.
    pub(super) fn end(&mut self, namespace: Box<str>, again: bool, now: Instant) {
        let Some(case) = self.cases.get_mut(&namespace) else {
            return;
        };
        if again || case.state == State::LookingAgain {
            self.wait(namespace, now);
        } else {
            case.state = State::Idle;
        }
    }

    fn wait(&mut self, namespace: Box<str>, now: Instant) {
        let Some(case) = self.cases.get_mut(&namespace) else {
            return;
        };
        case.state = State::Waiting;
        let after_pause = case.looked.map_or(now, |looked| looked + case.pause);
        self.due.insert((after_pause.max(now + SOON), namespace));
    }

    /// Forgets what is over, whenever there is a lot.
    fn forget(&mut self, now: Instant) {
        if self.cases.len() % 1024 == 1023 {
            self.cases.retain(|_, case| !case.is_over(now));
        }
    }
}

impl Case {
    fn is_over(&self, now: Instant) -> bool {
        let last = self.looked.map_or(self.heard, |at| at.max(self.heard));
        self.state == State::Idle && now.duration_since(last) >= QUIET
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_is_one_look_and_soon() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        assert_eq!(schedule.next(), None);
        for number in 0..10 {
            schedule.heard("a".into(), start + number * MS);
        }
        assert_eq!(schedule.begin(start + 199 * MS), None);
        assert_eq!(schedule.next(), Some(start + SOON));
        assert_eq!(schedule.begin(start + SOON).as_deref(), Some("a"));
        assert_eq!(schedule.begin(start + S), None);
        schedule.end("a".into(), false, start + S);
        assert_eq!(schedule.next(), None);
    }

    /// The pauses between looks while somebody changes the Secret right after each.
    fn fight(schedule: &mut Schedule, mut now: Instant, looks: usize) -> (Vec<u64>, Instant) {
        let (mut pauses, mut last) = (Vec::new(), now);
        for _ in 0..looks {
            schedule.heard("a".into(), now);
            now = schedule.next().unwrap();
            assert!(schedule.begin(now).is_some());
            pauses.push((now - last).as_secs());
            last = now;
            schedule.end("a".into(), false, now + 10 * MS);
            now += 20 * MS;
        }
        (pauses, now)
    }

    #[test]
    fn a_tug_of_war_is_fought_less_and_less_often_until_it_is_quiet() {
        let mut schedule = Schedule::default();
        let (pauses, now) = fight(&mut schedule, Instant::now(), 12);
        assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        // Somebody who comes back soon is met where he left.
        let (pauses, now) = fight(&mut schedule, now + 9 * 60 * S, 2);
        assert_eq!(pauses, [0, 300]);
        let (pauses, _) = fight(&mut schedule, now + QUIET, 3);
        assert_eq!(pauses, [0, 1, 2]);
    }

    #[test]
    fn one_namespace_keeps_no_other_waiting() {
        let mut schedule = Schedule::default();
        let (_, now) = fight(&mut schedule, Instant::now(), 12);
        schedule.heard("a".into(), now);
        schedule.heard("b".into(), now);
        assert_eq!(schedule.begin(now + SOON).as_deref(), Some("b"));
        assert_eq!(schedule.begin(now + SOON), None);
    }

    #[test]
    fn what_changes_during_a_look_and_what_fails_is_looked_at_again() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        schedule.heard("a".into(), start);
        schedule.begin(start + S).unwrap();
        schedule.heard("a".into(), start + S);
        assert_eq!(schedule.next(), None);
        schedule.end("a".into(), false, start + S + MS);
        assert_eq!(schedule.next(), Some(start + 2 * S));
        schedule.begin(start + 2 * S).unwrap();
        schedule.end("a".into(), true, start + 3 * S);
        assert_eq!(schedule.next(), Some(start + 4 * S));
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        for number in 0..5000_u32 {
            let now = start + number * S;
            schedule.heard(number.to_string().into(), now);
            let namespace = schedule.begin(now + S).unwrap();
            schedule.end(namespace, false, now + S);
        }
        assert!(schedule.cases.len() < 2048, "{}", schedule.cases.len());
        assert!(schedule.due.is_empty());
    }
}
