//! What a cluster loses or gets back ends no pull, and the next tokens arrive: Secrets and pods that a
//! back-up tool restores, a namespace that it copies, the token store lost, restored, or left by 0.1.

use std::sync::Arc;

use aws_stand_in::spec::Verdict;
use ecr_pull_secrets_core::token::shards;
use futures::future::join_all;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use libtest_mimic::Trial;
use serde_json::json;

use crate::belief::{delete_pod, lives, naming};
use crate::frame::trial;
use crate::harness::namespace::{Namespace, SECRET, pod, references};
use crate::harness::world::OURS;
use crate::harness::{LIMIT, Outcome, World, docker, eventually};
use crate::ownership::{annotated, login, with_hosts};

/// The tests of this module. Each has a world of its own, and waits most of the time.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("restored::ends_no_pull_with_adopt_never", world, never),
        trial(
            "restored::ends_no_pull_with_adopt_annotated",
            world,
            annotated_only,
        ),
        trial(
            "restored::ends_no_pull_with_adopt_ecr_only",
            world,
            ecr_only,
        ),
        trial("restored::ends_no_pull_with_adopt_all", world, all),
    ]
}

async fn world() -> Arc<World> {
    World::builder().log_level("info").start().await
}

async fn never(world: Arc<World>) -> Outcome {
    ends_no_pull(world, "never").await
}

async fn annotated_only(world: Arc<World>) -> Outcome {
    ends_no_pull(world, "annotated").await
}

async fn ecr_only(world: Arc<World>) -> Outcome {
    ends_no_pull(world, "ecr-only").await
}

async fn all(world: Arc<World>) -> Outcome {
    ends_no_pull(world, "all").await
}

/// Lifetime of most tokens in seconds: they are renewed while the test waits.
const LIFE: i64 = 20;
/// Lifetime of tokens that still work for a while when the next one has come.
const LONG_LIFE: i64 = 30;
/// The field manager of a back-up tool.
const TOOL: &str = "velero-server";

async fn ends_no_pull(world: Arc<World>, mode: &str) -> Outcome {
    let config = json!({
        "apiVersion": "ecr-pull-secrets.dev/v1",
        "kind": "Config",
        "secret": { "adopt": mode },
    })
    .to_string();
    open(&world, &config).await;
    let (adopted, expired, restored, unmanaged, copied) = tokio::join!(
        adopted(&world, mode),
        expired(&world),
        restored(&world, "restored", true),
        restored(&world, "without managed fields", false),
        copied(&world),
    );
    let all = [adopted, expired, restored, unmanaged, copied];

    close(&world).await;
    let saved = store(&world).await;
    delete_store(&world).await;
    let before = secrets_of(&all).await;
    open(&world, &config).await;
    go_on(&all, &before, "the store is lost").await;

    close(&world).await;
    delete_store(&world).await;
    restore_store(&world, saved).await;
    let before = secrets_of(&all).await;
    open(&world, &config).await;
    go_on(&all, &before, "the store is older than the Secrets").await;
    world.stop();
    Ok(())
}

/// Another owner's Secret, which we adopt where the mode lets us.
async fn adopted(world: &World, mode: &str) -> Puller {
    let namespace = Namespace::new(world).await;
    if mode != "never" {
        let host = namespace.host();
        let foreign = annotated(with_hosts([(&host, login("AWS"))]));
        namespace.foreign_secret("another", foreign).await;
    }
    Puller::begin("adopted", namespace, LIFE).await
}

/// What is restored has expired: pulls work again as soon as we know.
async fn expired(world: &World) -> Puller {
    let puller = Puller::begin("expired", Namespace::new(world).await, LIFE).await;
    eventually("the copy has expired", LIMIT, || async {
        (ecr_pull_secrets::clock::now() > expires_at(&puller.copy)).then_some(())
    })
    .await;
    puller.namespace.restore(&puller.copy, true).await;
    eventually("a token that works", LIMIT, || async {
        let secret = puller.namespace.secret().await?;
        let verdict = puller.namespace.verdict(&secret, "app").await;
        (verdict == Verdict::Accepted).then_some(())
    })
    .await;
    puller
}

/// What is restored still works, and is older than what the replicas have.
async fn restored(world: &World, what: &'static str, is_managed: bool) -> Puller {
    let puller = Puller::begin(what, Namespace::new(world).await, LONG_LIFE).await;
    puller.goes_on(&puller.copy, "a token is renewed").await;
    puller.namespace.restore(&puller.copy, is_managed).await;
    puller.goes_on(&puller.copy, "a back-up is restored").await;
    puller
}

/// Secret and pod of one namespace, restored into another.
async fn copied(world: &World) -> Puller {
    let original = Puller::begin("original", Namespace::new(world).await, LONG_LIFE).await;
    original.goes_on(&original.copy, "a token is renewed").await;
    let region = original.namespace.region.clone();
    let puller = Puller {
        what: "copied",
        namespace: Namespace::in_region(world, region, json!({})).await,
        copy: original.copy,
    };
    puller.namespace.restore(&puller.copy, true).await;
    puller.goes_on(&puller.copy, "a namespace is copied").await;
    puller
}

/// A namespace whose pod pulls.
struct Puller {
    what: &'static str,
    namespace: Namespace,
    /// The first Secret, as a back-up tool saved it.
    copy: Secret,
}

impl Puller {
    /// Creates a pod that wants the registry, and waits for a Secret that opens it: another owner's
    /// opens nothing.
    async fn begin(what: &'static str, namespace: Namespace, life: i64) -> Self {
        lives(&namespace.region, life).await;
        let mut pod = pod("pod", &namespace.image("app"));
        // No scheduler reports about it.
        pod["spec"]["schedulerName"] = json!("none");
        let pod: Pod = namespace.create(pod).await.expect("the pod is admitted");
        assert_eq!(references(&pod), [SECRET]);
        let copy = eventually("a Secret that opens the registry", LIMIT, || async {
            let secret = namespace.secret().await?;
            let verdict = namespace.verdict(&secret, "app").await;
            (verdict == Verdict::Accepted).then_some(secret)
        })
        .await;
        Self {
            what,
            namespace,
            copy,
        }
    }

    /// Waits for a token that expires later than this Secret's. Until then and with it, the pod can
    /// pull, and no token expires earlier.
    async fn goes_on(&self, before: &Secret, when: &str) {
        let what = format!("{}, when {when}", self.what);
        eventually(&what, LIMIT, || async {
            let secret = self.namespace.secret().await.expect("the Secret stays");
            let verdict = self.namespace.verdict(&secret, "app").await;
            assert_eq!(verdict, Verdict::Accepted, "{what}");
            let [before, now] = [before, &secret].map(expires_at);
            assert!(now >= before, "{what}");
            (now > before).then_some(())
        })
        .await;
    }
}

/// When the token of a Secret expires.
fn expires_at(secret: &Secret) -> jiff::Timestamp {
    let text = docker::annotation(secret, "expires-at");
    text.parse().expect("a time")
}

/// All of them go on.
async fn go_on(all: &[Puller], before: &[Secret], when: &str) {
    let pairs = all.iter().zip(before);
    join_all(pairs.map(|(puller, before)| puller.goes_on(before, when))).await;
}

async fn secrets_of(all: &[Puller]) -> Vec<Secret> {
    join_all(all.iter().map(|puller| puller.namespace.secret_comes())).await
}

/// Starts two replicas, and routes the Service to them.
async fn open(world: &World, config: &str) {
    for _ in 0..2 {
        world.add_replica(|launch| launch.config(config));
    }
    world.route().await;
}

/// Ends all replicas.
async fn close(world: &World) {
    let replicas = world.take_replicas();
    for replica in &replicas {
        replica.terminate();
    }
    for replica in &replicas {
        assert_eq!(replica.ended().await, 0);
    }
}

impl Namespace {
    /// Deletes pod and Secret, and creates them as a back-up tool does that saved them: the Secret
    /// first, with its labels and annotations, the rest of its metadata new.
    async fn restore(&self, saved: &Secret, is_managed: bool) {
        let (pods, secrets) = (self.api::<Pod>(), self.api::<Secret>());
        if pods.get_opt("pod").await.expect("an answer").is_some() {
            delete_pod(self, "pod").await;
        }
        let copy = as_saved(saved);
        eventually("the restored Secret", LIMIT, || async {
            // A repair may be quicker.
            let _ = secrets.delete(SECRET, &DeleteParams::default()).await;
            secrets.create(&by_tool(), &copy).await.ok()
        })
        .await;
        if !is_managed {
            let reset =
                json!([{ "op": "replace", "path": "/metadata/managedFields", "value": [{}] }]);
            let reset = serde_json::from_value(reset).expect("a patch");
            let (params, reset) = (PatchParams::default(), Patch::Json::<()>(reset));
            let patched = secrets.patch(SECRET, &params, &reset).await;
            patched.expect("a Secret without managed fields");
        }
        self.create::<Pod>(naming("pod", &[self.image("app")]))
            .await
            .expect("the pod is admitted");
    }
}

fn by_tool() -> PostParams {
    PostParams {
        field_manager: Some(TOOL.to_owned()),
        ..PostParams::default()
    }
}

/// What a back-up tool restores of a Secret.
fn as_saved(secret: &Secret) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: secret.metadata.name.clone(),
            labels: secret.metadata.labels.clone(),
            annotations: secret.metadata.annotations.clone(),
            ..ObjectMeta::default()
        },
        ..secret.clone()
    }
}

fn ours(world: &World) -> Api<Secret> {
    Api::namespaced(world.cluster.client.clone(), OURS)
}

/// Each Secret of the token store.
async fn store(world: &World) -> Vec<Secret> {
    let all = ours(world).list(&ListParams::default()).await;
    let is_of_store = |secret: &Secret| shards::NAMES.contains(&&*secret.name_any());
    all.expect("Secrets")
        .items
        .into_iter()
        .filter(is_of_store)
        .collect()
}

/// Deletes each Secret of the token store.
async fn delete_store(world: &World) {
    let store = store(world).await;
    assert!(!store.is_empty(), "no token store");
    for secret in store {
        let (name, params) = (secret.name_any(), DeleteParams::default());
        ours(world).delete(&name, &params).await.expect("it goes");
    }
}

/// Restores the token store, and leaves it as version 0.1 does after a roll-back: its first Secret
/// says nothing of others, and another one has a key all the same.
async fn restore_store(world: &World, saved: Vec<Secret>) {
    let [first] = <[Secret; 1]>::try_from(saved).expect("a small store");
    let mut first = as_saved(&first);
    if let Some(annotations) = &mut first.metadata.annotations {
        annotations.remove(shards::ANNOTATION);
    }
    let mut other = first.clone();
    other.metadata.name = Some(shards::NAMES[3].to_owned());
    let data = first.data.as_mut().expect("tokens");
    let (key, value): (String, ByteString) = data.pop_first().expect("a token");
    other.data = Some([(key, value)].into());
    for secret in [first, other] {
        let created = ours(world).create(&by_tool(), &secret).await;
        created.expect("a Secret of the store");
    }
}
