//! How missed pods are reported: each by an Event of its own, or many by one Event with a count.
//!
//! An Event costs the API server as much as a pod. So a burst of missed pods is reported once for each
//! controller, and the pods that are older than the installation once for each namespace: nothing
//! missed them, and there may be thousands. Nothing here knows the time.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::backoff::Backoff;
use crate::shares::NoSlot;

/// Missed pods of one second that get an Event each,
const OWN_EVENTS: u32 = 20;
/// those of each namespace that do so also beyond that number,
const LEFT_TO_OTHERS: u32 = 3;
/// and those of all namespaces.
const MAX_EVENTS: u32 = 60;
/// The most missed pods in memory: 4 MiB. While it is full, no further pod is reported.
const MAX_PODS: usize = 131_072;
/// Those of one namespace.
const MAX_PODS_OF_NAMESPACE: usize = MAX_PODS / 4;
/// The most groups, and those of one namespace.
const MAX_GROUPS: usize = 8192;
const MAX_OF_NAMESPACE: usize = 64;
/// A group's Event is written when no pod has come for this long,
const QUIET_TIME: Duration = Duration::from_secs(1);
/// and at the latest this long after the first one.
const GATHER_TIME: Duration = Duration::from_secs(3);
/// Creation times have whole seconds: while pods come, others of the last second may follow.
const LAST_SECOND: SignedDuration = SignedDuration::from_secs(1);
/// The time between two changes of the count of one group; doubled after each failure.
const PAUSES: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(15));

/// The missed pods that this process has reported, as hashes of their uids. A pod that two lists of all
/// pods in a row do not have is forgotten: it is gone. No other is, so none is reported twice.
#[derive(Debug, Default)]
pub struct ReportedPods {
    by_namespace: HashMap<Box<str>, PodsOfNamespace>,
    total: usize,
}

#[derive(Debug, Default)]
struct PodsOfNamespace {
    /// Those of the last complete list.
    before: HashSet<u64>,
    /// Those seen since it ended.
    seen: HashSet<u64>,
}

/// The missed pods that are being reported, as hashes of their uids.
#[derive(Debug, Default)]
pub struct PodsUnderWay {
    pods: HashSet<u64>,
    by_namespace: HashMap<Box<str>, usize>,
}

impl PodsUnderWay {
    /// Begins to report a pod, unless that is under way.
    pub fn begin(&mut self, namespace: &str, pod: u64) -> bool {
        let is_new = self.pods.insert(pod);
        if is_new {
            *self.by_namespace.entry(namespace.into()).or_default() += 1;
        }
        is_new
    }

    /// The report of a pod is over.
    pub fn end(&mut self, namespace: &str, pod: u64) {
        if self.pods.remove(&pod)
            && let Some(count) = self.by_namespace.get_mut(namespace)
        {
            *count -= 1;
            if *count == 0 {
                self.by_namespace.remove(namespace);
            }
        }
    }
}

impl PodsOfNamespace {
    fn len(&self) -> usize {
        self.before.len() + self.seen.len()
    }
}

impl ReportedPods {
    /// Whether a pod was reported. It counts as seen.
    pub fn has(&mut self, namespace: &str, pod: u64) -> bool {
        let Some(pods) = self.by_namespace.get_mut(namespace) else {
            return false;
        };
        if pods.before.remove(&pod) {
            pods.seen.insert(pod);
        }
        pods.seen.contains(&pod)
    }

    /// Notes a pod that is reported now.
    pub fn note(&mut self, namespace: &str, pod: u64) {
        if !self.has(namespace, pod) {
            let pods = self.by_namespace.entry(namespace.into()).or_default();
            pods.seen.insert(pod);
            self.total += 1;
        }
    }

    /// Whether there is room for a pod of a namespace that is under way, beside all others that are: they
    /// are noted later.
    ///
    /// # Errors
    ///
    /// [`NoSlot`], until lists of all pods show that others are gone.
    pub fn room(&self, namespace: &str, under_way: &PodsUnderWay) -> Result<(), NoSlot> {
        let noted = self.by_namespace.get(namespace);
        let noted = noted.map_or(0, PodsOfNamespace::len);
        let waiting = under_way.by_namespace.get(namespace).copied();
        if noted + waiting.unwrap_or_default() > MAX_PODS_OF_NAMESPACE {
            Err(NoSlot::Namespace)
        } else if self.total + under_way.pods.len() > MAX_PODS {
            Err(NoSlot::Replica)
        } else {
            Ok(())
        }
    }

    /// A list of all pods has ended.
    pub fn end_sweep(&mut self) {
        self.total = 0;
        self.by_namespace.retain(|_, pods| {
            pods.before = std::mem::take(&mut pods.seen);
            self.total += pods.before.len();
            !pods.before.is_empty()
        });
    }
}

/// How many missed pods get an Event of their own.
#[derive(Debug, Default)]
pub struct EventPace {
    second: Duration,
    /// Those of this second, by namespace.
    taken: BTreeMap<Arc<str>, u32>,
}

impl EventPace {
    /// Whether one more may be raised in a namespace; `now` is since one start. The burst of one
    /// namespace leaves a few to each of the others.
    pub fn take(&mut self, namespace: &str, now: Duration) -> bool {
        if now.saturating_sub(self.second) >= Duration::from_secs(1) {
            self.taken.clear();
            self.second = now;
        }
        let all: u32 = self.taken.values().sum();
        let own = self.taken.get(namespace).copied().unwrap_or_default();
        let may_go = all < OWN_EVENTS || (own < LEFT_TO_OTHERS && all < MAX_EVENTS);
        if may_go {
            self.taken.insert(namespace.into(), own + 1);
        }
        may_go
    }
}

/// Whether a pod is older than the installation.
pub fn is_older(created: Option<Timestamp>, installed: Option<Timestamp>) -> bool {
    match (created, installed) {
        (Some(created), Some(installed)) => created < installed,
        (None, _) | (_, None) => false,
    }
}

/// What one Event with a count is about: a controller by its uid, or the namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MissedGroup {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The uid of the controller, unless the group is all other pods of the namespace.
    pub controller: Option<Arc<str>>,
    /// Whether the pods opt in by their own labels.
    pub opts_in: bool,
}

/// The groups of one term of leadership. `A` is what the Event is about.
#[derive(Debug)]
pub struct MissedGroups<A> {
    groups: BTreeMap<MissedGroup, GroupState<A>>,
}

#[derive(Debug)]
struct GroupState<A> {
    about: A,
    /// The pods that were created until then are reported, as an earlier leader's Event says.
    reported_until: Option<Timestamp>,
    /// The same, with what this leader reported.
    counted_until: Option<Timestamp>,
    /// The pods that the Event counts.
    counted: u64,
    /// The pods that it does not count yet, and when each was created.
    waiting: Vec<(u64, Option<Timestamp>)>,
    /// When the first and the last of them came.
    first: Duration,
    last: Duration,
    is_under_way: bool,
    /// The end of the pause after the last attempt.
    free: Duration,
    pause: Duration,
}

/// One Event that is to be written.
#[derive(Debug)]
pub struct GroupReport<A> {
    /// The group.
    pub group: MissedGroup,
    /// What it is about.
    pub about: A,
    /// The pods that the Event does not count yet.
    pub pods: Vec<u64>,
    /// Its count with them.
    pub count: u64,
    /// The pods of the group that were created until then are counted.
    pub until: Option<Timestamp>,
}

impl<A> GroupState<A> {
    /// When the Event may be written; `None` if it needs no change.
    fn due(&self) -> Option<Duration> {
        let gathered = (self.last + QUIET_TIME).min(self.first + GATHER_TIME);
        (!self.is_under_way && !self.waiting.is_empty()).then(|| gathered.max(self.free))
    }

    /// Until when all pods are counted, once those that wait now are.
    fn until(&self, now: Duration) -> Option<Timestamp> {
        let created = self.waiting.iter().filter_map(|(_, created)| *created);
        let latest = created.max()?;
        let is_quiet = now.saturating_sub(self.last) >= QUIET_TIME;
        let until = if is_quiet {
            latest
        } else {
            latest - LAST_SECOND
        };
        Some(until).max(self.counted_until)
    }
}

impl<A> Default for MissedGroups<A> {
    fn default() -> Self {
        Self {
            groups: BTreeMap::new(),
        }
    }
}

impl<A: Clone> MissedGroups<A> {
    /// The group that a pod goes to: its own, or that of all other pods where its namespace, or the
    /// cluster, has too many. `None` if there is no room for that either. Groups without a waiting pod
    /// make way.
    pub fn place(&mut self, group: MissedGroup) -> Option<MissedGroup> {
        if self.groups.contains_key(&group) {
            return Some(group);
        }
        let rest = MissedGroup {
            controller: None,
            ..group.clone()
        };
        if self.count_of(&group.namespace) >= MAX_OF_NAMESPACE {
            self.groups
                .retain(|one, state| one.namespace != group.namespace || !state.waiting.is_empty());
        }
        if self.groups.len() >= MAX_GROUPS / 2 {
            self.groups.retain(|_, state| !state.waiting.is_empty());
        }
        let is_crowded = self.count_of(&group.namespace) >= MAX_OF_NAMESPACE
            || self.groups.len() >= MAX_GROUPS / 2;
        match group {
            group if !is_crowded => Some(group),
            _ if self.groups.contains_key(&rest) || self.groups.len() < MAX_GROUPS => Some(rest),
            _ => None,
        }
    }

    fn count_of(&self, namespace: &Arc<str>) -> usize {
        let first = MissedGroup {
            namespace: namespace.clone(),
            controller: None,
            opts_in: false,
        };
        let beside = self.groups.range(first..);
        beside
            .take_while(|(one, _)| one.namespace == *namespace)
            .count()
    }

    /// Until when an earlier leader reported the pods of a group, if it did. `None` if that has not been
    /// [learnt](Self::learn) yet.
    pub fn reported_until(&self, group: &MissedGroup) -> Option<Option<Timestamp>> {
        self.groups.get(group).map(|state| state.reported_until)
    }

    /// Enters what a group's Event said before: when it was changed last, and its count.
    pub fn learn(&mut self, group: &MissedGroup, about: A, before: Option<(Timestamp, u64)>) {
        self.groups
            .entry(group.clone())
            .or_insert_with(|| GroupState {
                about,
                reported_until: before.map(|(until, _)| until),
                counted_until: before.map(|(until, _)| until),
                counted: before.map_or(0, |(_, count)| count),
                waiting: Vec::new(),
                first: Duration::ZERO,
                last: Duration::ZERO,
                is_under_way: false,
                free: Duration::ZERO,
                pause: Duration::ZERO,
            });
    }

    /// Adds a pod to a group that was [learnt](Self::learn). `false` if it was not, or made way.
    pub fn add(
        &mut self,
        group: &MissedGroup,
        pod: u64,
        created: Option<Timestamp>,
        now: Duration,
    ) -> bool {
        let Some(state) = self.groups.get_mut(group) else {
            return false;
        };
        if state.waiting.is_empty() {
            state.first = now;
        }
        state.last = now;
        state.waiting.push((pod, created));
        true
    }

    /// The time of the next Event.
    pub fn next(&self) -> Option<Duration> {
        self.groups.values().filter_map(GroupState::due).min()
    }

    /// Takes an Event that is due. The group has no other one until it [ends](Self::end).
    pub fn begin(&mut self, now: Duration) -> Option<GroupReport<A>> {
        let due = self.groups.iter_mut();
        let due = due.filter_map(|(group, state)| Some((state.due()?, group, state)));
        let due = due.filter(|(due, ..)| *due <= now);
        let (_, group, state) = due.min_by_key(|(due, ..)| *due)?;
        state.is_under_way = true;
        Some(GroupReport {
            group: group.clone(),
            about: state.about.clone(),
            pods: state.waiting.iter().map(|(pod, _)| *pod).collect(),
            count: state.counted + state.waiting.len() as u64,
            until: state.until(now),
        })
    }

    /// Ends an attempt. `is_done`: the pods of the report do not wait any more. Otherwise the API server
    /// did not answer.
    pub fn end(&mut self, report: &GroupReport<A>, is_done: bool, now: Duration) {
        let Some(state) = self.groups.get_mut(&report.group) else {
            return;
        };
        state.is_under_way = false;
        state.pause = if is_done {
            // Others came behind them.
            let reported = report.pods.len().min(state.waiting.len());
            state.waiting.drain(..reported);
            state.first = state.last;
            (state.counted, state.counted_until) = (report.count, report.until);
            PAUSES.first
        } else {
            PAUSES.after(state.pause)
        };
        state.free = now + state.pause;
    }
}

#[cfg(test)]
mod tests;
