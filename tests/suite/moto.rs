//! AWS as other authors understand it: `moto_server` checks the protocol of our calls.
//!
//! The stand-in has our authors, and perhaps our errors. `moto_server` has neither. It checks no signature, and its
//! tokens open no registry. But they name their account, and they expired in 2015.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use tempfile::TempDir;

use crate::frame::trials;
use crate::harness::namespace::{Namespace, pod};
use crate::harness::tools::tool;
use crate::harness::{LIMIT, Outcome, World, docker, eventually, review};

trials!(
    default_chain_mints_with_keys_from_environment,
    rule_mints_with_its_role,
    web_identity_mints_with_its_role,
);

const HOST: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
const KEYS: [(&str, &str); 2] = [
    ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "any"),
];
const ROLE: &str = "arn:aws:iam::210987654321:role/puller";
const DEFAULTS: &str = "{apiVersion: ecr-pull-secrets.dev/v1, kind: Config}";

async fn default_chain_mints_with_keys_from_environment(world: Arc<World>) -> Outcome {
    let moto = Moto::start().await;
    mint_once(&world, &moto, "moto-chain", DEFAULTS, &KEYS, "123456789012").await
}

async fn rule_mints_with_its_role(world: Arc<World>) -> Outcome {
    let moto = Moto::start().await;
    let role = json!({ "roleArn": ROLE, "externalId": "of-the-test", "sessionName": "moto" });
    let config = json!({
        "apiVersion": "ecr-pull-secrets.dev/v1",
        "kind": "Config",
        "rules": [{ "accounts": ["123456789012"], "assumeRole": role }],
    })
    .to_string();
    mint_once(&world, &moto, "moto-role", &config, &KEYS, "210987654321").await
}

async fn web_identity_mints_with_its_role(world: Arc<World>) -> Outcome {
    let moto = Moto::start().await;
    let token = moto.directory.path().join("token");
    fs::write(&token, "header.payload.signature")?;
    let environment = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().expect("text")),
        ("AWS_ROLE_ARN", ROLE),
    ];
    mint_once(
        &world,
        &moto,
        "moto-web-identity",
        DEFAULTS,
        &environment,
        "210987654321",
    )
    .await
}

/// Serves two namespaces. Both Secrets must hold the token of `account`, and the second one costs no call.
async fn mint_once(
    world: &Arc<World>,
    moto: &Moto,
    name: &str,
    config: &str,
    credentials: &[(&str, &str)],
    account: &str,
) -> Outcome {
    // Its tokens must not enter the token store of this world.
    let apart = Namespace::new(world).await.name;
    let mut replica = world
        .replica(name)
        .config(config)
        .without_env("AWS_ACCESS_KEY_ID")
        .without_env("AWS_SECRET_ACCESS_KEY")
        .env("AWS_ENDPOINT_URL", &moto.url)
        .env("ECR_PULL_SECRETS_NAMESPACE", apart);
    for &(name, value) in credentials {
        replica = replica.env(name, value);
    }
    let replica = replica.start();
    replica.ready().await;
    let password = format!("{account}-auth-token");
    let mut calls = None;
    for _ in 0..2 {
        let namespace = Namespace::new(world).await;
        let review = review::of_pod(&namespace.name, &pod("pod", &format!("{HOST}/app:v1")));
        let answer = review::answer(&replica, &review).await;
        assert!(review::adds_reference(&answer), "{answer}");
        let secret = namespace.secret_comes().await;
        assert_eq!(docker::hosts(&secret), [HOST]);
        let auth = BASE64_STANDARD.decode(docker::auth(&secret, HOST))?;
        assert_eq!(String::from_utf8(auth)?, format!("AWS:{password}"));
        // An `expiresAt` in the past means an unknown lifetime. An expired token would be minted again for the second
        // namespace.
        let expires_at: Timestamp = docker::annotation(&secret, "expires-at").parse()?;
        assert!(expires_at > secret.metadata.creation_timestamp.expect("a time").0);
        // On a slow machine the SDK may try the first call twice.
        assert_eq!(*calls.get_or_insert(moto.calls()), moto.calls());
    }
    assert!(!fs::read_to_string(&replica.log)?.contains(&password));
    assert!(calls > Some(0));
    Ok(())
}

/// A running `moto_server`. It ends when this is dropped, and when this process ends.
struct Moto {
    url: String,
    log: PathBuf,
    directory: TempDir,
    child: Child,
    /// Pipe that keeps it alive.
    stdin: Option<ChildStdin>,
}

impl Moto {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let log = directory.path().join("moto.log");
        let output = File::create(&log).expect("a file");
        let mut child = Command::new(tool("cluster"))
            .args(["lifeline", "--"])
            .arg(tool("moto"))
            .args(["-H", "127.0.0.1", "-p", "0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .expect("moto starts");
        let url = eventually("moto prints its address", LIMIT, || async {
            let said = fs::read_to_string(&log).expect("moto's log");
            let url = said.split_once("Running on ")?.1;
            url.split_once('\n').map(|(url, _)| url.trim().to_owned())
        })
        .await;
        Self {
            url,
            log,
            directory,
            stdin: child.stdin.take(),
            child,
        }
    }

    /// Number of calls so far: every call of AWS is a POST.
    fn calls(&self) -> usize {
        let said = fs::read_to_string(&self.log).expect("moto's log");
        said.matches("\"POST / HTTP/1.1\" 200").count()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}
