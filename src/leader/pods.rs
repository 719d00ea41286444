//! Pending pods: a missed pod is reported, a Secret that is missing or stale is written, and where
//! ECR refuses a pull, the pod's Events say why.
//!
//! A watch of Pending pods brings them one by one, and stores none of them. Where a namespace has many
//! that need calls of the API server, only their names wait: the pods of other namespaces are served
//! meanwhile. The [sweep](super::sweep) checks pods that run already, and
//! [`failed_pulls`](super::failed_pulls) those whose pulls fail.

use std::sync::Arc;

use ecr_pull_secrets_core::workload::backlog::Admittance;
use futures::{Stream, StreamExt as _};
use kube::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use tracing::debug;

use super::attend::{note, serve};
use super::backlog::Backlog;
use super::recreate;
use super::term::Term;
use crate::cluster::pods::{NamedPod, ObservedPod};
use crate::cluster::watch::{collection, interrupted};
use crate::slots::Slots;

/// The most pods that are attended to at a time,
pub(super) const MAX_PODS: usize = 16;
/// and those of one namespace. Its further pods wait to be read again, one at a time.
const MAX_OF_NAMESPACE: usize = MAX_PODS / 4;
/// The most pods that waited and are read again at a time, each of another namespace.
const MAX_READS: usize = 4;

/// Runs until it is dropped.
pub(super) async fn run(term: Arc<Term>) {
    let late = Backlog::<NamedPod>::new();
    let read = late.work(MAX_READS, |pod| serve_late(&term, pod));
    tokio::join!(watch(&term, &late), read, recreate::run(&term));
}

async fn watch(term: &Term, late: &Backlog<NamedPod>) {
    let api: Api<ObservedPod> = Api::all(term.engine.clients.watch.clone());
    let config = watcher::Config::default().fields("status.phase=Pending");
    let events = collection(api, config)
        .default_backoff()
        .inspect(|event| {
            // A pod may have come and left Pending before this list began: the sweep checks it.
            if matches!(event, Ok(Event::InitDone)) {
                term.reports.gap.notify_one();
            }
        })
        .filter_map(|event| async move {
            match event {
                // A pod that leaves Pending arrives as deleted, and was seen before.
                Ok(Event::Init | Event::InitDone | Event::Delete(_)) => None,
                Ok(Event::InitApply(pod) | Event::Apply(pod)) => Some(pod),
                Err(error) => {
                    interrupted("pods", &error);
                    None
                }
            }
        });
    let serve = |pod: ObservedPod| async move { serve(term, &pod).await };
    let postpone = |pod: &ObservedPod| postpone(term, late, pod);
    serve_each(events, ObservedPod::namespace, serve, postpone).await;
}

/// Serves pods in the order in which they come. Those that have to wait for a slot of their namespace
/// are postponed, and hold up none that come behind them.
async fn serve_each<P, S>(
    pods: impl Stream<Item = P>,
    namespace: impl Fn(&P) -> &str,
    serve: impl Fn(P) -> S,
    postpone: impl Fn(&P),
) where
    S: Future<Output = ()>,
{
    let slots = &Slots::new(MAX_PODS, MAX_OF_NAMESPACE);
    let (namespace, serve, postpone) = (&namespace, &serve, &postpone);
    pods.for_each_concurrent(MAX_PODS, |pod| async move {
        let namespace = namespace(&pod).to_owned();
        match slots.take(&namespace) {
            Ok(_slot) => serve(pod).await,
            Err(_) => postpone(&pod),
        }
    })
    .await;
}

/// Has a pod wait.
fn postpone(term: &Term, late: &Backlog<NamedPod>, pod: &ObservedPod) {
    note(term, pod);
    match late.add(pod.named()) {
        Admittance::Waits => {}
        // The next sweep finds it.
        Admittance::FullOfNamespace => {
            debug!(
                namespace = pod.namespace(),
                "too many pods of a namespace wait"
            );
        }
        Admittance::Full => term.reports.sweep_soon(pod.namespace()),
    }
}

/// Serves a pod that waited, if it still exists. Returns it if the API server does not say.
async fn serve_late(term: &Term, pod: NamedPod) -> Option<NamedPod> {
    match pod.read(&term.engine.clients).await {
        Ok(Some(pod)) => serve(term, &pod).await,
        Ok(None) => {}
        Err(refusal) if refusal.is_transient() => return Some(pod),
        Err(_) => {}
    }
    None
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use futures::stream;
    use parking_lot::Mutex;
    use tokio::task::yield_now;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn burst_of_one_namespace_holds_up_no_other() {
        let burst = (0..1000).map(|_| "tenant");
        let pods = stream::iter(burst.chain(["team"])).chain(stream::pending());
        let (served, postponed) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        // The API server does not answer for any of them.
        let serve = |pod| {
            served.lock().push(pod);
            pending()
        };
        let postpone = |pod: &&'static str| postponed.lock().push(*pod);
        let all_came = async {
            while served.lock().len() + postponed.lock().len() < 1001 {
                yield_now().await;
            }
        };
        let came = async {
            tokio::select! {
                () = serve_each(pods, |pod| pod, serve, postpone) => {}
                () = all_came => {}
            }
        };
        timeout(Duration::from_secs(60), came)
            .await
            .expect("no pod waits behind others");
        assert_eq!(
            *served.lock(),
            ["tenant", "tenant", "tenant", "tenant", "team"]
        );
        assert_eq!(*postponed.lock(), ["tenant"; 996]);
    }
}
