//! Clients that create pods without a pause until they are stopped. No scheduler takes the pods.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Namespace as V1Namespace, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::json;
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::world::NodeWorld;
use crate::harness::namespace::{Namespace, SECRET, pod, references};

const CLIENTS: usize = 8;
const NAMESPACES: usize = 10;
/// Pause between two pods of a client: the replicas need the machine, too.
const PACE: Duration = Duration::from_millis(80);

/// Running clients.
pub struct Clients {
    namespaces: Vec<Namespace>,
    shared: Arc<Shared>,
    tasks: AsyncMutex<JoinSet<()>>,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    created: AtomicUsize,
    bare: AtomicUsize,
    refused: Mutex<BTreeMap<String, usize>>,
}

/// Result of the clients' work.
pub struct Created {
    /// Number of stored pods.
    pub created: usize,
    /// Number of stored pods without the reference, as the API server answered.
    pub bare: usize,
    /// Number of refused pods, by error.
    pub refused: BTreeMap<String, usize>,
}

impl Clients {
    /// Starts the clients.
    pub async fn start(world: &NodeWorld) -> Self {
        let namespaces = join_all((0..NAMESPACES).map(|_| world.namespace())).await;
        let shared: Arc<Shared> = Arc::default();
        let mut tasks = JoinSet::new();
        for client in 0..CLIENTS {
            let pods: Vec<Api<Pod>> = namespaces.iter().map(Namespace::api).collect();
            let image = namespaces[0].image("app");
            tasks.spawn(create(client, pods, image, shared.clone()));
        }
        Self {
            namespaces,
            shared,
            tasks: AsyncMutex::new(tasks),
        }
    }

    /// Pods created so far.
    pub fn count(&self) -> usize {
        self.shared.created.load(Ordering::Relaxed)
    }

    /// Stops the clients after their current pod.
    pub async fn stop(&self) -> Created {
        self.shared.is_over.store(true, Ordering::Relaxed);
        let mut tasks = self.tasks.lock().await;
        while let Some(ended) = tasks.join_next().await {
            ended.expect("a client");
        }
        Created {
            created: self.count(),
            bare: self.shared.bare.load(Ordering::Relaxed),
            refused: self.shared.refused.lock().expect("no panic").clone(),
        }
    }

    /// All of their pods, as the API server stores them.
    pub async fn stored(&self) -> Vec<Pod> {
        let mut all = Vec::new();
        for namespace in &self.namespaces {
            let pods: Api<Pod> = namespace.api();
            all.extend(pods.list(&ListParams::default()).await.expect("a list"));
        }
        all
    }

    /// Deletes the pods and the namespaces.
    pub async fn remove(self) {
        for namespace in &self.namespaces {
            let pods: Api<Pod> = namespace.api();
            let now = DeleteParams::default().grace_period(0);
            let deleted = pods.delete_collection(&now, &ListParams::default()).await;
            deleted.expect("deleted pods");
            let namespaces: Api<V1Namespace> = Api::all(namespace.client.clone());
            let deleted = namespaces.delete(&namespace.name, &now).await;
            deleted.expect("a deleted namespace");
        }
    }
}

/// Whether a pod names our Secret and no other.
pub fn is_served(pod: &Pod) -> bool {
    references(pod) == [SECRET]
}

async fn create(client: usize, places: Vec<Api<Pod>>, image: String, shared: Arc<Shared>) {
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0.. {
        ticks.tick().await;
        if shared.is_over.load(Ordering::Relaxed) {
            return;
        }
        let mut pod = pod(&format!("pod-{client}-{number}"), &image);
        pod["spec"]["schedulerName"] = json!("none");
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        let place = &places[(client + number) % places.len()];
        match place.create(&PostParams::default(), &pod).await {
            Ok(pod) => {
                shared.created.fetch_add(1, Ordering::Relaxed);
                let is_bare = !is_served(&pod);
                shared
                    .bare
                    .fetch_add(usize::from(is_bare), Ordering::Relaxed);
            }
            Err(error) => {
                let mut refused = shared.refused.lock().expect("no panic");
                *refused.entry(error.to_string()).or_default() += 1;
            }
        }
    }
}
