//! What waits, by namespace: reports about pods until the API server takes them, and pods until they are
//! read again.

use std::time::Duration;

use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::selection::Wish;
use ecr_pull_secrets_core::workload::backlog::{Admittance, ReportBacklog};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::ObjectReference;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::candidates::Candidate;
use super::missed::UnderWay;
use crate::clock;
use crate::cluster::pods::{NamedPod, ObservedPod};

/// One report about one pod: an Event, and a line in the log.
#[derive(Debug)]
pub(super) struct PodReport {
    pub(super) about: ObjectReference,
    pub(super) cause: Cause,
    /// The line in the log.
    pub(super) message: &'static str,
    /// The wish of the pod's own label, if the report says that admission missed the pod.
    pub(super) missed: Option<(Wish, UnderWay)>,
    /// What is deleted once the pod is reported.
    pub(super) candidate: Option<Box<Candidate>>,
    /// An earlier attempt may have created the Event, although its answer got lost.
    pub(super) may_exist: bool,
}

impl PodReport {
    pub(super) fn of(pod: &ObservedPod, cause: Cause, message: &'static str) -> Self {
        Self {
            about: pod.reference(),
            cause,
            message,
            missed: None,
            candidate: None,
            may_exist: false,
        }
    }

    pub(super) fn pod(&self) -> &str {
        self.about.name.as_deref().unwrap_or_default()
    }

    pub(super) fn uid(&self) -> &str {
        self.about.uid.as_deref().unwrap_or_default()
    }
}

impl Queued for NamedPod {
    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn name(&self) -> String {
        self.uid.clone()
    }
}

impl Queued for PodReport {
    fn namespace(&self) -> &str {
        self.about.namespace.as_deref().unwrap_or_default()
    }

    fn name(&self) -> String {
        format!("{} {}", self.cause.name(), self.uid())
    }
}

/// What waits in a backlog.
pub(super) trait Queued {
    /// The namespace whose share it takes.
    fn namespace(&self) -> &str;

    /// Tells it from all others of its namespace.
    fn name(&self) -> String;
}

/// What waits in one term, by namespace.
pub(super) struct Backlog<R> {
    start: Instant,
    waiting: Mutex<ReportBacklog<R>>,
    changed: Notify,
}

impl<R: Queued> Backlog<R> {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            waiting: Mutex::new(ReportBacklog::default()),
            changed: Notify::new(),
        }
    }

    /// Whether reports of a namespace wait: no other one is tried before them.
    pub(super) fn has(&self, namespace: &str) -> bool {
        self.waiting.lock().has(namespace)
    }

    /// Lets a report wait.
    pub(super) fn add(&self, report: R) -> Admittance {
        let (namespace, name) = (report.namespace().to_owned(), report.name());
        let now = self.start.elapsed();
        let admittance = self.waiting.lock().add(&namespace, &name, report, now);
        self.changed.notify_one();
        admittance
    }

    /// Makes the attempts that are due, until dropped: one at a time of each namespace, and `most`
    /// together. An attempt returns what has to wait again.
    pub(super) async fn work<A>(&self, most: usize, attempt: impl Fn(R) -> A)
    where
        A: Future<Output = Option<R>>,
    {
        let mut attempts = FuturesUnordered::new();
        loop {
            let has_room = attempts.len() < most;
            tokio::select! {
                Some(()) = attempts.next() => {}
                next = self.begin(), if has_room => {
                    let namespace = next.namespace().to_owned();
                    let attempt = attempt(next);
                    attempts.push(async move { self.end(&namespace, attempt.await) });
                }
            }
        }
    }

    /// Waits until an attempt is due, and begins it.
    async fn begin(&self) -> R {
        loop {
            let next = self.waiting.lock().next();
            tokio::select! {
                () = clock::at(next.map(|at| self.start + at)) => {}
                () = self.changed.notified() => {}
            }
            if let Some(retried) = self.waiting.lock().begin(self.start.elapsed()) {
                return retried.report;
            }
        }
    }

    /// Ends an attempt. `again` is the report, if the API server did not take it.
    fn end(&self, namespace: &str, again: Option<R>) {
        let again = again.map(|report| (report.name().into(), report));
        let now: Duration = self.start.elapsed();
        self.waiting.lock().end(namespace, again, now);
        self.changed.notify_one();
    }
}
