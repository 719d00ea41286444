//! Single flight: the bookkeeping of the work on one Secret, however many callers ask for it.
//!
//! A [`FlightLog`] knows which registries are wanted and how far the work on each is. A caller waits
//! for its own registries only. Time is the [`Duration`] since the flight began.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::MAX_REGISTRIES;
use crate::backoff::Backoff;
use crate::cause::{Cause, Retry};
use crate::identity::{Access, Identity};
use crate::image::Registry;

/// Registries of one flight, and of what is collected for one. A Secret has room for half of them: pods
/// come and go, and each may want others. A tenant can create any number of pods.
const MAX_WANTED: usize = 2 * MAX_REGISTRIES;
/// Time after the last caller at which the work ends: the pods may be gone, and the Secret may have
/// been cleaned up. For pods that exist the leader asks every day.
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

/// The registries that are wanted of one Secret, and how far the work on each is.
#[derive(Debug)]
pub struct FlightLog {
    wanted: BTreeMap<Registry, (Identity, FlightProgress)>,
    phase: FlightPhase,
    /// When a caller asked last, since the flight began.
    asked: Duration,
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
            asked: Duration::ZERO,
            paused: Duration::ZERO,
            interrupted: None,
        }
    }
}

impl FlightLog {
    /// Adds registries, each with its identity. Returns whether the work has something new to do.
    pub fn join(&mut self, wanted: &[Access], now: Duration) -> bool {
        self.asked = now;
        let mut is_news = false;
        for Access { registry, identity } in wanted {
            let known = self.wanted.get(registry).map(|(_, progress)| *progress);
            if known.is_none() && self.is_full() {
                continue;
            }
            // A caller that asks for a settled registry saw the Secret change since.
            if known.is_none_or(FlightProgress::is_settled) {
                let pending = (identity.clone(), FlightProgress::Pending);
                self.wanted.insert(registry.clone(), pending);
                is_news = true;
            }
        }
        is_news
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
            known.map_or(unknown, |(_, progress)| *progress)
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

    /// Whether the flight takes no further registry: a tenant may invent any number of them.
    fn is_full(&self) -> bool {
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
            if let Some((_, progress @ FlightProgress::Failed(_))) = known
                && !progress.is_settled()
            {
                *progress = FlightProgress::Pending;
                is_over = true;
            }
        }
        if is_over {
            self.interrupted = Some(now);
        }
        is_over
    }

    /// The registries for which an attempt is left.
    pub fn unsettled(&self) -> Vec<Access> {
        self.wanted_where(|progress| !progress.is_settled())
    }

    /// The registries without a result.
    pub fn pending(&self) -> Vec<Access> {
        self.wanted_where(|progress| progress == FlightProgress::Pending)
    }

    /// Whether no attempt is left for any registry.
    pub fn is_over(&self) -> bool {
        let mut all = self.wanted.values();
        all.all(|(_, progress)| progress.is_settled())
    }

    /// Whether callers may have lost interest.
    pub fn is_forgotten(&self, now: Duration) -> bool {
        now.saturating_sub(self.asked) >= INTEREST
    }

    /// Reports progress of some registries.
    pub fn report<'a>(
        &mut self,
        registries: impl IntoIterator<Item = &'a Registry>,
        progress: FlightProgress,
    ) {
        for registry in registries {
            if let Some((_, known)) = self.wanted.get_mut(registry) {
                *known = progress;
            }
        }
    }

    /// Reports that every registry for which an attempt was left failed.
    pub fn fail(&mut self, cause: Cause) {
        for (_, progress) in self.wanted.values_mut() {
            if !progress.is_settled() {
                *progress = FlightProgress::Failed(cause);
            }
        }
    }

    /// The pause until the next attempt; `last` is the pause before, zero at first. The failure that
    /// allows the shortest pause counts.
    pub fn next_pause(&self, last: Duration) -> Duration {
        let failures = self
            .wanted
            .values()
            .filter_map(|(_, progress)| match progress {
                FlightProgress::Failed(cause) => cause.retry().pauses(),
                FlightProgress::Pending | FlightProgress::Done => None,
            });
        let pauses = failures.min().or(Retry::Soon.pauses());
        pauses.map_or(Duration::ZERO, |(first, longest)| {
            Backoff::new(first, longest).after(last)
        })
    }

    fn wanted_where(&self, is_meant: impl Fn(FlightProgress) -> bool) -> Vec<Access> {
        let wanted = self.wanted.iter();
        let wanted = wanted.filter(|(_, (_, progress))| is_meant(*progress));
        wanted
            .map(|(registry, (identity, _))| Access {
                registry: registry.clone(),
                identity: identity.clone(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
