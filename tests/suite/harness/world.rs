//! Everything that the tests share, and its end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use aws_stand_in::client::Client as Aws;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use super::cluster::Cluster;
use super::interrupt::clean_up_on_interrupt;
use super::replica::{Replica, Settings};
use super::tools::{root, run, tool};

/// Our own namespace, and the name of everything in it.
pub const OURS: &str = "ecr-pull-secrets";
/// The configuration of the two replicas: the defaults.
pub const CONFIG: &str = "{apiVersion: ecr-pull-secrets.dev/v1, kind: Config}\n";

/// The control plane, AWS, and two replicas.
pub struct World {
    /// The control plane.
    pub cluster: Cluster,
    /// The stand-in for AWS.
    pub aws: Aws,
    /// Behind the Service, in turn.
    pub replicas: [Replica; 2],
    /// The rights of our ServiceAccount, as the chart gives them.
    pub kubeconfig: PathBuf,
    directory: TempDir,
    /// It stops when this goes.
    _stand_in: aws_stand_in::Handle,
}

static RUNTIME: OnceLock<Runtime> = OnceLock::new();
static WORLD: OnceCell<Arc<World>> = OnceCell::const_new();

/// The runtime of all tests.
pub fn runtime() -> &'static Runtime {
    RUNTIME.get_or_init(|| Runtime::new().expect("a runtime"))
}

impl World {
    /// The one world of most tests; the first caller starts it.
    pub async fn get() -> Arc<Self> {
        WORLD
            .get_or_init(|| async { Arc::new(Self::start(CONFIG, Self::stop_if_started).await) })
            .await
            .clone()
    }

    /// The one world, if any test asked for it.
    pub fn if_started() -> Option<Arc<Self>> {
        WORLD.get().cloned()
    }

    fn stop_if_started() {
        if let Some(world) = Self::if_started() {
            world.stop();
        }
    }

    /// Another one, whose replicas have this configuration; `stop` is called on Ctrl-C.
    pub async fn start(config: &str, stop: fn()) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("ecr-pull-secrets-")
            .tempdir()
            .unwrap();
        let path = directory.path();
        clean_up_on_interrupt(path.to_owned(), stop);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stand_in = aws_stand_in::serve(listener).expect("the stand-in starts");
        let aws = stand_in.client();
        let cluster = Cluster::start(&path.join("cluster"), &["--audit".to_owned()]).await;
        let certificates = path.join("certificates");
        let ca = issue_certificates(&certificates);
        install(&cluster.kubeconfig, &ca, &[]);
        let kubeconfig = path.join("ours.kubeconfig");
        write_kubeconfig(&cluster, &kubeconfig).await;
        let environment = aws_environment(aws.url());
        let replica = |name| {
            Replica::start(&Settings {
                directory: path,
                name,
                kubeconfig: &kubeconfig,
                certificates: Some(&certificates),
                config,
                environment: &environment,
                log_level: "trace",
            })
        };
        let replicas = [replica("replica-0"), replica("replica-1")];
        for replica in &replicas {
            replica.ready().await;
        }
        let addresses = replicas.each_ref().map(|replica| replica.https.to_string());
        cluster.route(&format!("{OURS}/{OURS}"), &addresses);
        Self {
            cluster,
            aws,
            replicas,
            kubeconfig,
            directory,
            _stand_in: stand_in,
        }
    }

    /// A third replica, which the API server does not know.
    pub fn replica(&self, name: &str, config: &str, environment: &[(&str, String)]) -> Replica {
        self.replica_as(&self.kubeconfig, name, config, environment)
    }

    /// The same, and it may not have more files open than this.
    pub fn replica_with_few_files(&self, name: &str, files: u32) -> Replica {
        let settings = Settings {
            directory: self.directory.path(),
            name,
            kubeconfig: &self.kubeconfig,
            certificates: Some(&self.directory.path().join("certificates")),
            config: CONFIG,
            environment: &self.aws_environment(),
            log_level: "trace",
        };
        Replica::start_with_few_files(&settings, files)
    }

    /// The same with the rights of another account.
    pub fn replica_as(
        &self,
        kubeconfig: &Path,
        name: &str,
        config: &str,
        environment: &[(&str, String)],
    ) -> Replica {
        Replica::start(&Settings {
            directory: self.directory.path(),
            name,
            kubeconfig,
            certificates: Some(&self.directory.path().join("certificates")),
            config,
            environment,
            log_level: "trace",
        })
    }

    /// The same with files of its own for the certificate.
    pub fn replica_with(&self, certificates: &Path, name: &str, config: &str) -> Replica {
        Replica::start(&Settings {
            directory: self.directory.path(),
            name,
            kubeconfig: &self.kubeconfig,
            certificates: Some(certificates),
            config,
            environment: &self.aws_environment(),
            log_level: "trace",
        })
    }

    /// The environment of a replica that uses the stand-in.
    pub fn aws_environment(&self) -> Vec<(&'static str, String)> {
        aws_environment(self.aws.url())
    }

    /// What every process of ours logged so far: names and texts.
    pub fn logs(&self) -> Vec<(String, String)> {
        logs(self.directory.path())
    }

    /// How often our replicas called the API server about a namespace or what is in it.
    pub fn calls_about(&self, namespace: &str) -> usize {
        let log = self.cluster.report["audit_log"].as_str().expect("a path");
        let log = fs::read_to_string(log).expect("an audit log");
        let ours = format!("system:serviceaccount:{OURS}:{OURS}");
        let is_one = |line: &&str| {
            // Its last line may be half written.
            let Ok(entry) = serde_json::from_str::<serde_json::Value>(line) else {
                return false;
            };
            entry["user"]["username"] == ours && entry["objectRef"]["namespace"] == namespace
        };
        let about = log.lines().filter(|line| line.contains(namespace));
        about.filter(is_one).count()
    }

    /// A command of `kubectl`, as an administrator.
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(tool("kubectl"));
        command.arg("--kubeconfig").arg(&self.cluster.kubeconfig);
        command
    }

    /// Ends all of it.
    pub fn stop(&self) {
        for replica in &self.replicas {
            replica.stop();
        }
        self.cluster.stop();
        if keep() {
            println!("kept: {}", self.directory.path().display());
        } else {
            let _ = fs::remove_dir_all(self.directory.path());
        }
    }
}

/// Whether logs and data stay behind, for a look: `SUITE_KEEP=1`.
pub fn keep() -> bool {
    std::env::var_os("SUITE_KEEP").is_some()
}

/// What the processes logged whose files are in a folder: names and texts.
pub fn logs(directory: &Path) -> Vec<(String, String)> {
    let files = fs::read_dir(directory)
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .map(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let text = fs::read(&path).unwrap();
            (
                name.into_owned(),
                String::from_utf8_lossy(&text).into_owned(),
            )
        })
        .collect()
}

/// The environment of a process that uses the stand-in at this address.
pub fn aws_environment(url: &str) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_ENDPOINT_URL", url.to_owned()),
        (
            "AWS_ACCESS_KEY_ID",
            aws_stand_in::DEFAULT_ACCESS_KEY_ID.to_owned(),
        ),
        (
            "AWS_SECRET_ACCESS_KEY",
            aws_stand_in::DEFAULT_SECRET_ACCESS_KEY.to_owned(),
        ),
    ]
}

/// A CA and a certificate for the Service; returns the CA in PEM.
pub fn issue_certificates(directory: &Path) -> String {
    fs::create_dir(directory).unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(params, ca_key);
    let key = KeyPair::generate().unwrap();
    let names = vec![format!("{OURS}.{OURS}.svc")];
    let leaf = CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    fs::write(directory.join("tls.crt"), leaf.pem()).unwrap();
    fs::write(directory.join("tls.key"), key.serialize_pem()).unwrap();
    fs::write(directory.join("ca.crt"), ca.pem()).unwrap();
    ca.pem()
}

/// The chart as it ships, but for replicas whose certificate is signed by this CA: it is set as an
/// administrator sets it. `flags` are more flags of helm.
pub fn install(kubeconfig: &Path, ca: &str, flags: &[&str]) {
    install_chart(kubeconfig, flags);
    let bundle = BASE64_STANDARD.encode(ca);
    let patch = json!([
        { "op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": bundle },
    ]);
    let mut kubectl = Command::new(tool("kubectl"));
    kubectl.arg("--kubeconfig").arg(kubeconfig);
    kubectl.args([
        "patch",
        "mutatingwebhookconfiguration",
        "zz-ecr-pull-secrets",
    ]);
    run(kubectl.args(["--type=json", "--patch", &patch.to_string()]));
}

/// The chart as it ships.
pub fn install_chart(kubeconfig: &Path, flags: &[&str]) {
    let mut helm = helm("install", kubeconfig);
    run(helm.arg("--create-namespace").args(flags));
}

/// A command of helm about the chart.
pub fn helm(command: &str, kubeconfig: &Path) -> Command {
    let mut helm = Command::new(tool("helm"));
    helm.args([command, OURS])
        .arg(root().join("manifests/helm"))
        .args(["--namespace", OURS, "--kubeconfig"])
        .arg(kubeconfig);
    helm
}

/// A kubeconfig that holds a token of our ServiceAccount.
pub async fn write_kubeconfig(cluster: &Cluster, path: &Path) {
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), OURS);
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            expiration_seconds: Some(86_400),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let token = accounts
        .create_token_request(OURS, &PostParams::default(), &request)
        .await
        .expect("a token of our ServiceAccount");
    let token = token.status.expect("a status").token;
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "ours",
        "contexts": [{ "name": "ours", "context": { "cluster": "c", "user": "u" } }],
        "clusters": [{ "name": "c", "cluster": {
            "server": cluster.server,
            "certificate-authority": cluster.ca,
        }}],
        "users": [{ "name": "u", "user": { "token": token } }],
    });
    fs::write(path, kubeconfig.to_string()).unwrap();
}
