//! Single flight: one piece of work per namespace, however many pods ask for it.
//!
//! A [`Flight`] knows which registries a namespace wants and how far each is. Whoever asks joins
//! the flight of its namespace, or starts one, and waits for its own registries only. The work
//! itself is in [`super::ensure`].

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ecr_pull_secrets_core::cause::{Cause, Retry};
use ecr_pull_secrets_core::identity::Identity;
use ecr_pull_secrets_core::image::Registry;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// What the work does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It waits for AWS.
    Minting,
    /// It waits for the API server.
    Writing,
    /// It waits for its next attempt.
    Pausing,
}

/// How far one registry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing has come of it yet.
    Pending,
    /// The Secret opens it.
    Done,
    /// It failed, and is tried again if the cause allows.
    Failed(Cause),
}

impl Progress {
    /// Whether nothing more will come of it.
    fn is_settled(self) -> bool {
        match self {
            Self::Pending => false,
            Self::Done => true,
            Self::Failed(cause) => cause.retry() == Retry::Never,
        }
    }
}

#[derive(Debug)]
struct State {
    wanted: BTreeMap<Registry, (Identity, Progress)>,
    phase: Phase,
    asked: Instant,
}

/// The work on one namespace.
#[derive(Debug)]
pub(crate) struct Flight {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    wake: Notify,
}

/// How the registries of one caller stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// At least one is pending, and the work is in this phase.
    Pending(Phase),
    /// All are done.
    Done,
    /// At least one failed; the first cause.
    Failed(Cause),
}

impl Flight {
    fn new() -> Self {
        let state = State {
            wanted: BTreeMap::new(),
            phase: Phase::Minting,
            asked: Instant::now(),
        };
        Self {
            state: Mutex::new(state),
            changed: watch::Sender::new(()),
            wake: Notify::new(),
        }
    }

    /// Takes registries on board; whether one of them is news to the work.
    fn join(&self, wanted: &[(Registry, Identity)]) -> bool {
        let mut state = self.lock();
        state.asked = Instant::now();
        let mut is_news = false;
        for (registry, identity) in wanted {
            let known = state.wanted.get(registry).map(|(_, progress)| *progress);
            // What was settled before is asked for again: then the Secret has changed since.
            if known.is_none_or(Progress::is_settled) {
                state
                    .wanted
                    .insert(registry.clone(), (identity.clone(), Progress::Pending));
                is_news = true;
            }
        }
        is_news
    }

    /// How these registries stand.
    pub(crate) fn standing(&self, wanted: &[(Registry, Identity)]) -> Standing {
        let state = self.lock();
        let progress = wanted.iter().map(|(registry, _)| {
            state
                .wanted
                .get(registry)
                .map_or(Progress::Pending, |(_, progress)| *progress)
        });
        let mut standing = Standing::Done;
        for progress in progress {
            match (progress, standing) {
                (Progress::Pending, _) => return Standing::Pending(state.phase),
                (Progress::Failed(cause), Standing::Done) => standing = Standing::Failed(cause),
                (Progress::Done | Progress::Failed(_), _) => {}
            }
        }
        standing
    }

    /// Hears of every change from now on.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Returns when there is a reason to try again: a new registry, or a change of the Secret.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// The registries that the work still has to do.
    pub(crate) fn unsettled(&self) -> Vec<(Registry, Identity)> {
        self.wanted(|progress| !progress.is_settled())
    }

    /// The registries of which nothing has come yet.
    pub(crate) fn pending(&self) -> Vec<(Registry, Identity)> {
        self.wanted(|progress| progress == Progress::Pending)
    }

    fn wanted(&self, stands: impl Fn(Progress) -> bool) -> Vec<(Registry, Identity)> {
        let state = self.lock();
        let wanted = state.wanted.iter();
        let wanted = wanted.filter(|(_, (_, progress))| stands(*progress));
        wanted
            .map(|(registry, (identity, _))| (registry.clone(), identity.clone()))
            .collect()
    }

    /// How long ago somebody joined.
    pub(crate) fn asked(&self) -> Duration {
        self.lock().asked.elapsed()
    }

    /// The causes for which registries wait to be tried again.
    pub(crate) fn failures(&self) -> Vec<Cause> {
        let state = self.lock();
        let failed = state
            .wanted
            .values()
            .filter_map(|(_, progress)| match progress {
                Progress::Failed(cause) if !progress.is_settled() => Some(*cause),
                Progress::Failed(_) | Progress::Pending | Progress::Done => None,
            });
        failed.collect()
    }

    /// Reports a phase.
    pub(crate) fn enter(&self, phase: Phase) {
        self.lock().phase = phase;
        self.changed.send_replace(());
    }

    /// Reports progress of some registries.
    pub(crate) fn report<'a>(
        &self,
        registries: impl IntoIterator<Item = &'a Registry>,
        progress: Progress,
    ) {
        let mut state = self.lock();
        for registry in registries {
            if let Some((_, known)) = state.wanted.get_mut(registry) {
                *known = progress;
            }
        }
        drop(state);
        self.changed.send_replace(());
    }

    /// Reports that nothing came of all that is left to do.
    pub(crate) fn fail(&self, cause: Cause) {
        let unsettled = self.unsettled();
        let registries = unsettled.iter().map(|(registry, _)| registry);
        self.report(registries, Progress::Failed(cause));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The flights of all namespaces.
#[derive(Debug, Default)]
pub(crate) struct Flights(Mutex<HashMap<Arc<str>, Arc<Flight>>>);

impl Flights {
    /// Joins the namespace's flight. The flag says that it is a new one, and that the caller has to
    /// see that its work gets done.
    pub(crate) fn join(
        &self,
        namespace: &str,
        wanted: &[(Registry, Identity)],
    ) -> (Arc<Flight>, bool) {
        let mut flights = self.lock();
        let (flight, is_new) = match flights.get(namespace) {
            Some(flight) => (flight.clone(), false),
            None => {
                let flight = Arc::new(Flight::new());
                flights.insert(namespace.into(), flight.clone());
                (flight, true)
            }
        };
        // Under the lock, so that `land` cannot remove a flight that somebody is joining.
        if flight.join(wanted) && !is_new {
            flight.wake.notify_one();
        }
        (flight, is_new)
    }

    /// Makes the namespace's flight try again now, if there is one.
    pub(crate) fn wake(&self, namespace: &str) {
        if let Some(flight) = self.lock().get(namespace) {
            flight.wake.notify_one();
        }
    }

    /// Whether a flight waits for the API server right now.
    pub(crate) fn is_writing(&self) -> bool {
        self.lock()
            .values()
            .any(|flight| flight.lock().phase == Phase::Writing)
    }

    /// Ends the namespace's flight if nothing is left to do.
    pub(crate) fn land(&self, namespace: &str) -> bool {
        let mut flights = self.lock();
        let is_over = flights
            .get(namespace)
            .is_none_or(|flight| flight.unsettled().is_empty());
        if is_over {
            flights.remove(namespace);
        }
        is_over
    }

    /// Ends the namespace's flight whatever is left to do.
    pub(crate) fn abandon(&self, namespace: &str) {
        self.lock().remove(namespace);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Arc<Flight>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
