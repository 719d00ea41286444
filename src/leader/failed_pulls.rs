//! Pods that ran before and cannot pull now: an image of another registry was set, or a container starts
//! again with an expired token. The kubelet's Events show which.
//!
//! An Event is not believed: the pod is read and served as it is. Pods wait by namespace, and of one
//! namespace a few are read a second, however many Events it has.

use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::workload::backlog::Admittance;
use ecr_pull_secrets_core::workload::standing::PodPhase;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use kube::Api;
use tokio::time::sleep;
use tracing::debug;

use super::attend::serve;
use super::backlog::{Backlog, Queued};
use super::term::Term;
use crate::cluster::call::call;
use crate::cluster::pods::ObservedPod;
use crate::cluster::pull_events::{self, FailedPod};

/// The most namespaces of which a pod is being read, or was just now.
const MAX_READS: usize = 16;
/// The time between two reads of pods of one namespace.
const READ_INTERVAL: Duration = Duration::from_millis(200);

impl Queued for FailedPod {
    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn name(&self) -> String {
        self.uid.clone()
    }
}

/// Runs until it is dropped.
pub(super) async fn run(term: Arc<Term>) {
    let waiting = Backlog::<FailedPod>::new();
    let follow = pull_events::follow(term.engine.clients.watch.clone(), |pod| {
        if waiting.add(pod) != Admittance::Waits {
            // The kubelet repeats the Event, and a sweep finds the pod, too.
            debug!("too many pods wait to be read");
        }
    });
    tokio::join!(follow, work(&term, &waiting));
}

async fn work(term: &Term, waiting: &Backlog<FailedPod>) {
    let mut reads = FuturesUnordered::new();
    loop {
        let has_room = reads.len() < MAX_READS;
        tokio::select! {
            Some(()) = reads.next() => {}
            pod = waiting.begin(), if has_room => reads.push(async move {
                check(term, &pod).await;
                sleep(READ_INTERVAL).await;
                waiting.end(&pod.namespace, None);
            }),
        }
    }
}

/// Serves the pod, if it exists and runs.
async fn check(
    term: &Term,
    FailedPod {
        namespace,
        name,
        uid,
    }: &FailedPod,
) {
    let pods: Api<ObservedPod> = Api::namespaced(term.engine.clients.call.clone(), namespace);
    let Ok(Some(pod)) = call(|| pods.get_opt(name)).await else {
        return;
    };
    // The watch brings those that are Pending.
    if pod.uid() == uid && pod.phase == PodPhase::Running {
        serve(term, &pod).await;
    }
}
