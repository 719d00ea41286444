//! Namespaces that get the pull Secret before they have a pod, future ones included.
//!
//! A watch of namespace metadata brings each namespace that is new or has new labels. It runs only if
//! the configuration provisions something. [`PullSecrets::ensure`] does the rest, and retries by
//! itself while the API server is in trouble. A namespace that lacks a token waits here, because
//! thousands of them would otherwise each retry.
//!
//! [`PullSecrets::ensure`]: crate::pull_secret::ensure::PullSecrets::ensure

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::cause::Retry;
use ecr_pull_secrets_core::identity::Access;
use ecr_pull_secrets_core::image::Registry;
use ecr_pull_secrets_core::target::Target;
use ecr_pull_secrets_core::workload::claim::SecretClaim;
use futures::StreamExt as _;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::term::Term;
use crate::clock;
use crate::cluster::watch::{announcement, collection, follow};
use crate::pull_secret::ensure::{Ensured, Wanted};
use crate::telemetry::metrics::Trigger;

/// The most namespaces at a time.
const MAX_NAMESPACES: usize = 16;
/// The wait for one namespace before the next; its work goes on.
const PROVISION_TIMEOUT: Duration = Duration::from_secs(10);
/// The time between two attempts for namespaces that lack a token.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// The registries of a namespace, each with the identity that opens it.
type Grants = Vec<Access>;

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
    let work = queued.for_each_concurrent(MAX_NAMESPACES, |(target, grants)| {
        let this = this.clone();
        async move { this.provide(target, grants).await }
    });
    tokio::join!(this.watch(), work, this.try_again());
}

struct Provisioning {
    term: Arc<Term>,
    queue: UnboundedSender<(Target, Grants)>,
    /// Namespaces that lack a token, or whose Secret is not written yet.
    waiting: Mutex<HashMap<Target, Grants>>,
}

impl Provisioning {
    async fn watch(&self) {
        let events = collection(
            Api::<PartialObjectMeta<Namespace>>::all(self.term.engine.clients.watch.clone()),
            watcher::Config::default(),
        );
        let mut logged = HashSet::new();
        // No caller waits for the first list.
        let (announce, _) = announcement();
        follow("namespaces", events, announce, |event| match event {
            Event::Init => {}
            Event::InitDone => self.term.engine.wants.provision_is_known(),
            Event::InitApply(namespace) | Event::Apply(namespace) => {
                self.saw(&namespace.metadata, &mut logged);
            }
            Event::Delete(namespace) => {
                let name = namespace.metadata.name.as_deref().unwrap_or_default();
                let engine = &self.term.engine;
                let target = engine.live.snapshot().target(name);
                engine.wants.provision(&target, &[]);
                self.waiting.lock().remove(&target);
            }
        })
        .await;
    }

    /// `logged` has the registries whose denial was logged.
    fn saw(&self, metadata: &ObjectMeta, logged: &mut HashSet<Registry>) {
        let name = metadata.name.as_deref().unwrap_or_default();
        let engine = &self.term.engine;
        let config = engine.live.snapshot();
        let grants = engine.wants.provisioned(&config, metadata, |registry| {
            if !logged.contains(&registry) {
                warn!(
                    namespace = name,
                    registry = registry.host(),
                    "the rules deny a registry that provision lists, in this namespace and maybe in others"
                );
                logged.insert(registry);
            }
        });
        let target = config.target(name);
        engine.wants.provision(&target, &grants);
        self.waiting.lock().remove(&target);
        if !grants.is_empty() {
            // The other end lives as long as this.
            let _ = self.queue.unbounded_send((target, grants));
        }
    }

    async fn provide(&self, target: Target, grants: Grants) {
        let config = self.term.engine.live.snapshot();
        let mut ready = Grants::new();
        let mut late = Grants::new();
        for access in grants {
            let key = access.token_key();
            let held = self.term.engine.supply.held(&key);
            let works = held.is_some_and(|token| clock::now() < token.expires_at);
            // Charged to no namespace: the configuration asks for this token.
            let side = if works || self.term.engine.supply.refresh(&key, &config).await.is_ok() {
                &mut ready
            } else {
                &mut late
            };
            side.push(access);
        }
        if !ready.is_empty() {
            let end = Instant::now() + PROVISION_TIMEOUT;
            let wanted = Wanted {
                target: &target,
                registries: &ready,
                claim: SecretClaim::Configuration,
                mint_by: end,
                done_by: end,
                trigger: Trigger::provision,
            };
            match self.term.engine.pull_secrets.ensure(wanted).await {
                Ensured::Fresh => {}
                Ensured::Written => info!(namespace = &*target.namespace, "provisioned"),
                // The cause has been logged.
                Ensured::Late(cause) if cause.retry() == Retry::Never => {}
                Ensured::Late(_) => late.append(&mut ready),
            }
        }
        if !late.is_empty() {
            self.waiting.lock().insert(target, late);
        }
    }

    async fn try_again(&self) {
        loop {
            sleep(RETRY_INTERVAL).await;
            let waiting = std::mem::take(&mut *self.waiting.lock());
            let config = self.term.engine.live.snapshot();
            for job in waiting {
                // It may be terminating by now.
                let namespace = &job.0.namespace;
                let known = self.term.engine.namespaces.cached(namespace);
                if known
                    .is_some_and(|fact| SecretClaim::Configuration.counts(&config, namespace, fact))
                {
                    let _ = self.queue.unbounded_send(job);
                }
            }
        }
    }
}
