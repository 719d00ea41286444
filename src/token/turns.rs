//! Turns to call AWS: see [`MintPace`].
//!
//! A namespace has one place in a queue at a time, whatever the number of keys that it waits for: one
//! that names a hundred regions delays its own pods, and no other's. Regions that may be inventions
//! stand in queues of their own: a client that reaches the webhook's port can name thousands, each
//! for another namespace.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use ecr_pull_secrets_core::token::mint_pace::{MintPace, MintReason};
use parking_lot::Mutex;
use tokio::sync::MutexGuard;
use tokio::time::{Instant, sleep_until};

use crate::slots::Slots;

/// The least number of namespaces at which those that wait no longer are removed.
const MIN_PRUNED: usize = 64;

/// The most callers in a queue for regions that may be inventions. Each takes some 3 KB.
const MAX_DOUBTFUL: usize = 512;
/// The most of one namespace.
const MAX_DOUBTFUL_OF_NAMESPACE: usize = 4;
/// The most callers in a queue for other regions: each of 4,096 namespaces may want one.
const MAX_LISTED: usize = 4096;
/// The most of one namespace: work on its Secret asks for eight tokens at a time, and its pods may
/// report tokens that registries refuse.
const MAX_LISTED_OF_NAMESPACE: usize = 16;

/// Too many callers wait already. The caller tries again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many callers wait for tokens")]
pub(crate) struct TooManyCallers;

/// The queues of callers, one for each reason.
pub(super) struct MintTurns {
    started: Instant,
    pace: Mutex<MintPace>,
    listed: PodQueues,
    doubtful: PodQueues,
    schedule: tokio::sync::Mutex<()>,
    /// Where keys of regions that may be inventions wait for one place in the queue of the schedule.
    doubtful_schedule: tokio::sync::Mutex<()>,
    namespaces: Mutex<NamespaceQueues>,
}

/// The queues of callers for pods. Callers in one take no slot of the other: where regions that fail
/// are many, a first call still gets its turn.
struct PodQueues {
    pods: PodQueue,
    retries: PodQueue,
}

struct PodQueue {
    /// One for each caller.
    slots: Slots,
    /// Held by the first caller.
    first: tokio::sync::Mutex<()>,
}

impl PodQueues {
    fn new(most: usize, most_of_namespace: usize) -> Self {
        let queue = || PodQueue {
            slots: Slots::new(most, most_of_namespace),
            first: tokio::sync::Mutex::default(),
        };
        Self {
            pods: queue(),
            retries: queue(),
        }
    }

    fn of(&self, is_retry: bool) -> &PodQueue {
        if is_retry { &self.retries } else { &self.pods }
    }
}

/// A caller for a pod.
#[derive(Clone, Copy)]
pub(super) struct PodCaller<'a> {
    pub(super) namespace: &'a Arc<str>,
    /// Whether the last call for the key failed, or the token replaces one that works.
    pub(super) is_retry: bool,
    /// Whether the region may be an invention.
    pub(super) is_doubtful: bool,
}

/// What a caller for a pod waited for.
#[derive(Debug)]
pub(super) enum PodTurn<'key, T> {
    /// What it needs is known without a call.
    Known(T),
    /// Its call for the key may start. No other call for the key starts meanwhile.
    Call(MutexGuard<'key, ()>),
}

/// The queue of each namespace that waits.
#[derive(Default)]
struct NamespaceQueues {
    queues: HashMap<(Arc<str>, MintReason), Weak<tokio::sync::Mutex<()>>>,
    /// The number of namespaces at which the next pruning is worth its time.
    prune_at: usize,
}

impl MintTurns {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            pace: Mutex::default(),
            listed: PodQueues::new(MAX_LISTED, MAX_LISTED_OF_NAMESPACE),
            doubtful: PodQueues::new(MAX_DOUBTFUL, MAX_DOUBTFUL_OF_NAMESPACE),
            schedule: tokio::sync::Mutex::default(),
            doubtful_schedule: tokio::sync::Mutex::default(),
            namespaces: Mutex::default(),
        }
    }

    /// Waits until one call of the schedule may start, or what it brings is known. Callers for regions
    /// that may be inventions have one place in the queue at a time, for all of them. A caller that is
    /// dropped leaves its queue.
    pub(super) async fn call_for_schedule<T>(
        &self,
        is_doubtful: bool,
        known: impl Fn() -> Option<T>,
    ) -> Option<T> {
        let _doubtful_turn = if is_doubtful {
            Some(self.doubtful_schedule.lock().await)
        } else {
            None
        };
        loop {
            if let Some(known) = known() {
                return Some(known);
            }
            let is_needed = || known().is_none();
            let reason = || MintReason::Schedule;
            if self.first_of(&self.schedule, reason, is_needed).await {
                return None;
            }
        }
    }

    /// Waits until a pod's call for one key may start, or what the pod needs is `known`. Of the
    /// callers that wait for a key, whichever comes first calls for all. If that call brings nothing
    /// that another caller can use, that one waits for a turn of its own.
    ///
    /// # Errors
    ///
    /// [`TooManyCallers`], without a wait.
    pub(super) async fn call_for_pod<'key, T>(
        &self,
        caller: PodCaller<'_>,
        minting: &'key tokio::sync::Mutex<()>,
        known: impl Fn() -> Option<T>,
    ) -> Result<PodTurn<'key, T>, TooManyCallers> {
        let is_needed = || known().is_none() && minting.try_lock().is_ok();
        loop {
            if let Some(known) = known() {
                return Ok(PodTurn::Known(known));
            }
            let has_turn = self.of_pod(caller, is_needed).await?;
            let call = minting.lock().await;
            if known().is_none() && has_turn {
                return Ok(PodTurn::Call(call));
            }
        }
    }

    /// Waits until a call for a pod may start, or is not needed any more: then it is not counted, and
    /// the answer is no.
    async fn of_pod(
        &self,
        caller: PodCaller<'_>,
        is_needed: impl Fn() -> bool,
    ) -> Result<bool, TooManyCallers> {
        let PodCaller {
            namespace,
            is_retry,
            is_doubtful,
        } = caller;
        let listed = self.listed.of(is_retry);
        let queue = if is_doubtful {
            self.doubtful.of(is_retry)
        } else {
            listed
        };
        let _slot = queue.slots.take(namespace).map_err(|_| TooManyCallers)?;
        let (certain, doubtful) = if is_retry {
            (MintReason::Retry, MintReason::DoubtfulRetry)
        } else {
            (MintReason::Pod, MintReason::DoubtfulPod)
        };
        let own = if is_doubtful { doubtful } else { certain };
        let own = self.namespaces.lock().of(namespace, own);
        let _own_turn = own.lock().await;
        // It leaves a call to the others only while one of them waits.
        let reason = || {
            if is_doubtful && listed.first.try_lock().is_err() {
                doubtful
            } else {
                certain
            }
        };
        Ok(self.first_of(&queue.first, reason, is_needed).await)
    }

    /// As [`MintTurns::of_pod`], in this queue.
    async fn first_of(
        &self,
        queue: &tokio::sync::Mutex<()>,
        reason: impl Fn() -> MintReason,
        is_needed: impl Fn() -> bool,
    ) -> bool {
        let _first = queue.lock().await;
        while is_needed() {
            let started = self.pace.lock().start(reason(), self.started.elapsed());
            match started {
                Ok(()) => return true,
                Err(opens_at) => sleep_until(self.started + opens_at).await,
            }
        }
        false
    }
}

impl NamespaceQueues {
    /// The queue of a namespace: one for each reason, so that it waits for none of its own retries or
    /// inventions either.
    fn of(&mut self, namespace: &Arc<str>, reason: MintReason) -> Arc<tokio::sync::Mutex<()>> {
        let place = (namespace.clone(), reason);
        if let Some(queue) = self.queues.get(&place).and_then(Weak::upgrade) {
            return queue;
        }
        if self.queues.len() >= self.prune_at {
            self.queues.retain(|_, queue| queue.strong_count() > 0);
            self.prune_at = 2 * self.queues.len() + MIN_PRUNED;
        }
        let queue = Arc::default();
        self.queues.insert(place, Arc::downgrade(&queue));
        queue
    }
}

#[cfg(test)]
mod tests;
