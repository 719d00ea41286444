//! The fleet: a world with three replicas that come and go as pods do, and, once a test asks, a
//! thousand namespaces whose pull Secrets hold two registries.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use aws_stand_in::client::Region;
use aws_stand_in::spec::Fault;
use futures::StreamExt as _;
use futures::stream;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use crate::harness::namespace::{ACCOUNT, Namespace, SECRET, pod, references};
use crate::harness::recorder::Recorder;
use crate::harness::replica::Replica;
use crate::harness::world::OURS;
use crate::harness::{LIMIT, World, eventually};

/// Replicas of the fleet.
const REPLICAS: usize = 3;
/// Namespaces of the fleet.
pub const NAMESPACES: usize = 1000;
/// Lifetime of each region's tokens, in seconds. The first is renewed every half minute, in all
/// namespaces. The second is renewed seldom, which leaves time for that on a busy machine.
const LIFETIMES: [i64; 2] = [60, 240];
/// Time for a thousand writes on a busy machine.
pub const CONVERGENCE: Duration = Duration::from_secs(180);
/// Concurrent requests while the fleet is populated.
const AT_A_TIME: usize = 16;

/// Three replicas, two regions, and a record of every Secret.
pub struct Fleet {
    world: Arc<World>,
    /// Every version of every pull Secret.
    pub recorder: Recorder,
    /// Regions of the fleet's registries.
    pub regions: [Region; 2],
    populated: OnceCell<()>,
}

impl Deref for Fleet {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl Fleet {
    /// Starts control plane and AWS, installs the chart, and starts the replicas.
    pub async fn start() -> Self {
        let builder = World::builder().json_storage().replicas(REPLICAS);
        let world = builder.start().await;
        let etcd = world.cluster.report["etcd"].as_str();
        Self {
            recorder: Recorder::of_etcd(etcd.expect("an address")),
            regions: ["fleet-land-1", "fleet-land-2"].map(|name| world.aws.region(name)),
            populated: OnceCell::new(),
            world,
        }
    }

    /// Starts new replicas until there are three again, as a Deployment does, and routes the Service
    /// to all of them.
    pub async fn complete(&self) {
        while self.replicas().len() < REPLICAS {
            self.add_replica(|new| new);
        }
        self.route().await;
    }

    /// The replica that the Lease names, once it runs.
    pub async fn lease_holder(&self) -> Arc<Replica> {
        let leases: Api<Lease> = Api::namespaced(self.cluster.client.clone(), OURS);
        eventually("a lease holder", LIMIT, || async {
            let lease = leases.get_opt(OURS).await.ok()??;
            let holder = lease.spec?.holder_identity?;
            let mut replicas = self.replicas().into_iter();
            replicas.find(|replica| replica.name == holder)
        })
        .await
    }

    /// Creates the namespaces, and in each a pod with images of both registries. Every later fan-out
    /// goes through all of them.
    pub async fn populate(&self) {
        self.populated
            .get_or_init(|| async {
                for (region, seconds) in self.regions.iter().zip(LIFETIMES) {
                    region.fault(Fault::Lifetime { seconds }).await.unwrap();
                }
                let pod = self.pod();
                stream::iter(0..NAMESPACES)
                    .for_each_concurrent(AT_A_TIME, |_| async {
                        let region = self.regions[0].clone();
                        let namespace = Namespace::in_region(self, region, json!({})).await;
                        let pod: Pod = namespace.create(pod.clone()).await.unwrap();
                        assert_eq!(references(&pod), [SECRET]);
                    })
                    .await;
                self.converged().await;
            })
            .await;
    }

    fn pod(&self) -> Value {
        let [image, init] = self.hosts().map(|host| format!("{host}/app:v1"));
        let mut pod = pod("pod", &image);
        pod["spec"]["initContainers"] = json!([{ "name": "init", "image": init }]);
        pod
    }

    fn hosts(&self) -> [String; 2] {
        self.regions.each_ref().map(|region| region.host(ACCOUNT))
    }

    /// Hashes of the token store's tokens for both regions.
    pub fn tokens(&self) -> Option<[u64; 2]> {
        let [one, other] = &self.regions;
        let token = |region: &Region| Some(self.recorder.stored(region.name())?.token);
        Some([token(one)?, token(other)?])
    }

    /// Waits until every Secret holds the newest tokens, those of the token store, and returns them.
    pub async fn converged(&self) -> [u64; 2] {
        self.converged_on(|_| true).await
    }

    /// The same, for tokens that are wanted.
    pub async fn converged_on(&self, is_wanted: impl Fn([u64; 2]) -> bool) -> [u64; 2] {
        let what = "every Secret holds the newest token of both registries";
        eventually(what, CONVERGENCE, || async {
            self.recorder.assert_sound();
            let tokens = self.tokens()?;
            let is_everywhere = |token| self.recorder.holders(token) == NAMESPACES;
            (is_wanted(tokens) && tokens.into_iter().all(is_everywhere)).then_some(tokens)
        })
        .await
    }

    /// Waits until the next fan-out of the first region is halfway, and returns its token.
    pub async fn mid_fan_out(&self) -> u64 {
        let [before, _] = self.converged().await;
        let deadline = Instant::now() + CONVERGENCE;
        loop {
            let [token, _] = self.tokens().expect("tokens");
            let holders = self.recorder.holders(token);
            if token != before && (NAMESPACES / 20..NAMESPACES * 3 / 4).contains(&holders) {
                return token;
            }
            assert!(Instant::now() < deadline, "no fan-out began");
            // A poll interval, well below the time of a fan-out.
            sleep(Duration::from_millis(2)).await;
        }
    }
}
