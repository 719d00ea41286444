//! Namespaces that get the pull Secret without waiting for a pod, those of the future included.
//!
//! A watch of namespaces, of metadata only and only while there is something to provision, brings
//! each that is new or got other labels; [`PullSecrets::ensure`] does the rest, and goes on by itself
//! where the API server is in trouble. A namespace that waits for a token waits here: thousands of
//! them would otherwise each try for themselves.
//!
//! [`PullSecrets::ensure`]: crate::pull_secret::ensure::PullSecrets::ensure

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ecr_pull_secrets_core::cause::Retry;
use ecr_pull_secrets_core::identity::Identity;
use ecr_pull_secrets_core::identity::TokenKey;
use ecr_pull_secrets_core::image::Registry;
use ecr_pull_secrets_core::selection::Wish;
use ecr_pull_secrets_core::workload::plan::NamespaceFact;
use futures::StreamExt as _;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::term::Term;
use crate::clock;
use crate::cluster::watch::{announcement, follow};
use crate::pull_secret::ensure::{Ensured, Wanted};
use crate::telemetry::metrics::Trigger;

/// Namespaces at a time.
const AT_A_TIME: usize = 16;
/// How long one of them may hold a place; its work goes on after that.
const TURN: Duration = Duration::from_secs(10);
/// How often those that wait for a token are tried again.
const RETRY: Duration = Duration::from_secs(10);

/// What a namespace is to open, and with whose rights.
type Grants = Vec<(Registry, Identity)>;

/// Runs until it is dropped.
pub(super) async fn run(term: Arc<Term>) {
    if term.engine.live.snapshot().provision.is_empty() {
        return std::future::pending().await;
    }
    let (queue, queued) = unbounded();
    let this = Arc::new(Provisioning {
        term,
        queue,
        waiting: Mutex::default(),
    });
    let work = queued.for_each_concurrent(AT_A_TIME, |(namespace, grants)| {
        let this = this.clone();
        async move { this.provide(namespace, grants).await }
    });
    tokio::join!(this.watch(), work, this.try_again());
}

struct Provisioning {
    term: Arc<Term>,
    queue: UnboundedSender<(String, Grants)>,
    /// Namespaces that wait for a token, or for their Secret to be written.
    waiting: Mutex<HashMap<String, Grants>>,
}

impl Provisioning {
    async fn watch(&self) {
        let events = watcher(
            Api::<PartialObjectMeta<Namespace>>::all(self.term.engine.clients.watch.clone()),
            watcher::Config::default(),
        );
        let mut told = HashSet::new();
        // Nobody waits for the first list.
        let (announce, _) = announcement();
        follow("namespaces", events, announce, |event| match event {
            Event::Init | Event::InitDone => {}
            Event::InitApply(namespace) | Event::Apply(namespace) => {
                self.saw(&namespace.metadata, &mut told);
            }
            Event::Delete(namespace) => {
                self.waiting()
                    .remove(namespace.metadata.name.as_deref().unwrap_or_default());
            }
        })
        .await;
    }

    /// `told` are the registries whose denial was told.
    fn saw(&self, metadata: &ObjectMeta, told: &mut HashSet<Registry>) {
        let name = metadata.name.as_deref().unwrap_or_default();
        let engine = &self.term.engine;
        let config = engine.live.snapshot();
        let grants = engine.wants.provisioned(&config, metadata, |registry| {
            if !told.contains(&registry) {
                warn!(
                    namespace = name,
                    registry = registry.host(),
                    "the rules deny a registry that is to be provisioned, here and maybe elsewhere"
                );
                told.insert(registry);
            }
        });
        self.waiting().remove(name);
        if !grants.is_empty() {
            // The other end lives as long as this.
            let _ = self.queue.unbounded_send((name.to_owned(), grants));
        }
    }

    async fn provide(&self, namespace: String, grants: Grants) {
        let config = self.term.engine.live.snapshot();
        let mut ready = Grants::new();
        let mut late = Grants::new();
        for (registry, identity) in grants {
            let key = TokenKey::new(identity.clone(), &registry);
            let held = self.term.engine.supply.held(&key);
            let works = held.is_some_and(|token| clock::now() < token.expires_at);
            // A token that a namespace asks for is charged to it; this one is the configuration's.
            let side = if works || self.term.engine.supply.refresh(&key, &config).await.is_ok() {
                &mut ready
            } else {
                &mut late
            };
            side.push((registry, identity));
        }
        if !ready.is_empty() {
            let end = Instant::now() + TURN;
            let wanted = Wanted {
                target: &self.term.engine.target(&namespace),
                registries: &ready,
                mint_by: end,
                done_by: end,
                trigger: Trigger::provision,
            };
            match self.term.engine.pull_secrets.ensure(wanted).await {
                Ensured::Fresh => {}
                Ensured::Written => info!(namespace, "provisioned"),
                // What stands in the way has been told.
                Ensured::Late(cause) if cause.retry() == Retry::Never => {}
                Ensured::Late(_) => late.append(&mut ready),
            }
        }
        if !late.is_empty() {
            self.waiting().insert(namespace, late);
        }
    }

    async fn try_again(&self) {
        loop {
            sleep(RETRY).await;
            let waiting = std::mem::take(&mut *self.waiting());
            for job in waiting {
                // It may have opted out, or begun to end, while it waited.
                let known = self.term.engine.namespaces.cached(&job.0);
                if matches!(known, Some(NamespaceFact::Active(Wish::None | Wish::In))) {
                    let _ = self.queue.unbounded_send(job);
                }
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, Grants>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
