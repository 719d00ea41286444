//! An API server that does not stream lists, as Kubernetes 1.30 does: each list comes in pages, complete, and Secrets are
//! written, renewed and repaired as ever. In a cluster of its own.

pub mod lists;

use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Namespace as V1Namespace, Pod, Secret};
use kube::Api;
use kube::api::PostParams;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::harness::memory::MemoryGroup;
use crate::harness::namespace::{ACCOUNT, SECRET, pod};
use crate::harness::tenant::Tenant;
use crate::harness::{LIMIT, World, eventually};

/// More than a page of 100 of each kind.
const EACH: usize = 120;

static PAGED: OnceCell<Arc<World>> = OnceCell::const_new();

/// The control groups of the replicas, where they can be made.
static GROUPS: Mutex<Vec<MemoryGroup>> = Mutex::new(Vec::new());

/// Stops the world, if a test has started it.
pub fn stop() {
    if let Some(world) = PAGED.get() {
        world.stop();
        GROUPS.lock().clear();
    }
}

/// Fails if the kernel killed a replica for want of memory.
fn assert_none_killed() {
    let kills: Vec<u64> = GROUPS.lock().iter().map(MemoryGroup::kills).collect();
    assert!(kills.iter().all(|count| *count == 0), "{kills:?}");
}

/// The world, with more than a page of each kind and a tenant's large objects before the first replica starts.
async fn shared() -> Arc<World> {
    let start = || async {
        let builder = World::builder().audit_log();
        let world = builder
            .cluster_flag("--kube-apiserver-arg=--feature-gates=WatchList=false")
            .start()
            .await;
        join_all((0..EACH).map(|number| fill(&world, number))).await;
        Tenant::new(&world).await.make_large_objects().await;
        for _ in 0..2 {
            let group = MemoryGroup::new();
            world.add_replica(|launch| match &group {
                Some(group) => launch.memory(group),
                None => launch,
            });
            GROUPS.lock().extend(group);
        }
        world.route().await;
        world
    };
    PAGED.get_or_init(start).await.clone()
}

/// Creates a namespace with its default ServiceAccount, a Secret of our name, and a pod that admission misses.
async fn fill(world: &World, number: usize) {
    let client = || world.cluster.client.clone();
    let name = format!("paged-{number}");
    let namespace = object::<V1Namespace>(json!({ "metadata": { "name": name } }));
    let params = PostParams::default();
    let namespaces: Api<V1Namespace> = Api::all(client());
    namespaces.create(&params, &namespace).await.expect("it");
    let secret = json!({ "metadata": { "name": SECRET }, "type": "Opaque" });
    let secrets: Api<Secret> = Api::namespaced(client(), &name);
    secrets.create(&params, &object(secret)).await.expect("it");
    let image = world.aws.region("paged-land-1").host(ACCOUNT);
    let mut missed = pod("pod", &format!("{image}/app:v1"));
    missed["spec"]["schedulerName"] = json!("none");
    let (missed, pods) = (object(missed), Api::<Pod>::namespaced(client(), &name));
    eventually("the pod", LIMIT, || async {
        // It fails until there is a default ServiceAccount.
        pods.create(&params, &missed).await.ok().map(drop)
    })
    .await;
}

fn object<K: serde::de::DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).expect("an object of the kind")
}
