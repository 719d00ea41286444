//! Reports that the API server did not take: they wait here, and hold up no other work.
//!
//! A webhook, a policy or a limit may refuse the Events of one namespace for as long as it likes. So
//! each namespace has a pause of its own, tries one report at a time, and takes a limited number of
//! places.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::backoff::Backoff;

/// The pauses between two attempts in one namespace.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(15));
/// The most reports that wait.
const MAX_WAITING: usize = 4096;
/// Those of one namespace.
const MAX_OF_NAMESPACE: usize = 1024;

/// Reports that wait. All times are since one start.
#[derive(Debug)]
pub struct ReportBacklog<R> {
    namespaces: BTreeMap<Box<str>, NamespaceBacklog<R>>,
}

/// The reports of one namespace.
#[derive(Debug)]
struct NamespaceBacklog<R> {
    waiting: VecDeque<(Box<str>, R)>,
    is_trying: bool,
    pause: Duration,
    /// The time of the next attempt.
    due: Duration,
}

/// A report that is tried again.
#[derive(Debug)]
pub struct RetriedReport<R> {
    /// Its namespace.
    pub namespace: Box<str>,
    /// What tells it from the others of its namespace.
    pub name: Box<str>,
    /// The report.
    pub report: R,
}

/// What became of a report that came to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admittance {
    /// It waits.
    Waits,
    /// Its namespace has too many.
    FullOfNamespace,
    /// There are too many.
    Full,
}

impl<R> Default for ReportBacklog<R> {
    fn default() -> Self {
        Self {
            namespaces: BTreeMap::new(),
        }
    }
}

impl<R> ReportBacklog<R> {
    /// Whether reports of a namespace wait. Those that come then have to wait with them.
    pub fn has(&self, namespace: &str) -> bool {
        self.namespaces.contains_key(namespace)
    }

    /// Adds a report. It replaces one of the same name.
    pub fn add(&mut self, namespace: &str, name: &str, report: R, now: Duration) -> Admittance {
        let waiting = self.namespaces.get_mut(namespace);
        if let Some(waiting) = waiting
            && let Some((_, known)) = waiting
                .waiting
                .iter_mut()
                .find(|(known, _)| **known == *name)
        {
            *known = report;
            return Admittance::Waits;
        }
        let count = self.namespaces.values().map(NamespaceBacklog::len).sum();
        if MAX_WAITING <= count {
            return Admittance::Full;
        }
        let beside = self.namespaces.get(namespace);
        if beside.is_some_and(|beside| beside.len() >= MAX_OF_NAMESPACE) {
            return Admittance::FullOfNamespace;
        }
        let first = || {
            let pause = PAUSES.after(Duration::ZERO);
            NamespaceBacklog {
                waiting: VecDeque::new(),
                is_trying: false,
                pause,
                due: now + pause,
            }
        };
        let beside = self
            .namespaces
            .entry(namespace.into())
            .or_insert_with(first);
        beside.waiting.push_back((name.into(), report));
        Admittance::Waits
    }

    /// The time of the next attempt.
    pub fn next(&self) -> Option<Duration> {
        let idle = self.namespaces.values().filter(|all| !all.is_trying);
        idle.map(|all| all.due).min()
    }

    /// Begins an attempt that is due. The namespace makes no other one until it [ends](Self::end).
    pub fn begin(&mut self, now: Duration) -> Option<RetriedReport<R>> {
        let idle = self.namespaces.iter_mut();
        let idle = idle.filter(|(_, all)| !all.is_trying && all.due <= now);
        let (namespace, all) = idle.min_by_key(|(_, all)| all.due)?;
        let (name, report) = all.waiting.pop_front()?;
        all.is_trying = true;
        Some(RetriedReport {
            namespace: namespace.clone(),
            name,
            report,
        })
    }

    /// Ends an attempt. `again` is the report, if the API server did not take it.
    pub fn end(&mut self, namespace: &str, again: Option<(Box<str>, R)>, now: Duration) {
        let Some(all) = self.namespaces.get_mut(namespace) else {
            return;
        };
        all.is_trying = false;
        all.pause = match again {
            Some(report) => {
                all.waiting.push_front(report);
                PAUSES.after(all.pause)
            }
            None => Duration::ZERO,
        };
        all.due = now + all.pause;
        if all.waiting.is_empty() {
            self.namespaces.remove(namespace);
        }
    }
}

impl<R> NamespaceBacklog<R> {
    fn len(&self) -> usize {
        self.waiting.len() + usize::from(self.is_trying)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn backlog(reports: &[(&str, &str)]) -> ReportBacklog<u32> {
        let mut backlog = ReportBacklog::default();
        for (namespace, name) in reports {
            let added = backlog.add(namespace, name, 0, Duration::ZERO);
            assert_eq!(added, Admittance::Waits);
        }
        backlog
    }

    /// Begins the attempt that is due, as its namespace and name.
    fn begin(backlog: &mut ReportBacklog<u32>, now: Duration) -> Option<(String, String)> {
        let retried = backlog.begin(now)?;
        Some((retried.namespace.into(), retried.name.into()))
    }

    fn pair(namespace: &str, name: &str) -> Option<(String, String)> {
        Some((namespace.to_owned(), name.to_owned()))
    }

    #[test]
    fn namespace_tries_one_report_at_a_time() {
        let mut backlog = backlog(&[("bad", "a"), ("bad", "b")]);
        assert_eq!(begin(&mut backlog, 99 * MS), None);
        assert_eq!(backlog.next(), Some(100 * MS));
        assert_eq!(begin(&mut backlog, 100 * MS), pair("bad", "a"));
        assert_eq!(backlog.next(), None);
        assert_eq!(begin(&mut backlog, 1000 * MS), None);
        // What comes meanwhile waits, too.
        assert!(backlog.has("bad") && !backlog.has("good"));
        backlog.end("bad", None, 150 * MS);
        assert_eq!(begin(&mut backlog, 150 * MS), pair("bad", "b"));
        backlog.end("bad", None, 160 * MS);
        assert!(!backlog.has("bad") && backlog.next().is_none());
    }

    #[test]
    fn pauses_double_for_each_namespace_alone() {
        let mut backlog = backlog(&[("bad", "a"), ("bad", "b")]);
        let (mut now, mut pauses) = (Duration::ZERO, Vec::new());
        for _ in 0..10 {
            let due = backlog.next().unwrap();
            pauses.push((due - now).as_millis());
            now = due;
            let retried = backlog.begin(now).unwrap();
            // The order stays.
            assert_eq!(&*retried.name, "a");
            backlog.end("bad", Some((retried.name, retried.report)), now);
        }
        let wanted = [100, 200, 400, 800, 1600, 3200, 6400, 12800, 15000, 15000];
        assert_eq!(pauses, wanted);
        backlog.add("good", "a", 0, now);
        assert_eq!(backlog.next(), Some(now + 100 * MS));
        assert_eq!(begin(&mut backlog, now + 100 * MS), pair("good", "a"));
        // After a success, the next one follows at once.
        now = backlog.next().unwrap();
        assert_eq!(begin(&mut backlog, now), pair("bad", "a"));
        backlog.end("bad", None, now);
        assert_eq!(begin(&mut backlog, now), pair("bad", "b"));
    }

    #[test]
    fn same_report_waits_once() {
        let mut backlog = backlog(&[("team", "a")]);
        assert_eq!(backlog.add("team", "a", 7, MS), Admittance::Waits);
        assert_eq!(backlog.begin(100 * MS).unwrap().report, 7);
        backlog.end("team", None, 100 * MS);
        assert!(!backlog.has("team"));
    }

    #[test]
    fn waiting_reports_leave_room_for_other_namespaces() {
        let mut backlog = ReportBacklog::default();
        let mut add = |namespace: &str, number: usize| {
            backlog.add(namespace, &number.to_string(), 0, Duration::ZERO)
        };
        for number in 0..MAX_OF_NAMESPACE {
            assert_eq!(add("hostile", number), Admittance::Waits);
        }
        assert_eq!(add("hostile", MAX_WAITING), Admittance::FullOfNamespace);
        assert_eq!(add("hostile", 0), Admittance::Waits, "it waits already");
        for number in 0..MAX_WAITING - MAX_OF_NAMESPACE {
            assert_eq!(add(&format!("team-{number}"), 0), Admittance::Waits);
        }
        assert_eq!(add("next", 0), Admittance::Full);
        // An attempt keeps its place: it may have to wait again.
        backlog.begin(100 * MS).unwrap();
        assert_eq!(backlog.add("next", "0", 0, MS), Admittance::Full);
    }
}
