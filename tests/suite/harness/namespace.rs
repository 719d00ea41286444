//! A namespace and a region for one test, so that tests that run side by side never meet.

use std::sync::atomic::{AtomicU32, Ordering};

use aws_stand_in::client::Region;
use aws_stand_in::spec::Verdict;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace as V1Namespace, Pod, Secret, ServiceAccount};
use kube::api::{ListParams, Patch, PatchParams, PostParams, Request};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{LIMIT, World, docker, eventually};

/// The pull Secret's default name.
pub const SECRET: &str = "ecr-registry-credentials";
/// AWS account of the registries in the tests.
pub const ACCOUNT: &str = "123456789012";

static NEXT: AtomicU32 = AtomicU32::new(1);

/// A namespace, a region, and short ways to look at both.
pub struct Namespace {
    /// Name of the namespace.
    pub name: String,
    /// Region of the stand-in that no other test uses.
    pub region: Region,
    /// Client of an administrator.
    pub client: Client,
}

impl Namespace {
    /// Creates a namespace and a region, and waits for the default ServiceAccount.
    pub async fn new(world: &World) -> Self {
        Self::with_labels(world, json!({})).await
    }

    /// The same with labels.
    pub async fn with_labels(world: &World, labels: Value) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let region = world.aws.region(&format!("test-land-{number}"));
        Self::in_region(world, region, labels).await
    }

    /// The same in an existing region.
    pub async fn in_region(world: &World, region: Region, labels: Value) -> Self {
        let client = world.cluster.client.clone();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("test-{number}");
        let namespace = json!({ "metadata": { "name": name, "labels": labels } });
        let namespace: V1Namespace = serde_json::from_value(namespace).unwrap();
        let all: Api<V1Namespace> = Api::all(client.clone());
        all.create(&PostParams::default(), &namespace)
            .await
            .expect("a namespace");
        let this = Self {
            name,
            region,
            client,
        };
        let accounts = this.api::<ServiceAccount>();
        eventually("the default ServiceAccount", LIMIT, || async {
            accounts
                .get_opt("default")
                .await
                .expect("an answer")
                .map(drop)
        })
        .await;
        this
    }

    /// API of a kind in this namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Host of the registry.
    pub fn host(&self) -> String {
        self.region.host(ACCOUNT)
    }

    /// Image of a repository in the registry.
    pub fn image(&self, repository: &str) -> String {
        format!("{}/{repository}:v1", self.host())
    }

    /// Creates an object from its JSON.
    pub async fn create<K>(&self, object: Value) -> kube::Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope> + DeserializeOwned + serde::Serialize + Clone,
        K: std::fmt::Debug,
        K::DynamicType: Default,
    {
        let object: K = serde_json::from_value(object).expect("an object of the kind");
        self.api::<K>()
            .create(&PostParams::default(), &object)
            .await
    }

    /// Creates an object from a JSON that its type may not be able to hold.
    pub async fn create_unread<K>(&self, object: Value)
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        let kind = Request::new(K::url_path(&K::DynamicType::default(), Some(&self.name)));
        let created = kind.create(&PostParams::default(), object.to_string().into_bytes());
        let created = created.expect("a request");
        let created = self.client.request_text(created).await;
        created.expect("the API server takes it");
    }

    /// Creates a pod with one container.
    pub async fn pod(&self, name: &str, image: &str) -> Pod {
        self.create(pod(name, image))
            .await
            .expect("the pod is admitted")
    }

    /// The pods, once there are at least `count`.
    pub async fn pods(&self, count: usize) -> Vec<Pod> {
        let api = self.api::<Pod>();
        eventually("the pods", LIMIT, || async {
            let pods = api
                .list(&ListParams::default())
                .await
                .expect("a list")
                .items;
            (pods.len() >= count).then_some(pods)
        })
        .await
    }

    /// The pull Secret, if there is one.
    pub async fn secret(&self) -> Option<Secret> {
        self.api::<Secret>()
            .get_opt(SECRET)
            .await
            .expect("an answer")
    }

    /// The pull Secret, once there is one.
    pub async fn secret_comes(&self) -> Secret {
        eventually("the pull Secret", LIMIT, || self.secret()).await
    }

    /// Applies a Secret with the pull Secret's name, as another field manager.
    pub async fn foreign_secret(&self, manager: &str, mut object: Value) -> Secret {
        object["metadata"]["name"] = json!(SECRET);
        object["apiVersion"] = json!("v1");
        object["kind"] = json!("Secret");
        let params = PatchParams::apply(manager).force();
        self.api::<Secret>()
            .patch(SECRET, &params, &Patch::Apply(object))
            .await
            .expect("a Secret")
    }

    /// The registry's answer to the Secret's credentials.
    pub async fn verdict(&self, secret: &Secret, repository: &str) -> Verdict {
        let host = self.host();
        let auth = docker::auth(secret, &host);
        self.region
            .client()
            .registry_opens(&host, repository, &auth)
            .await
            .expect("the registry answers")
    }

    /// Waits for the pull Secret, and fails unless it opens the registry.
    pub async fn assert_opens(&self) -> Secret {
        let secret = self.secret_comes().await;
        assert_eq!(self.verdict(&secret, "app").await, Verdict::Accepted);
        secret
    }
}

/// A pod with one container.
pub fn pod(name: &str, image: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": { "containers": [{ "name": "app", "image": image }] }
    })
}

/// The names in a pod's `imagePullSecrets`.
pub fn references(pod: &Pod) -> Vec<String> {
    let spec = pod.spec.as_ref().expect("a spec");
    spec.image_pull_secrets
        .iter()
        .flatten()
        .map(|reference| reference.name.clone())
        .collect()
}
