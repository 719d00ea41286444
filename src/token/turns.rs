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
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

/// The least number of namespaces at which those that wait no longer are removed.
const MIN_PRUNED: usize = 64;

/// The most callers that wait because of regions that may be inventions. Each takes some 3 KB.
const MAX_DOUBTFUL: usize = 512;
/// The most callers that wait because of other regions: each of 4,096 namespaces may want one.
const MAX_LISTED: usize = 4096;

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
    namespaces: Mutex<NamespaceQueues>,
}

/// The queues of callers for pods.
struct PodQueues {
    /// One for each caller in either queue.
    places: Semaphore,
    pods: tokio::sync::Mutex<()>,
    retries: tokio::sync::Mutex<()>,
}

impl PodQueues {
    fn new(places: usize) -> Self {
        Self {
            places: Semaphore::new(places),
            pods: tokio::sync::Mutex::default(),
            retries: tokio::sync::Mutex::default(),
        }
    }

    fn of(&self, is_retry: bool) -> &tokio::sync::Mutex<()> {
        if is_retry { &self.retries } else { &self.pods }
    }
}

/// A caller for a pod.
pub(super) struct PodCaller<'a> {
    pub(super) namespace: &'a Arc<str>,
    /// Whether the last call for the key failed, or the token replaces one that works.
    pub(super) is_retry: bool,
    /// Whether the region may be an invention.
    pub(super) is_doubtful: bool,
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
            listed: PodQueues::new(MAX_LISTED),
            doubtful: PodQueues::new(MAX_DOUBTFUL),
            schedule: tokio::sync::Mutex::default(),
            namespaces: Mutex::default(),
        }
    }

    /// Waits until one call of the schedule may start, or is not needed any more: then it is not
    /// counted. A caller that is dropped leaves its queue.
    pub(super) async fn of_schedule(&self, is_needed: impl Fn() -> bool) {
        self.first_of(&self.schedule, || MintReason::Schedule, is_needed)
            .await;
    }

    /// The same for a pod.
    ///
    /// # Errors
    ///
    /// [`TooManyCallers`], without a wait.
    pub(super) async fn of_pod(
        &self,
        caller: PodCaller<'_>,
        is_needed: impl Fn() -> bool,
    ) -> Result<(), TooManyCallers> {
        let PodCaller {
            namespace,
            is_retry,
            is_doubtful,
        } = caller;
        let listed = self.listed.of(is_retry);
        let queues = if is_doubtful {
            &self.doubtful
        } else {
            &self.listed
        };
        let _place = queues.places.try_acquire().map_err(|_| TooManyCallers)?;
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
            if is_doubtful && listed.try_lock().is_err() {
                doubtful
            } else {
                certain
            }
        };
        self.first_of(queues.of(is_retry), reason, is_needed).await;
        Ok(())
    }

    async fn first_of(
        &self,
        queue: &tokio::sync::Mutex<()>,
        reason: impl Fn() -> MintReason,
        is_needed: impl Fn() -> bool,
    ) {
        let _first = queue.lock().await;
        while is_needed() {
            let started = self.pace.lock().start(reason(), self.started.elapsed());
            match started {
                Ok(()) => return,
                Err(opens_at) => sleep_until(self.started + opens_at).await,
            }
        }
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
mod tests {
    use futures::future::join_all;

    use super::*;

    async fn of_pod(turns: &MintTurns, namespace: &str, is_retry: bool, is_doubtful: bool) {
        let caller = PodCaller {
            namespace: &namespace.into(),
            is_retry,
            is_doubtful,
        };
        turns.of_pod(caller, || true).await.unwrap();
    }

    #[tokio::test]
    async fn pod_does_not_wait_for_schedule_or_retries() {
        let turns = MintTurns::new();
        let schedule = (0..100).map(|_| turns.of_schedule(|| true));
        let retries = (0..100).map(|_| of_pod(&turns, "retrying", true, false));
        let pod = async {
            for _ in 0..4 {
                of_pod(&turns, "team", false, false).await;
            }
        };
        tokio::select! {
            biased;
            _ = join_all(schedule.collect::<Vec<_>>()) => panic!("the pod waited for the schedule"),
            _ = join_all(retries.collect::<Vec<_>>()) => panic!("the pod waited for retries"),
            () = pod => {}
        }
    }

    #[tokio::test]
    async fn namespace_with_many_keys_delays_no_other() {
        for is_doubtful in [false, true] {
            let turns = MintTurns::new();
            let all = (0..100).map(|_| of_pod(&turns, "hostile", false, is_doubtful));
            tokio::select! {
                biased;
                _ = join_all(all.collect::<Vec<_>>()) => panic!("one waited for the other"),
                () = of_pod(&turns, "honest", false, is_doubtful) => {}
            }
        }
    }

    /// Each invention is for another namespace, or for that of the pod.
    #[tokio::test]
    async fn invented_regions_delay_no_region_that_exists() {
        for is_retry in [false, true] {
            let turns = MintTurns::new();
            let names: Vec<String> = (0..100).map(|number| format!("team-{number}")).collect();
            let all = names.iter().flat_map(|name| {
                [
                    of_pod(&turns, name, is_retry, true),
                    of_pod(&turns, "honest", is_retry, true),
                ]
            });
            tokio::select! {
                biased;
                _ = join_all(all.collect::<Vec<_>>()) => panic!("it waited for inventions"),
                () = of_pod(&turns, "honest", is_retry, false) => {}
            }
        }
    }

    #[tokio::test]
    async fn retries_of_a_namespace_delay_no_first_call_of_it() {
        let turns = MintTurns::new();
        let names: Vec<String> = (0..100).map(|number| format!("team-{number}")).collect();
        let retries = names.iter().flat_map(|name| {
            [
                of_pod(&turns, name, true, false),
                of_pod(&turns, "honest", true, false),
            ]
        });
        tokio::select! {
            biased;
            _ = join_all(retries.collect::<Vec<_>>()) => panic!("it waited for retries"),
            () = of_pod(&turns, "honest", false, false) => {}
        }
    }

    #[tokio::test]
    async fn callers_for_invented_regions_are_limited() {
        let turns = MintTurns::new();
        let namespace: Arc<str> = "team".into();
        let caller = |is_doubtful| PodCaller {
            namespace: &namespace,
            is_retry: false,
            is_doubtful,
        };
        let all: Vec<_> = (0..MAX_DOUBTFUL)
            .map(|_| turns.doubtful.places.try_acquire().unwrap())
            .collect();
        assert_eq!(
            turns.of_pod(caller(true), || true).await,
            Err(TooManyCallers)
        );
        assert_eq!(turns.of_pod(caller(false), || true).await, Ok(()));
        drop(all);
        assert_eq!(turns.of_pod(caller(true), || true).await, Ok(()));
    }

    /// A thousand namespaces wait for one token, which arrives.
    #[tokio::test]
    async fn calls_that_are_not_needed_take_no_turn() {
        let turns = MintTurns::new();
        for _ in 0..1000 {
            turns.of_schedule(|| false).await;
        }
        let now = turns.started.elapsed();
        assert_eq!(turns.pace.lock().start(MintReason::Schedule, now), Ok(()));
    }

    #[test]
    fn namespaces_that_wait_no_longer_are_forgotten() {
        let mut queues = NamespaceQueues::default();
        let waiting: Arc<str> = "waiting".into();
        let kept = queues.of(&waiting, MintReason::Pod);
        for number in 0..1000 {
            let namespace: Arc<str> = number.to_string().into();
            queues.of(&namespace, MintReason::Pod);
            assert!(queues.queues.len() <= 2 * MIN_PRUNED + 2);
        }
        assert!(Arc::ptr_eq(&kept, &queues.of(&waiting, MintReason::Pod)));
    }
}
