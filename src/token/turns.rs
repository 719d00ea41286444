//! Turns to call AWS: see [`MintPace`].
//!
//! A namespace has one place in a queue at a time, whatever the number of keys that it waits for: one
//! that names a hundred regions delays its own pods, and no other's.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use ecr_pull_secrets_core::token::mint_pace::{MintPace, MintReason};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

/// The least number of namespaces at which those that wait no longer are removed.
const MIN_PRUNED: usize = 64;

/// The queues of callers, one for each reason.
pub(super) struct MintTurns {
    started: Instant,
    pace: Mutex<MintPace>,
    pods: tokio::sync::Mutex<()>,
    retries: tokio::sync::Mutex<()>,
    schedule: tokio::sync::Mutex<()>,
    namespaces: Mutex<NamespaceQueues>,
}

/// The queue of each namespace that waits.
#[derive(Default)]
struct NamespaceQueues {
    queues: HashMap<Arc<str>, Weak<tokio::sync::Mutex<()>>>,
    /// The number of namespaces at which the next pruning is worth its time.
    prune_at: usize,
}

impl MintTurns {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            pace: Mutex::default(),
            pods: tokio::sync::Mutex::default(),
            retries: tokio::sync::Mutex::default(),
            schedule: tokio::sync::Mutex::default(),
            namespaces: Mutex::default(),
        }
    }

    /// Waits until one call may start, or is not needed any more: then it is not counted. A caller that
    /// is dropped leaves its queue.
    pub(super) async fn turn(
        &self,
        reason: MintReason,
        namespace: Option<&Arc<str>>,
        is_needed: impl Fn() -> bool,
    ) {
        let own = namespace.map(|namespace| self.namespaces.lock().of(namespace));
        let _own_turn = match &own {
            Some(queue) => Some(queue.lock().await),
            None => None,
        };
        let queue = match reason {
            MintReason::Pod => &self.pods,
            MintReason::Retry => &self.retries,
            MintReason::Schedule => &self.schedule,
        };
        let _first = queue.lock().await;
        while is_needed() {
            let started = self.pace.lock().start(reason, self.started.elapsed());
            match started {
                Ok(()) => return,
                Err(opens_at) => sleep_until(self.started + opens_at).await,
            }
        }
    }
}

impl NamespaceQueues {
    fn of(&mut self, namespace: &Arc<str>) -> Arc<tokio::sync::Mutex<()>> {
        if let Some(queue) = self.queues.get(namespace).and_then(Weak::upgrade) {
            return queue;
        }
        if self.queues.len() >= self.prune_at {
            self.queues.retain(|_, queue| queue.strong_count() > 0);
            self.prune_at = 2 * self.queues.len() + MIN_PRUNED;
        }
        let queue = Arc::default();
        self.queues
            .insert(namespace.clone(), Arc::downgrade(&queue));
        queue
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn pod_does_not_wait_for_schedule_or_retries() {
        let turns = MintTurns::new();
        let many = |reason| {
            join_all(
                (0..100)
                    .map(|_| turns.turn(reason, None, || true))
                    .collect::<Vec<_>>(),
            )
        };
        let pod = async {
            for _ in 0..4 {
                turns.turn(MintReason::Pod, None, || true).await;
            }
        };
        tokio::select! {
            biased;
            _ = many(MintReason::Schedule) => panic!("the pod waited for the schedule"),
            _ = many(MintReason::Retry) => panic!("the pod waited for retries"),
            () = pod => {}
        }
    }

    #[tokio::test]
    async fn namespace_with_many_keys_delays_no_other() {
        let turns = MintTurns::new();
        let (hostile, honest): (Arc<str>, Arc<str>) = ("hostile".into(), "honest".into());
        let all = (0..100).map(|_| turns.turn(MintReason::Pod, Some(&hostile), || true));
        tokio::select! {
            biased;
            _ = join_all(all.collect::<Vec<_>>()) => panic!("one waited for the other"),
            () = turns.turn(MintReason::Pod, Some(&honest), || true) => {}
        }
    }

    /// A thousand namespaces wait for one token, which arrives.
    #[tokio::test]
    async fn calls_that_are_not_needed_take_no_turn() {
        let turns = MintTurns::new();
        for _ in 0..1000 {
            turns.turn(MintReason::Pod, None, || false).await;
        }
        let now = turns.started.elapsed();
        assert_eq!(turns.pace.lock().start(MintReason::Pod, now), Ok(()));
    }

    #[test]
    fn namespaces_that_wait_no_longer_are_forgotten() {
        let mut queues = NamespaceQueues::default();
        let waiting: Arc<str> = "waiting".into();
        let kept = queues.of(&waiting);
        for number in 0..1000 {
            let namespace: Arc<str> = number.to_string().into();
            queues.of(&namespace);
            assert!(queues.queues.len() <= 2 * MIN_PRUNED + 2);
        }
        assert!(Arc::ptr_eq(&kept, &queues.of(&waiting)));
    }
}
