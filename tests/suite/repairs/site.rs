//! A control plane with the chart, and as many replicas as a test wants: none at first.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_stand_in::client::Client as Aws;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::harness::cluster::Cluster;
use crate::harness::interrupt::clean_up_on_interrupt;
use crate::harness::namespace::{ACCOUNT, Namespace, pod, references};
use crate::harness::replica::{Replica, Settings};
use crate::harness::world::{
    OURS, aws_environment, install, issue_certificates, keep, logs, write_kubeconfig,
};
use crate::harness::{LIMIT, eventually};

/// The path that the chart registers.
const SERVED: &str = "/mutate";

/// See above.
pub struct Site {
    /// The control plane.
    pub cluster: Cluster,
    /// The stand-in for AWS.
    pub aws: Aws,
    /// Of our ServiceAccount.
    pub kubeconfig: PathBuf,
    replicas: Mutex<Vec<Arc<Replica>>>,
    born: AtomicU32,
    land: AtomicU32,
    directory: TempDir,
    _stand_in: aws_stand_in::Handle,
}

impl Site {
    /// Starts it; `stop` is called on Ctrl-C.
    pub async fn start(stop: fn()) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("ecr-pull-secrets-")
            .disable_cleanup(keep())
            .tempdir()
            .unwrap();
        let path = directory.path();
        clean_up_on_interrupt(path.to_owned(), stop);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stand_in = aws_stand_in::serve(listener).expect("the stand-in starts");
        let cluster = Cluster::start(&path.join("cluster"), &[]).await;
        let ca = issue_certificates(&path.join("certificates"));
        let flags = ["--set", "config.repair.recreatePods=true"];
        install(&cluster.kubeconfig, &ca, &flags);
        let kubeconfig = path.join("ours.kubeconfig");
        write_kubeconfig(&cluster, &kubeconfig).await;
        Self {
            cluster,
            aws: stand_in.client(),
            kubeconfig,
            replicas: Mutex::default(),
            born: AtomicU32::new(0),
            land: AtomicU32::new(0),
            directory,
            _stand_in: stand_in,
        }
    }

    /// A namespace and a region of its own.
    pub async fn namespace(&self, labels: Value) -> Namespace {
        let number = self.land.fetch_add(1, Ordering::Relaxed);
        let region = self.aws.region(&format!("site-land-{number}"));
        Namespace::of_cluster(self.cluster.client.clone(), region, labels).await
    }

    /// Ends all replicas, as a Deployment does that is scaled to none. The API server finds nobody
    /// from now on, until there are others.
    pub async fn close(&self) {
        let replicas = std::mem::take(&mut *self.replicas());
        for replica in &replicas {
            replica.terminate();
        }
        for replica in &replicas {
            assert_eq!(replica.ended().await, 0);
        }
        self.call(SERVED).await;
    }

    /// From now on the API server calls a path where nobody answers, whoever is there.
    pub async fn cut(&self) {
        self.call("/nowhere").await;
    }

    /// Has the API server call this path, and waits until it does.
    async fn call(&self, path: &str) {
        let registrations: Api<MutatingWebhookConfiguration> =
            Api::all(self.cluster.client.clone());
        let name = "zz-ecr-pull-secrets";
        let mut registration = registrations.get(name).await.expect("the registration");
        for webhook in registration.webhooks.iter_mut().flatten() {
            let service = webhook.client_config.service.as_mut();
            service.expect("a Service").path = Some(path.to_owned());
        }
        registrations
            .replace(name, &PostParams::default(), &registration)
            .await
            .expect("the registration");
        if path == SERVED {
            return;
        }
        let pods: Api<Pod> = Api::namespaced(self.cluster.client.clone(), "default");
        let image = self.aws.region("site-land").host(ACCOUNT);
        let probe = pod("probe", &format!("{image}/app:v1"));
        let probe = serde_json::from_value(probe).expect("a pod");
        let params = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        eventually("the API server calls nobody", LIMIT, || async {
            let pod = pods.create(&params, &probe).await.ok()?;
            references(&pod).is_empty().then_some(())
        })
        .await;
    }

    /// Starts so many replicas, and has the API server ask them.
    pub async fn open(&self, count: usize, config: &str) {
        for _ in 0..count {
            self.add(config, self.aws.url());
        }
        self.route().await;
    }

    /// Starts one whose AWS is there. The API server does not ask it.
    pub fn add(&self, config: &str, aws: &str) -> Arc<Replica> {
        let name = format!("replica-{}", self.born.fetch_add(1, Ordering::Relaxed));
        let replica = Arc::new(Replica::start(&Settings {
            directory: self.directory.path(),
            name: &name,
            kubeconfig: &self.kubeconfig,
            certificates: Some(&self.directory.path().join("certificates")),
            config,
            environment: &aws_environment(aws),
            log_level: "trace",
        }));
        self.replicas().push(replica.clone());
        replica
    }

    /// Has the API server ask all that there are.
    async fn route(&self) {
        let mut addresses = Vec::new();
        let replicas = self.replicas().clone();
        for replica in replicas {
            replica.ready().await;
            addresses.push(replica.https.to_string());
        }
        self.cluster.route(&service(), &addresses);
    }

    /// Ends the leader as a cut of power does. The others stay.
    pub async fn kill_leader(&self) {
        let leader = self.leader().await;
        leader.stop();
        self.replicas()
            .retain(|replica| !Arc::ptr_eq(replica, &leader));
    }

    /// The one that leads, once one does.
    pub async fn leader(&self) -> Arc<Replica> {
        eventually("a leader", LIMIT, || async {
            let replicas = self.replicas().clone();
            for replica in replicas {
                if replica.metric("ecr_pull_secrets_leader", &[]).await > 0.0 {
                    return Some(replica);
                }
            }
            None
        })
        .await
    }

    /// Waits until the leader has looked at all pods.
    pub async fn swept(&self) -> Arc<Replica> {
        let leader = self.leader().await;
        eventually("the leader has looked at all pods", LIMIT, || async {
            (logged(&leader, "\"looked at all pods\"") > 0).then_some(())
        })
        .await;
        leader
    }

    /// The sum over all replicas.
    pub async fn counted(&self) -> f64 {
        let mut sum = 0.0;
        let replicas = self.replicas().clone();
        for replica in replicas {
            let name = "ecr_pull_secrets_pods_missing_reference_total";
            sum += replica.metric(name, &[]).await;
        }
        sum
    }

    /// What every process of ours logged so far: names and texts.
    pub fn logs(&self) -> Vec<(String, String)> {
        logs(self.directory.path())
    }

    /// Ends all of it.
    pub fn stop(&self) {
        for replica in self.replicas().iter() {
            replica.stop();
        }
        self.cluster.stop();
        if keep() {
            println!("kept: {}", self.directory.path().display());
        } else {
            let _ = std::fs::remove_dir_all(self.directory.path());
        }
    }

    fn replicas(&self) -> MutexGuard<'_, Vec<Arc<Replica>>> {
        self.replicas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn service() -> String {
    format!("{OURS}/{OURS}")
}

/// How many lines of a replica's log hold a text.
pub fn logged(replica: &Replica, text: &str) -> usize {
    let log = std::fs::read_to_string(&replica.log).expect("a log");
    log.lines().filter(|line| line.contains(text)).count()
}

/// Changes a pod's status, as a kubelet does.
pub async fn set_status(pods: &Api<Pod>, name: &str, status: Value) {
    let patch = Patch::Merge(json!({ "status": status }));
    pods.patch_status(name, &PatchParams::default(), &patch)
        .await
        .expect("a status");
}

/// What a kubelet says of a container whose image it does not get.
pub fn refused(image: &str, message: &str) -> Value {
    json!({ "containerStatuses": [{
        "name": "app", "image": image, "imageID": "", "ready": false, "restartCount": 0,
        "state": { "waiting": { "reason": "ErrImagePull", "message": message } },
    }]})
}

/// The Events of a namespace with this reason: about which pods, by uid, sorted.
pub async fn told(namespace: &Namespace, reason: &str) -> Vec<String> {
    let events = namespace.api::<Event>();
    let all = events.list(&ListParams::default()).await.expect("Events");
    let about = all
        .items
        .into_iter()
        .filter(|event| event.reason.as_deref() == Some(reason));
    let mut uids: Vec<String> = about.filter_map(|event| event.regarding?.uid).collect();
    uids.sort();
    uids
}
