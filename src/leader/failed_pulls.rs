//! Pods that ran before and cannot pull now: an image of another registry was set, or a container starts
//! again with an expired token. The kubelet's Events show which.
//!
//! An Event is not believed: the pod is read and served as it is. Pods wait by namespace, and of one
//! namespace a few are read a second, however many Events it has.

use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::workload::backlog::Admittance;
use ecr_pull_secrets_core::workload::standing::PodPhase;
use tokio::time::sleep;
use tracing::debug;

use super::attend::serve;
use super::backlog::Backlog;
use super::term::Term;
use crate::cluster::pods::NamedPod;
use crate::cluster::pull_events;

/// The most namespaces of which a pod is being read, or was just now.
const MAX_READS: usize = 16;
/// The time between two reads of pods of one namespace.
const READ_INTERVAL: Duration = Duration::from_millis(200);

/// Runs until it is dropped.
pub(super) async fn run(term: Arc<Term>) {
    let waiting = Backlog::<NamedPod>::new();
    let follow = pull_events::follow(term.engine.clients.watch.clone(), |pod| {
        if waiting.add(pod) != Admittance::Waits {
            // The kubelet repeats the Event, and a sweep finds the pod, too.
            debug!("too many pods wait to be read");
        }
    });
    let work = waiting.work(MAX_READS, |pod| check(&term, pod));
    tokio::join!(follow, work);
}

/// Serves the pod, if it exists and runs.
async fn check(term: &Term, pod: NamedPod) -> Option<NamedPod> {
    // The watch brings those that are Pending.
    if let Ok(Some(pod)) = pod.read(&term.engine.clients).await
        && pod.phase == PodPhase::Running
    {
        serve(term, &pod).await;
    }
    sleep(READ_INTERVAL).await;
    None
}
