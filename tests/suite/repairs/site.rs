//! A world whose replicas come and go, and with them their configuration.

use std::ops::Deref;
use std::sync::Arc;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::namespace::{ACCOUNT, Namespace, pod, references};
use crate::harness::replica::Replica;
use crate::harness::world::CONFIG;
use crate::harness::{LIMIT, World, eventually};

/// The path that the chart registers.
const SERVED: &str = "/mutate";

/// A world without replicas at first. Each test starts those that it needs.
pub struct Site(Arc<World>);

impl Deref for Site {
    type Target = World;

    fn deref(&self) -> &World {
        &self.0
    }
}

impl Site {
    /// Starts control plane and AWS, and installs the chart with re-creation of pods.
    pub async fn start() -> Self {
        let builder = World::builder().value("config.repair.recreatePods=true");
        let site = Self(builder.start().await);
        // With its first replica the installation begins: pods of the tests are not older.
        site.open(1, CONFIG).await;
        site.leader().await;
        site
    }

    /// Creates a namespace with labels, and a region.
    pub async fn namespace(&self, labels: Value) -> Namespace {
        Namespace::with_labels(self, labels).await
    }

    /// Ends all replicas, as a Deployment that is scaled to zero. The API server reaches none until
    /// others are routed.
    pub async fn close(&self) {
        let replicas = self.take_replicas();
        for replica in &replicas {
            replica.terminate();
        }
        for replica in &replicas {
            assert_eq!(replica.ended().await, 0);
        }
        self.call(SERVED).await;
    }

    /// Has the API server call a path that no replica serves.
    pub async fn disconnect(&self) {
        self.call("/nowhere").await;
    }

    /// Registers this path, and waits until the API server calls it.
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
        eventually("the API server reaches no replica", LIMIT, || async {
            let pod = pods.create(&params, &probe).await.ok()?;
            references(&pod).is_empty().then_some(())
        })
        .await;
    }

    /// Starts replicas, and routes the Service to all that run.
    pub async fn open(&self, count: usize, config: &str) {
        for _ in 0..count {
            self.add(config, self.aws.url());
        }
        self.route().await;
    }

    /// Starts a replica that calls AWS at this URL. The API server does not call it.
    pub fn add(&self, config: &str, aws: &str) -> Arc<Replica> {
        self.add_replica(|new| new.config(config).env("AWS_ENDPOINT_URL", aws))
    }

    /// Kills the leader, as a power failure does. The other replicas stay.
    pub async fn kill_leader(&self) {
        let leader = self.leader().await;
        self.kill(&leader);
    }

    /// Waits until the leader has swept all pods.
    pub async fn swept(&self) -> Arc<Replica> {
        let leader = self.leader().await;
        eventually("the leader has swept all pods", LIMIT, || async {
            (logged(&leader, "\"checked all pods\"") > 0).then_some(())
        })
        .await;
        leader
    }

    /// Number of missed pods, as all replicas count.
    pub async fn counted(&self) -> f64 {
        let mut sum = 0.0;
        for replica in self.replicas() {
            let name = "ecr_pull_secrets_pods_missing_reference_total";
            sum += replica.metric(name, &[]).await;
        }
        sum
    }
}

/// Number of lines with a text in a replica's log.
pub fn logged(replica: &Replica, text: &str) -> usize {
    let log = std::fs::read_to_string(&replica.log).expect("a log");
    log.lines().filter(|line| line.contains(text)).count()
}

/// Patches a pod's status, as the kubelet does.
pub async fn set_status(pods: &Api<Pod>, name: &str, status: Value) {
    let patch = Patch::Merge(json!({ "status": status }));
    pods.patch_status(name, &PatchParams::default(), &patch)
        .await
        .expect("a status");
}

/// The status that a kubelet reports when it cannot pull.
pub fn refused(image: &str, message: &str) -> Value {
    json!({ "containerStatuses": [{
        "name": "app", "image": image, "imageID": "", "ready": false, "restartCount": 0,
        "state": { "waiting": { "reason": "ErrImagePull", "message": message } },
    }]})
}

/// The counts of the Events with this reason about anything but pods, by the name of the object.
pub async fn counted_on(namespace: &Namespace, reason: &str) -> Vec<(String, usize)> {
    let events = namespace.api::<Event>();
    let all = events.list(&ListParams::default()).await.expect("Events");
    let about = all.items.into_iter().filter_map(|event| {
        let object = event
            .regarding
            .filter(|object| object.kind.as_deref() != Some("Pod"))?;
        let count = event.series.map_or(1, |series| series.count);
        let is_meant = event.reason.as_deref() == Some(reason);
        is_meant.then(|| {
            (
                object.name.unwrap_or_default(),
                usize::try_from(count).unwrap_or(0),
            )
        })
    });
    about.collect()
}

/// UIDs of the pods that Events of a namespace name with this reason, sorted.
pub async fn told(namespace: &Namespace, reason: &str) -> Vec<String> {
    let events = namespace.api::<Event>();
    let all = events.list(&ListParams::default()).await.expect("Events");
    let about = all
        .items
        .into_iter()
        .filter(|event| event.reason.as_deref() == Some(reason));
    let about = about.filter_map(|event| event.regarding);
    let pods = about.filter(|object| object.kind.as_deref() == Some("Pod"));
    let mut uids: Vec<String> = pods.filter_map(|pod| pod.uid).collect();
    uids.sort();
    uids
}
