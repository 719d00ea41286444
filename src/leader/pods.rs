//! Pending pods: a missed pod is reported, a Secret that is missing or stale is written, and where
//! ECR refuses a pull, the pod's Events say why.
//!
//! A watch of Pending pods brings them one by one, and stores none of them. The
//! [sweep](super::sweep) checks pods that run already, and [`failed_pulls`](super::failed_pulls) those whose
//! pulls fail.

use std::sync::Arc;

use futures::StreamExt as _;
use kube::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};

use super::attend::serve;
use super::recreate;
use super::term::Term;
use crate::cluster::pods::ObservedPod;
use crate::cluster::watch::{collection, interrupted};

/// The most pods that are attended to at a time.
pub(super) const MAX_PODS: usize = 16;

/// Runs until it is dropped.
pub(super) async fn run(term: Arc<Term>) {
    tokio::join!(watch(&term), recreate::run(&term));
}

async fn watch(term: &Term) {
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
    events
        .for_each_concurrent(MAX_PODS, |pod: ObservedPod| async move {
            serve(term, &pod).await;
        })
        .await;
}
