//! Writes of other accounts per second through the real API server: with the guards as installed by default,
//! and with nothing of ours.
//!
//! The API server evaluates a guard for each write that its rules match, whatever account sends it. Short
//! turns, each round in another order, so that noise hits both alike. No webhook is registered.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Secret};
use k8s_openapi::api::events::v1::Event as GroupEvent;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::namespace::SECRET;
use crate::harness::world::OURS;
use crate::harness::{LIMIT, eventually};
use crate::report::{Report, few, median};
use crate::site::{Site, name};

/// Clients that write without a pause, each in a namespace of its own.
const CLIENTS: usize = 16;
/// Rounds that count. One before them warms all caches.
const ROUNDS: usize = 9;
/// Time at the start of a turn that does not count.
const WARM_UP: Duration = Duration::from_millis(200);
/// Time of a turn that counts.
const TURN: Duration = Duration::from_millis(1000);
const FORBIDDEN_TYPE: &str = "example.com/forbidden";

/// The guards of an installation, as the chart made them.
pub struct Guards {
    client: Client,
    /// Client of our account, which they bind.
    ours: Client,
    policies: Vec<ValidatingAdmissionPolicy>,
    bindings: Vec<ValidatingAdmissionPolicyBinding>,
}

impl Guards {
    /// The guards that are in force.
    pub async fn read(site: &Site) -> Self {
        let client = site.cluster.client.clone();
        Self {
            ours: site.ours.clone(),
            policies: bare(&Api::all(client.clone())).await,
            bindings: bare(&Api::all(client.clone())).await,
            client,
        }
    }

    /// Removes them, and waits until the API server has noticed.
    pub async fn remove(&self) {
        let params = DeleteParams::default();
        for binding in &self.bindings {
            let all: Api<ValidatingAdmissionPolicyBinding> = Api::all(self.client.clone());
            let deleted = all.delete(name_of(&binding.metadata), &params).await;
            deleted.expect("the binding goes");
        }
        for policy in &self.policies {
            let all: Api<ValidatingAdmissionPolicy> = Api::all(self.client.clone());
            let deleted = all.delete(name_of(&policy.metadata), &params).await;
            deleted.expect("the policy goes");
        }
        eventually("no guard denies", LIMIT, || async {
            (!self.deny().await).then_some(())
        })
        .await;
    }

    /// Creates them again, and waits until they deny and the controller manager has checked their
    /// expressions: that work would fall into the turn that is measured.
    pub async fn restore(&self) {
        let params = PostParams::default();
        for policy in &self.policies {
            let created = Api::all(self.client.clone()).create(&params, policy).await;
            created.expect("a policy");
        }
        for binding in &self.bindings {
            let created = Api::all(self.client.clone()).create(&params, binding).await;
            created.expect("a binding");
        }
        eventually("the guards deny", LIMIT, || async {
            self.deny().await.then_some(())
        })
        .await;
        let all: Api<ValidatingAdmissionPolicy> = Api::all(self.client.clone());
        eventually("the guards are checked", LIMIT, || async {
            let list = all.list(&ListParams::default()).await.ok()?;
            let is_checked = |policy: &ValidatingAdmissionPolicy| {
                let status = policy.status.as_ref();
                status.is_some_and(|status| status.observed_generation.is_some())
            };
            list.items.iter().all(is_checked).then_some(())
        })
        .await;
    }

    /// Whether a forbidden write of our account is denied. It is a dry run.
    async fn deny(&self) -> bool {
        let secrets: Api<Secret> = Api::namespaced(self.ours.clone(), "default");
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": SECRET },
            "type": FORBIDDEN_TYPE,
        });
        let params = PatchParams::apply(OURS).dry_run();
        let written = secrets.patch(SECRET, &params, &Patch::Apply(secret)).await;
        match written {
            Ok(_) => false,
            Err(error) => {
                assert!(error.to_string().contains("-guard-"), "{error}");
                true
            }
        }
    }
}

/// All objects of a kind that are guards of ours, ready to be created again.
async fn bare<K>(all: &Api<K>) -> Vec<K>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let list = all.list(&ListParams::default()).await.expect("a list");
    let ours = list.items.into_iter().filter(|object| {
        let name = name_of(object.meta());
        name.starts_with("ecr-pull-secrets-guard-")
    });
    let bare = ours.map(|mut object| {
        *object.meta_mut() = ObjectMeta {
            name: object.meta().name.clone(),
            ..ObjectMeta::default()
        };
        object
    });
    let bare: Vec<K> = bare.collect();
    assert!(!bare.is_empty(), "the chart's guards");
    bare
}

fn name_of(metadata: &ObjectMeta) -> &str {
    metadata.name.as_deref().unwrap_or_default()
}

/// A kind of object that other accounts write.
#[derive(Clone, Copy)]
enum Kind {
    ConfigMap,
    Secret,
    Event,
    GroupEvent,
}

const KINDS: [Kind; 4] = [Kind::ConfigMap, Kind::Secret, Kind::Event, Kind::GroupEvent];

impl Kind {
    fn words(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMaps",
            Self::Secret => "Secrets",
            Self::Event => "Events by the core API",
            Self::GroupEvent => "Events by events.k8s.io",
        }
    }

    async fn create(self, client: &Client, namespace: &str, object: &str) {
        let value = self.object(namespace, object);
        match self {
            Self::ConfigMap => create::<ConfigMap>(client, namespace, value).await,
            Self::Secret => create::<Secret>(client, namespace, value).await,
            Self::Event => create::<Event>(client, namespace, value).await,
            Self::GroupEvent => create::<GroupEvent>(client, namespace, value).await,
        }
    }

    async fn remove_all(self, client: &Client, namespace: &str) {
        match self {
            Self::ConfigMap => remove_all::<ConfigMap>(client, namespace, "bench=1").await,
            Self::Secret => remove_all::<Secret>(client, namespace, "bench=1").await,
            Self::Event | Self::GroupEvent => remove_all::<Event>(client, namespace, "").await,
        }
    }

    /// An object of about the size that such objects have.
    fn object(self, namespace: &str, name: &str) -> Value {
        let metadata = json!({ "name": name, "namespace": namespace, "labels": { "bench": "1" } });
        let about = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": namespace,
            "name": "app-7c5ddbdf54-x2x2x",
            "uid": "7a3c0f4e-0000-4000-8000-000000000000",
        });
        let text = "Successfully assigned the pod to a node, and further words of a usual length";
        match self {
            Self::ConfigMap => json!({
                "metadata": metadata,
                "data": { "config.yaml": "a: b\n".repeat(200) },
            }),
            Self::Secret => json!({
                "metadata": metadata,
                "stringData": { "username": "app", "password": "x".repeat(1000) },
            }),
            Self::Event => json!({
                "metadata": metadata,
                "involvedObject": about,
                "reason": "Pulled",
                "message": text,
                "source": { "component": "kubelet", "host": "node-1" },
                "type": "Normal",
            }),
            Self::GroupEvent => json!({
                "metadata": metadata,
                "eventTime": "2026-01-01T00:00:00.000000Z",
                "reportingController": "default-scheduler",
                "reportingInstance": "default-scheduler-1",
                "action": "Binding",
                "reason": "Scheduled",
                "regarding": about,
                "note": text,
                "type": "Normal",
            }),
        }
    }
}

async fn create<K>(client: &Client, namespace: &str, object: Value)
where
    K: Resource<Scope = NamespaceResourceScope> + Serialize + DeserializeOwned + Clone,
    K: std::fmt::Debug,
    K::DynamicType: Default,
{
    let object: K = serde_json::from_value(object).expect("an object of the kind");
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let created = api.create(&PostParams::default(), &object).await;
    created.expect("an object");
}

async fn remove_all<K>(client: &Client, namespace: &str, labels: &str)
where
    K: Resource<Scope = NamespaceResourceScope> + DeserializeOwned + Clone + std::fmt::Debug,
    K::DynamicType: Default,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let all = ListParams::default().labels(labels);
    let removed = api.delete_collection(&DeleteParams::default(), &all).await;
    removed.expect("no objects");
}

/// Writes per second of each kind, a round at a time: with the guards, and without.
#[derive(Default)]
struct Rates {
    with: [Vec<f64>; 4],
    without: [Vec<f64>; 4],
}

impl Rates {
    /// The median of the ratios: within a round the machine is the same.
    fn ratio(&self, kind: Kind) -> f64 {
        let with = self.with[kind as usize].iter();
        let ratios = with.zip(&self.without[kind as usize]).map(|(a, b)| a / b);
        median(&ratios.collect::<Vec<f64>>())
    }
}

/// Measures it.
pub async fn measure(report: &mut Report) {
    println!("guards: {CLIENTS} clients");
    let site = Site::start().await;
    site.namespaces(0..CLIENTS).await;
    let all: Api<MutatingWebhookConfiguration> = Api::all(site.cluster.client.clone());
    let params = DeleteParams::default();
    let deleted = all.delete("zz-ecr-pull-secrets", &params).await;
    deleted.expect("no registration");
    let guards = Guards::read(&site).await;
    let mut rates = Rates::default();
    let mut in_force = true;
    for round in 0..=few(ROUNDS) {
        // The first turn of a round finds the guards as the last round left them.
        for is_guarded in [in_force, !in_force] {
            match (is_guarded, in_force) {
                (true, false) => guards.restore().await,
                (false, true) => guards.remove().await,
                (true, true) | (false, false) => {}
            }
            in_force = is_guarded;
            for kind in KINDS {
                let rate = turn(&site, kind).await;
                if round > 0 {
                    let rates = match is_guarded {
                        true => &mut rates.with,
                        false => &mut rates.without,
                    };
                    rates[kind as usize].push(rate);
                }
            }
        }
    }
    for kind in KINDS {
        report.note(format!(
            "{} per second with the guards: {:.0}, {:.3} of those without, by the median of {} rounds",
            kind.words(),
            median(&rates.with[kind as usize]),
            rates.ratio(kind),
            rates.with[kind as usize].len(),
        ));
    }
    let least = KINDS.map(|kind| rates.ratio(kind));
    let least = least.into_iter().fold(f64::INFINITY, f64::min);
    report.figure("writes_guards_vs_without", least);
    site.stop();
}

/// Writes per second.
async fn turn(site: &Site, kind: Kind) -> f64 {
    let client = &site.cluster.client;
    let counted = AtomicUsize::new(0);
    let begun = Instant::now() + WARM_UP;
    let end = begun + TURN;
    let write = async |namespace: usize| {
        for number in 0.. {
            let object = format!("object-{number}");
            kind.create(client, &name(namespace), &object).await;
            let now = Instant::now();
            if now >= end {
                break;
            }
            if now >= begun {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    join_all((0..CLIENTS).map(write)).await;
    let remove = async |namespace: usize| kind.remove_all(client, &name(namespace)).await;
    join_all((0..CLIENTS).map(remove)).await;
    counted.into_inner() as f64 / TURN.as_secs_f64()
}
