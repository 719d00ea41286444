//! Single flight: the bookkeeping of the work on one Secret, however many callers ask for it.
//!
//! A [`FlightLog`] knows which registries are wanted and how far the work on each is. A caller waits
//! for its own registries only. Time is the [`Duration`] since the flight began.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::MAX_REGISTRIES;
use crate::aws::regions::is_listed;
use crate::backoff::Backoff;
use crate::cause::{Cause, Retry};
use crate::identity::Access;
use crate::image::Registry;

/// Registries of one flight, and of what is collected for one. A Secret has room for half of them: pods
/// come and go, and each may want others. A tenant can create any number of pods.
const MAX_WANTED: usize = 2 * MAX_REGISTRIES;
/// Time after the last caller at which the work on a registry ends: the pods may be gone, and the Secret
/// may have been cleaned up. For pods that exist the leader asks every day.
const INTEREST: Duration = Duration::from_secs(25 * 60 * 60);

/// The shortest pause that a new pod ends, and the shortest time between two that it ends: a tenant that
/// creates pods in a loop must not take the pauses away.
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MIN_BETWEEN_INTERRUPTIONS: Duration = Duration::from_secs(10);

/// Adds registries to those that are collected for one Secret, as far as a flight has room for them.
pub fn collect(known: &mut BTreeSet<Access>, more: impl IntoIterator<Item = Access>) {
    let room = MAX_WANTED.saturating_sub(known.len());
    known.extend(more.into_iter().take(room));
}

/// What the work does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlightPhase {
    /// It waits for AWS.
    Minting,
    /// It waits for the API server.
    Writing,
    /// It waits for its next attempt.
    Pausing,
}

impl FlightPhase {
    /// Why a caller stops waiting in this phase.
    pub fn late(self) -> Cause {
        match self {
            Self::Minting => Cause::AwsTimeout,
            Self::Writing | Self::Pausing => Cause::StillWorking,
        }
    }
}

/// How far the work on one registry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlightProgress {
    /// It has no result yet.
    Pending,
    /// The Secret holds a fresh token for the registry.
    Done,
    /// It failed; the next attempt repeats it if the cause allows.
    Failed(Cause),
}

impl FlightProgress {
    /// Whether no attempt is left.
    fn is_settled(self) -> bool {
        match self {
            Self::Pending => false,
            Self::Done => true,
            Self::Failed(cause) => cause.retry() == Retry::Never,
        }
    }
}

/// How far the work on the registries of one caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlightStanding {
    /// At least one registry is pending, and the work is in this phase.
    Pending(FlightPhase),
    /// The Secret holds a fresh token for each.
    Done,
    /// At least one failed; the first cause.
    Failed(Cause),
}

/// A registry that is wanted.
#[derive(Debug)]
struct FlightEntry {
    progress: FlightProgress,
    /// When a caller asked last, since the flight began.
    asked: Duration,
    /// The attempt has not asked for its token yet.
    is_due: bool,
    /// AWS documents its region. A tenant can invent others.
    is_listed: bool,
}

impl FlightEntry {
    fn new(registry: &Registry, now: Duration) -> Self {
        Self {
            progress: FlightProgress::Pending,
            asked: now,
            is_due: true,
            is_listed: is_listed(registry.region()),
        }
    }

    /// The first and the longest pause after its failure.
    fn pauses(&self) -> Option<(Duration, Duration)> {
        match self.progress {
            FlightProgress::Failed(cause) => cause.retry().pauses(),
            FlightProgress::Pending | FlightProgress::Done => None,
        }
    }
}

fn pause_after((first, longest): (Duration, Duration), last: Duration) -> Duration {
    Backoff::new(first, longest).after(last)
}

/// The registries that are wanted of one Secret, and how far the work on each is.
#[derive(Debug)]
pub struct FlightLog {
    wanted: BTreeMap<Registry, FlightEntry>,
    phase: FlightPhase,
    /// When the last pause began.
    paused: Duration,
    /// When a new pod ended a pause last.
    interrupted: Option<Duration>,
}

impl Default for FlightLog {
    fn default() -> Self {
        Self {
            wanted: BTreeMap::new(),
            phase: FlightPhase::Minting,
            paused: Duration::ZERO,
            interrupted: None,
        }
    }
}

impl FlightLog {
    /// Adds registries. In a full flight, those that have a result make way.
    /// Returns whether the work has something new to do.
    pub fn join(&mut self, wanted: &[Access], now: Duration) -> bool {
        let mut is_news = false;
        let mut unknown = Vec::new();
        for access in wanted {
            let Some(entry) = self.wanted.get_mut(&access.registry) else {
                unknown.push(access);
                continue;
            };
            entry.asked = now;
            // A caller that asks for a settled registry saw the Secret change since.
            if entry.progress.is_settled() {
                *entry = FlightEntry::new(&access.registry, now);
                is_news = true;
            }
        }
        for access in unknown {
            if !self.is_full() || self.make_way(now) {
                let entry = FlightEntry::new(&access.registry, now);
                self.wanted.insert(access.registry.clone(), entry);
                is_news = true;
            }
        }
        is_news
    }

    /// Drops a registry that has a result and that no caller asked for just now: of a region that AWS
    /// does not document, if there is one, and of these the one that was asked for longest ago.
    fn make_way(&mut self, now: Duration) -> bool {
        let others = self
            .wanted
            .iter()
            .filter(|(_, entry)| entry.progress != FlightProgress::Pending && entry.asked < now);
        let oldest = others.min_by_key(|(_, entry)| (entry.is_listed, entry.asked));
        let Some(registry) = oldest.map(|(registry, _)| registry.clone()) else {
            return false;
        };
        self.wanted.remove(&registry).is_some()
    }

    /// How far the work on these registries is.
    pub fn standing(&self, wanted: &[Access]) -> FlightStanding {
        let unknown = if self.is_full() {
            FlightProgress::Failed(Cause::TooManyRegistries)
        } else {
            FlightProgress::Pending
        };
        let progress = wanted.iter().map(|access| {
            let known = self.wanted.get(&access.registry);
            known.map_or(unknown, |entry| entry.progress)
        });
        let mut standing = FlightStanding::Done;
        for progress in progress {
            match (progress, standing) {
                (FlightProgress::Pending, _) => return FlightStanding::Pending(self.phase),
                (FlightProgress::Failed(cause), FlightStanding::Done) => {
                    standing = FlightStanding::Failed(cause);
                }
                (FlightProgress::Done | FlightProgress::Failed(_), _) => {}
            }
        }
        standing
    }

    /// Whether a further registry displaces one, or waits: a tenant may invent any number of them.
    pub fn is_full(&self) -> bool {
        self.wanted.len() >= MAX_WANTED
    }

    /// What the work does at the moment.
    pub fn phase(&self) -> FlightPhase {
        self.phase
    }

    /// Enters a phase.
    pub fn enter(&mut self, phase: FlightPhase) {
        self.phase = phase;
    }

    /// A pause begins.
    pub fn pause(&mut self, now: Duration) {
        self.enter(FlightPhase::Pausing);
        self.paused = now;
    }

    /// A new pod wants these registries: what made the last attempt fail may be over. Returns whether the
    /// pause ends. The pod then waits for the next attempt.
    pub fn interrupt(&mut self, wanted: &[Access], now: Duration) -> bool {
        let is_early = now.saturating_sub(self.paused) < MIN_PAUSE
            || self
                .interrupted
                .is_some_and(|at| now.saturating_sub(at) < MIN_BETWEEN_INTERRUPTIONS);
        if self.phase != FlightPhase::Pausing || is_early {
            return false;
        }
        let mut is_over = false;
        for access in wanted {
            let known = self.wanted.get_mut(&access.registry);
            if let Some(entry) = known
                && matches!(entry.progress, FlightProgress::Failed(_))
                && !entry.progress.is_settled()
            {
                entry.progress = FlightProgress::Pending;
                is_over = true;
            }
        }
        if is_over {
            self.interrupted = Some(now);
        }
        is_over
    }

    /// A whole attempt begins: it asks for each registry that is not settled. One without this asks for
    /// [new registries](Self::has_news) alone.
    pub fn begin(&mut self) {
        for entry in self.wanted.values_mut() {
            entry.is_due = !entry.progress.is_settled();
        }
    }

    /// Whether registries joined of which no attempt knows yet.
    pub fn has_news(&self) -> bool {
        let mut all = self.wanted.values();
        all.any(|entry| entry.is_due && entry.progress == FlightProgress::Pending)
    }

    /// The registries that the attempt still has to ask for.
    pub fn due(&self) -> Vec<Registry> {
        let due = self
            .wanted
            .iter()
            .filter(|(_, entry)| entry.is_due && !entry.progress.is_settled());
        due.map(|(registry, _)| registry.clone()).collect()
    }

    /// The attempt asks for these registries.
    pub fn start<'a>(&mut self, registries: impl IntoIterator<Item = &'a Registry>) {
        for registry in registries {
            if let Some(entry) = self.wanted.get_mut(registry) {
                entry.is_due = false;
            }
        }
    }

    /// The attempt asks for these registries again: what it got is of no use.
    pub fn repeat(&mut self, registries: &[Registry]) {
        for registry in registries {
            if let Some(entry) = self.wanted.get_mut(registry) {
                entry.progress = FlightProgress::Pending;
                entry.is_due = true;
            }
        }
    }

    /// The attempt asks again for every registry that failed, as far as its cause allows.
    pub fn repeat_failed(&mut self) {
        for entry in self.wanted.values_mut() {
            entry.is_due |= entry.pauses().is_some();
        }
    }

    /// Whether no attempt is left for any registry.
    pub fn is_over(&self) -> bool {
        let mut all = self.wanted.values();
        all.all(|entry| entry.progress.is_settled())
    }

    /// Drops the registries in which callers may have lost interest. Returns whether none is left.
    pub fn forget(&mut self, now: Duration) -> bool {
        self.wanted
            .retain(|_, entry| now.saturating_sub(entry.asked) < INTEREST);
        self.wanted.is_empty()
    }

    /// Reports progress of some registries.
    pub fn report<'a>(
        &mut self,
        registries: impl IntoIterator<Item = &'a Registry>,
        progress: FlightProgress,
    ) {
        for registry in registries {
            if let Some(entry) = self.wanted.get_mut(registry) {
                entry.progress = progress;
            }
        }
    }

    /// Reports that every registry for which an attempt was left failed.
    pub fn fail(&mut self, cause: Cause) {
        for entry in self.wanted.values_mut() {
            if !entry.progress.is_settled() {
                entry.progress = FlightProgress::Failed(cause);
                entry.is_due = false;
            }
        }
    }

    /// The pause until the next attempt; `last` is the pause before, zero at first. The failure that
    /// allows the shortest pause counts.
    pub fn next_pause(&self, last: Duration) -> Duration {
        let failures = self.wanted.values().filter_map(FlightEntry::pauses);
        let pauses = failures.min().or(Retry::Soon.pauses());
        pauses.map_or(Duration::ZERO, |pauses| pause_after(pauses, last))
    }

    /// The pause until an attempt that goes on [repeats](Self::repeat) what failed of these registries.
    /// `None`: no retry helps.
    pub fn pause_of(&self, registries: &[Registry], last: Duration) -> Option<Duration> {
        let known = registries.iter().filter_map(|one| self.wanted.get(one));
        let pauses = known.filter_map(FlightEntry::pauses).min()?;
        Some(pause_after(pauses, last))
    }
}

#[cfg(test)]
mod tests;
