//! A hostile tenant: a user with the stock role `edit` in two namespaces, and the largest objects that
//! the API server takes from it.

pub mod missed;

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::{Event, Pod, Secret, ServiceAccount};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::namespace::{ACCOUNT, Namespace, SECRET, pod};
use super::{LIMIT, World, docker, eventually};

/// Bytes of a text that etcd still takes.
const TEXT: usize = 1_400_000;
/// The ServiceAccount that enforces its list of Secrets.
const ENFORCING: usize = 9;
/// Events of failed pulls in a round: one in ten is large, and one has an odd time.
const FAILURES: usize = 40;
/// Containers without a name that fit into a request.
const CONTAINERS: usize = 40_000;

/// The first part of the names of regions that the tenant's pods invent.
pub const INVENTED: &str = "invented-land-";
/// The same of those that only its Secrets name.
pub const FORGED: &str = "xx-land-";
/// Regions that one pod invents.
const REGIONS_OF_POD: usize = 10;

/// How long the tenant waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The user, and its namespaces.
pub struct Tenant {
    /// The namespace with the largest objects.
    pub namespace: Namespace,
    /// The namespace with pods that lack the reference, and with a Secret of another owner.
    missed: Namespace,
}

impl Tenant {
    /// Creates the namespaces, and gives the user its role there.
    pub async fn new(world: &World) -> Self {
        let mut namespace = Namespace::new(world).await;
        let mut missed = Namespace::new(world).await;
        let name = &namespace.name;
        for its in [name, &missed.name] {
            world.run_kubectl(&format!(
                "create rolebinding tenant --clusterrole=edit --user=tenant-of-{name} --namespace={its}"
            ));
        }
        let kubeconfig = Kubeconfig::read_from(&world.cluster.kubeconfig).expect("a kubeconfig");
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .expect("a kubeconfig");
        config.auth_info.impersonate = Some(format!("tenant-of-{name}"));
        namespace.client = Client::try_from(config).expect("a client");
        missed.client = namespace.client.clone();
        let this = Self { namespace, missed };
        for its in [&this.namespace, &this.missed] {
            let secrets = its.api::<Secret>();
            eventually("the rights of the tenant", LIMIT, || async {
                secrets.get_opt("none").await.ok()
            })
            .await;
        }
        this
    }

    /// Makes ServiceAccounts, pods, Secrets of our name and Events, each as large as can be, and many pods
    /// that lack the reference: no replica runs yet.
    pub async fn make_large_objects(&self) {
        let names = vec![json!({ "name": "aaa" }); 200_000];
        for number in 0..10 {
            let mut metadata = json!({ "name": format!("fat-{number}") });
            if number == ENFORCING {
                metadata["annotations"] =
                    json!({ "kubernetes.io/enforce-mountable-secrets": "true" });
            }
            let account = json!({ "metadata": metadata, "imagePullSecrets": names });
            self.create::<ServiceAccount>(account).await;
        }
        // The API server writes `<` as six bytes.
        for (number, text) in ["<", "x", "<", "x", "<", "x"].into_iter().enumerate() {
            let mut fat = pod(&format!("fat-{number}"), &self.namespace.image("app"));
            let env = json!([{ "name": "FAT", "value": text.repeat(TEXT) }]);
            fat["spec"]["containers"][0]["env"] = env;
            self.create::<Pod>(fat).await;
        }
        self.create::<Pod>(self.enforced_pod()).await;
        self.fail_pulls().await;
        assert!(self.forge_secret().await, "the API server takes it");
        self.make_missed_pods().await;
    }

    /// Raises Events of failed pulls, as a kubelet does: many, some as large as can be, and some with a time that no
    /// library reads.
    pub async fn fail_pulls(&self) {
        for number in 0..FAILURES {
            let about = json!({ "kind": "Pod", "namespace": self.namespace.name,
                "name": format!("fat-{}", number % 6), "uid": number.to_string() });
            let mut event = json!({ "metadata": { "generateName": "failed-" }, "involvedObject": about,
                "reason": "Failed", "type": "Warning", "message": "Error: ErrImagePull" });
            match number % 10 {
                0 => event["metadata"]["annotations"] = annotations(),
                1 => {
                    let time = "9999-12-31T23:59:59.000000-12:00";
                    event["series"] = json!({ "count": 3, "lastObservedTime": time });
                }
                _ => {}
            }
            self.namespace.create_unread::<Event>(event).await;
        }
    }

    /// A pod whose ServiceAccount has a long list of the Secrets that its pods may name.
    fn enforced_pod(&self) -> Value {
        let mut enforced = pod("enforced", &self.namespace.image("app"));
        enforced["spec"]["serviceAccountName"] = json!(format!("fat-{ENFORCING}"));
        // Without one, the API server copies the whole list.
        enforced["spec"]["imagePullSecrets"] = json!([{ "name": "aaa" }]);
        enforced
    }

    /// Changes the ServiceAccount that enforces its list, so that a replica has to read the list again, and has a
    /// replica asked about a pod of it.
    async fn have_list_read(&self) {
        let accounts = self.namespace.api::<ServiceAccount>();
        let change = json!({ "metadata": { "labels": { "x": fastrand::u32(..).to_string() } } });
        let (name, params) = (format!("fat-{ENFORCING}"), PatchParams::default());
        accounts
            .patch(&name, &params, &Patch::Merge(&change))
            .await
            .expect("a label");
        let params = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let enforced = serde_json::from_value(self.enforced_pod()).expect("a pod");
        // It has the name of the stored pod. The API server asks before it refuses that.
        let pods = self.namespace.api::<Pod>();
        let _ = timeout(PATIENCE, pods.create(&params, &enforced)).await;
    }

    /// A pod with images of more registries than a pull Secret has room for.
    pub async fn pod_of_many_registries(&self) -> Pod {
        let mut many = pod("many", "busybox");
        let containers = (0..150)
            .map(|number| json!({ "name": format!("c{number}"), "image": self.image(number) }));
        many["spec"]["containers"] = containers.collect();
        self.namespace.create(many).await.expect("a pod")
    }

    /// Tries what needs no object: images of tens of thousands of registries, labels that flip, Secrets
    /// that come and go.
    pub async fn disturb(&self) {
        let containers = (0..CONTAINERS).map(|number| json!({ "image": self.image(number) }));
        let mut many = pod("nameless", "busybox");
        many["spec"]["containers"] = containers.collect();
        let pods = self.namespace.api::<Pod>();
        let many: Pod = serde_json::from_value(many).expect("a pod");
        // The API server calls the webhook first, and then refuses the pod: its containers have no
        // name. It may take long over that, and the tenant does not wait.
        let params = PostParams::default();
        let refused = timeout(PATIENCE, pods.create(&params, &many)).await;
        assert!(!matches!(refused, Ok(Ok(_))), "containers have no name");
        for value in ["true", "false", "true"] {
            let label =
                json!({ "metadata": { "labels": { "ecr-pull-secrets.dev/inject": value } } });
            let params = PatchParams::default();
            pods.patch("fat-1", &params, &Patch::Merge(&label))
                .await
                .expect("a label");
        }
        self.have_list_read().await;
        let secrets = self.namespace.api::<Secret>();
        let _ = secrets.delete(SECRET, &DeleteParams::default()).await;
        // We may have written it meanwhile.
        self.forge_secret().await;
    }

    /// A pod with images of regions that no other round names and AWS does not have. It stays.
    pub async fn invent_regions(&self, round: usize) {
        let numbers = round * REGIONS_OF_POD..(round + 1) * REGIONS_OF_POD;
        let hosts = numbers.map(|number| self.host_in(&format!("{INVENTED}{number}")));
        let containers = hosts.enumerate().map(
            |(number, host)| json!({ "name": format!("c{number}"), "image": format!("{host}/a") }),
        );
        let mut invents = pod(&format!("invents-{round}"), "busybox");
        invents["spec"]["containers"] = containers.collect();
        invents["spec"]["schedulerName"] = json!("none");
        self.create::<Pod>(invents).await;
    }

    /// Replaces the Secret of our name by one with labels and annotations of another namespace's, which
    /// the tenant may have from anywhere, and with passwords of its own.
    pub async fn copy_secret(&self, of: &Secret) {
        let hosts = docker::hosts(of).into_iter();
        let dead = json!({ "auth": BASE64_STANDARD.encode("AWS:dead") });
        let auths: Map<String, Value> = hosts.map(|host| (host, dead.clone())).collect();
        let copy = json!({
            "metadata": {
                "name": SECRET,
                "labels": of.metadata.labels,
                "annotations": of.metadata.annotations,
            },
            "type": of.type_,
            "stringData": { ".dockerconfigjson": json!({ "auths": auths }).to_string() },
        });
        let secrets = self.namespace.api::<Secret>();
        let _ = secrets.delete(SECRET, &DeleteParams::default()).await;
        // We may have written it meanwhile.
        let _ = self.namespace.create::<Secret>(copy).await;
    }

    /// Takes our label from the Secret of our name, if there is one, and gives it back. `edit` has no
    /// right to label the namespace itself.
    pub async fn flip_labels_of_secret(&self) {
        let secrets = self.namespace.api::<Secret>();
        for value in [Value::Null, json!("ecr-pull-secrets")] {
            let label =
                json!({ "metadata": { "labels": { "app.kubernetes.io/managed-by": value } } });
            let params = PatchParams::default();
            let _ = secrets.patch(SECRET, &params, &Patch::Merge(&label)).await;
        }
    }

    /// A Secret of our name and with our label, which describes a hundred registries of invented
    /// regions, and has as much in it as can be. Returns whether it was created.
    async fn forge_secret(&self) -> bool {
        let hosts: Vec<String> = (0..100)
            .map(|number| self.host_in(&format!("{FORGED}{number}")))
            .collect();
        let mut annotations = annotations();
        annotations["ecr-pull-secrets.dev/format"] = json!("1");
        annotations["ecr-pull-secrets.dev/registries"] = json!(hosts.join(","));
        let lifetimes = vec!["2026-01-01T00:00:00Z/2026-01-01T12:00:00Z"; 100];
        annotations["ecr-pull-secrets.dev/lifetimes"] = json!(lifetimes.join(","));
        annotations["ecr-pull-secrets.dev/identity"] = json!("ambient");
        let mut labels: Map<String, Value> = (0..2000)
            .map(|number| (format!("l{number}"), json!("x")))
            .collect();
        labels.insert(
            "app.kubernetes.io/managed-by".to_owned(),
            json!("ecr-pull-secrets"),
        );
        let entries: Map<String, Value> = (0..80_000)
            .map(|number| (number.to_string(), json!({})))
            .collect();
        let secret = json!({
            "metadata": { "name": SECRET, "labels": labels, "annotations": annotations },
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": { ".dockerconfigjson": json!({ "auths": entries }).to_string() },
        });
        let secret: Secret = serde_json::from_value(secret).expect("a Secret");
        let secrets: Api<Secret> = self.namespace.api();
        let created = secrets.create(&PostParams::default(), &secret).await;
        created.is_ok()
    }

    fn host_in(&self, region: &str) -> String {
        let aws = self.namespace.region.client();
        aws.region(region).host(ACCOUNT)
    }

    fn image(&self, number: usize) -> String {
        let host = self
            .namespace
            .region
            .host(&format!("{:012}", 600_000_000_000_u64 + number as u64));
        format!("{host}/a")
    }

    async fn create<K>(&self, object: Value)
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K: serde::de::DeserializeOwned + serde::Serialize + Clone + std::fmt::Debug,
        K::DynamicType: Default,
    {
        self.namespace
            .create::<K>(object)
            .await
            .expect("the API server takes it");
    }
}

/// As many bytes of annotations as an object may have, beside ours.
fn annotations() -> Value {
    json!({ "fat": "<".repeat(240 * 1024) })
}
