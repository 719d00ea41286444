//! The fleet: a control plane of its own, three replicas that come and go as pods do, and, once
//! somebody asks, a thousand namespaces with pull Secrets of two registries.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_stand_in::client::{Client as Aws, Region};
use aws_stand_in::spec::Fault;
use futures::StreamExt as _;
use futures::stream;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use crate::harness::cluster::Cluster;
use crate::harness::interrupt::clean_up_on_interrupt;
use crate::harness::namespace::{ACCOUNT, Namespace, SECRET, pod, references};
use crate::harness::recorder::Recorder;
use crate::harness::replica::{Replica, Settings};
use crate::harness::world::{
    CONFIG, OURS, aws_environment, install, issue_certificates, keep, logs, write_kubeconfig,
};
use crate::harness::{LIMIT, eventually};

/// How many namespaces there are.
pub const NAMESPACES: usize = 1000;
/// Of the tokens of each region, in seconds. The first is renewed at half of it, for all namespaces,
/// and again; the second seldom enough to leave time for that on a machine that does other things.
const LIVES: [i64; 2] = [60, 240];
/// A thousand writes, on a machine that does other things as well.
pub const CONVERGENCE: Duration = Duration::from_secs(180);

/// Requests under way at a time where there is much to be made.
const AT_A_TIME: usize = 16;

/// See above.
pub struct Fleet {
    /// The control plane.
    pub cluster: Cluster,
    /// The stand-in for AWS.
    pub aws: Aws,
    /// What became of every pull Secret.
    pub recorder: Recorder,
    /// Of the fleet's registries.
    pub regions: [Region; 2],
    /// Those that run, or ought to.
    replicas: Mutex<Vec<Arc<Replica>>>,
    born: AtomicU32,
    populated: OnceCell<()>,
    /// Of our ServiceAccount.
    pub kubeconfig: PathBuf,
    directory: TempDir,
    _stand_in: aws_stand_in::Handle,
}

static FLEET: OnceCell<Arc<Fleet>> = OnceCell::const_new();

impl Fleet {
    /// The one fleet; the first caller starts it.
    pub async fn get() -> Arc<Self> {
        FLEET
            .get_or_init(|| async { Arc::new(Self::start().await) })
            .await
            .clone()
    }

    /// The one fleet, if any test asked for it.
    pub fn if_started() -> Option<Arc<Self>> {
        FLEET.get().cloned()
    }

    async fn start() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("ecr-pull-secrets-")
            .disable_cleanup(keep())
            .tempdir()
            .unwrap();
        let path = directory.path();
        clean_up_on_interrupt(path.to_owned(), || {
            if let Some(fleet) = Self::if_started() {
                fleet.stop();
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stand_in = aws_stand_in::serve(listener).expect("the stand-in starts");
        let aws = stand_in.client();
        let flags = [Recorder::STORAGE.to_owned()];
        let cluster = Cluster::start(&path.join("cluster"), &flags).await;
        let recorder = Recorder::of_etcd(cluster.report["etcd"].as_str().expect("an address"));
        let ca = issue_certificates(&path.join("certificates"));
        install(&cluster.kubeconfig, &ca, &[]);
        let kubeconfig = path.join("ours.kubeconfig");
        write_kubeconfig(&cluster, &kubeconfig).await;
        let this = Self {
            cluster,
            recorder,
            regions: ["fleet-land-1", "fleet-land-2"].map(|name| aws.region(name)),
            aws,
            replicas: Mutex::default(),
            born: AtomicU32::new(0),
            populated: OnceCell::new(),
            kubeconfig,
            directory,
            _stand_in: stand_in,
        };
        this.complete().await;
        this
    }

    /// The replicas that run, or ought to.
    pub fn replicas(&self) -> Vec<Arc<Replica>> {
        let replicas = self.replicas.lock();
        replicas.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Kills a replica, as a node does that runs out of memory.
    pub fn kill(&self, replica: &Arc<Replica>) {
        replica.stop();
        let mut replicas = self.replicas.lock().unwrap_or_else(PoisonError::into_inner);
        replicas.retain(|other| !Arc::ptr_eq(other, replica));
    }

    /// Starts new replicas until there are three again, as a Deployment does, and leads the API
    /// server to all that there are.
    pub async fn complete(&self) {
        loop {
            let replicas = self.replicas();
            if replicas.len() == 3 {
                break;
            }
            let name = format!("replica-{}", self.born.fetch_add(1, Ordering::Relaxed));
            let replica = Replica::start(&Settings {
                directory: self.directory.path(),
                name: &name,
                kubeconfig: &self.kubeconfig,
                certificates: Some(&self.directory.path().join("certificates")),
                config: CONFIG,
                environment: &aws_environment(self.aws.url()),
                log_level: "trace",
            });
            self.replicas
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(Arc::new(replica));
        }
        let mut addresses = Vec::new();
        for replica in self.replicas() {
            replica.ready().await;
            addresses.push(replica.https.to_string());
        }
        self.cluster.route(&format!("{OURS}/{OURS}"), &addresses);
    }

    /// Whom the Lease names, once that is one that runs.
    pub async fn leader(&self) -> Arc<Replica> {
        let leases: Api<Lease> = Api::namespaced(self.cluster.client.clone(), OURS);
        eventually("a leader", LIMIT, || async {
            let lease = leases.get_opt(OURS).await.ok()??;
            let holder = lease.spec?.holder_identity?;
            let mut replicas = self.replicas().into_iter();
            replicas.find(|replica| replica.name == holder)
        })
        .await
    }

    /// Makes the namespaces, and in each a pod with images of both registries. From now on every
    /// fan-out goes through all of them.
    pub async fn populate(&self) {
        self.populated
            .get_or_init(|| async {
                for (region, seconds) in self.regions.iter().zip(LIVES) {
                    region.fault(Fault::Lifetime { seconds }).await.unwrap();
                }
                let pod = self.pod();
                stream::iter(0..NAMESPACES)
                    .for_each_concurrent(AT_A_TIME, |_| async {
                        let (client, region) = (&self.cluster.client, &self.regions[0]);
                        let namespace =
                            Namespace::of_cluster(client.clone(), region.clone(), json!({})).await;
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

    /// The store's tokens for both regions, by hash.
    pub fn tokens(&self) -> Option<[u64; 2]> {
        let [one, other] = &self.regions;
        let token = |region: &Region| Some(self.recorder.stored(region.name())?.token);
        Some([token(one)?, token(other)?])
    }

    /// Waits until every Secret holds the newest tokens: those of the store. Says which.
    pub async fn converged(&self) -> [u64; 2] {
        self.converged_on(|_| true).await
    }

    /// The same for tokens that satisfy.
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

    /// Returns in the middle of the next fan-out of the first region, with the token that is on its
    /// way.
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

    /// What every process of ours logged so far: names and texts.
    pub fn logs(&self) -> Vec<(String, String)> {
        logs(self.directory.path())
    }

    /// Ends all of it.
    pub fn stop(&self) {
        for replica in self.replicas() {
            replica.stop();
        }
        self.cluster.stop();
        if keep() {
            println!("kept: {}", self.directory.path().display());
        } else {
            let _ = std::fs::remove_dir_all(self.directory.path());
        }
    }
}
