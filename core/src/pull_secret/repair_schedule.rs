//! When a pull Secret that another writer changed is checked: soon, and at growing intervals while
//! that writer keeps changing it.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::backoff::Backoff;
use crate::target::Target;

/// The pause before the first check: changes come in bursts.
const FIRST_CHECK_DELAY: Duration = Duration::from_millis(200);
/// The pauses between later checks.
const CHECK_PAUSES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5 * 60));
/// The time without a change after which the pauses start again from the first.
const QUIET: Duration = Duration::from_secs(10 * 60);

/// The Secrets that changed lately. All times are since one start.
#[derive(Debug, Default)]
pub struct RepairSchedule {
    cases: HashMap<Target, RepairCase>,
    due: BTreeSet<(Duration, Target)>,
}

#[derive(Debug)]
struct RepairCase {
    step: RepairStep,
    /// When the last check began.
    checked: Option<Duration>,
    /// The least time from there to the next.
    pause: Duration,
    /// When the Secret changed last.
    changed: Duration,
}

#[derive(Debug, PartialEq, Eq)]
enum RepairStep {
    /// In `due`.
    Waiting,
    /// A check runs.
    Checking,
    /// A check runs, and the Secret has changed since it began.
    Outdated,
    /// Nothing to do.
    Idle,
}

impl RepairSchedule {
    /// A Secret changed.
    pub fn changed(&mut self, target: Target, now: Duration) {
        if !self.cases.contains_key(&target) {
            self.forget(now);
        }
        let case = self.cases.entry(target.clone()).or_insert(RepairCase {
            step: RepairStep::Idle,
            checked: None,
            pause: Duration::ZERO,
            changed: now,
        });
        if case.is_over(now) {
            case.pause = Duration::ZERO;
        }
        case.changed = now;
        match case.step {
            RepairStep::Idle => self.wait(target, now),
            RepairStep::Checking => case.step = RepairStep::Outdated,
            RepairStep::Waiting | RepairStep::Outdated => {}
        }
    }

    /// When the next check is due.
    pub fn next(&self) -> Option<Duration> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Begins a check that is due.
    pub fn begin(&mut self, now: Duration) -> Option<Target> {
        if self.next()? > now {
            return None;
        }
        let (_, target) = self.due.pop_first()?;
        let case = self.cases.get_mut(&target)?;
        case.step = RepairStep::Checking;
        case.checked = Some(now);
        case.pause = CHECK_PAUSES.after(case.pause);
        Some(target)
    }

    /// Ends a check; one that failed is repeated.
    pub fn end(&mut self, target: Target, has_failed: bool, now: Duration) {
        let Some(case) = self.cases.get_mut(&target) else {
            return;
        };
        if has_failed || case.step == RepairStep::Outdated {
            self.wait(target, now);
        } else {
            case.step = RepairStep::Idle;
        }
    }

    fn wait(&mut self, target: Target, now: Duration) {
        let Some(case) = self.cases.get_mut(&target) else {
            return;
        };
        case.step = RepairStep::Waiting;
        let after_pause = case.checked.map_or(now, |checked| checked + case.pause);
        self.due
            .insert((after_pause.max(now + FIRST_CHECK_DELAY), target));
    }

    /// Forgets cases that are over, each time that 1,024 more have come.
    fn forget(&mut self, now: Duration) {
        if self.cases.len() % 1024 == 1023 {
            self.cases.retain(|_, case| !case.is_over(now));
        }
    }
}

impl RepairCase {
    fn is_over(&self, now: Duration) -> bool {
        let last = self.checked.map_or(self.changed, |at| at.max(self.changed));
        self.step == RepairStep::Idle && now.saturating_sub(last) >= QUIET
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const S: Duration = Duration::from_secs(1);
    const START: Duration = Duration::from_secs(1000);

    fn target(namespace: &str) -> Target {
        Target::new(namespace, "pull")
    }

    #[test]
    fn burst_of_changes_is_one_check() {
        let (mut schedule, start) = (RepairSchedule::default(), START);
        assert_eq!(schedule.next(), None);
        for number in 0..10 {
            schedule.changed(target("a"), start + number * MS);
        }
        assert_eq!(schedule.begin(start + 199 * MS), None);
        assert_eq!(schedule.next(), Some(start + FIRST_CHECK_DELAY));
        assert_eq!(schedule.begin(start + FIRST_CHECK_DELAY), Some(target("a")));
        assert_eq!(schedule.begin(start + S), None);
        schedule.end(target("a"), false, start + S);
        assert_eq!(schedule.next(), None);
    }

    /// The pauses between checks while another writer changes the Secret right after each.
    fn fight(
        schedule: &mut RepairSchedule,
        mut now: Duration,
        checks: usize,
    ) -> (Vec<u64>, Duration) {
        let (mut pauses, mut last) = (Vec::new(), now);
        for _ in 0..checks {
            schedule.changed(target("a"), now);
            now = schedule.next().unwrap();
            assert!(schedule.begin(now).is_some());
            pauses.push((now - last).as_secs());
            last = now;
            schedule.end(target("a"), false, now + 10 * MS);
            now += 20 * MS;
        }
        (pauses, now)
    }

    #[test]
    fn repeated_edits_are_checked_at_growing_intervals() {
        let mut schedule = RepairSchedule::default();
        let (pauses, now) = fight(&mut schedule, START, 12);
        assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        // A writer that comes back before the quiet time meets the longest pause.
        let (pauses, now) = fight(&mut schedule, now + 9 * 60 * S, 2);
        assert_eq!(pauses, [0, 300]);
        let (pauses, _) = fight(&mut schedule, now + QUIET, 3);
        assert_eq!(pauses, [0, 1, 2]);
    }

    #[test]
    fn one_secret_delays_no_other() {
        let mut schedule = RepairSchedule::default();
        let (_, now) = fight(&mut schedule, START, 12);
        schedule.changed(target("a"), now);
        schedule.changed(target("b"), now);
        assert_eq!(schedule.begin(now + FIRST_CHECK_DELAY), Some(target("b")));
        assert_eq!(schedule.begin(now + FIRST_CHECK_DELAY), None);
    }

    #[test]
    fn change_during_check_and_failed_check_are_repeated() {
        let (mut schedule, start) = (RepairSchedule::default(), START);
        schedule.changed(target("a"), start);
        schedule.begin(start + S).unwrap();
        schedule.changed(target("a"), start + S);
        assert_eq!(schedule.next(), None);
        schedule.end(target("a"), false, start + S + MS);
        assert_eq!(schedule.next(), Some(start + 2 * S));
        schedule.begin(start + 2 * S).unwrap();
        schedule.end(target("a"), true, start + 3 * S);
        assert_eq!(schedule.next(), Some(start + 4 * S));
    }

    #[test]
    fn quiet_secret_is_forgotten() {
        let (mut schedule, start) = (RepairSchedule::default(), START);
        for number in 0..5000_u32 {
            let now = start + number * S;
            schedule.changed(target(&number.to_string()), now);
            let target = schedule.begin(now + S).unwrap();
            schedule.end(target, false, now + S);
        }
        assert!(schedule.cases.len() < 2048, "{}", schedule.cases.len());
        assert!(schedule.due.is_empty());
    }
}
