//! The texts of failed pulls, as kubelet and containerd write them into a pod's status.
//!
//! A registry of its own answers each repository in one way. `tests/fixtures/pull-errors.tsv` has the
//! text that comes of it: the rows whose source is `node NAME`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Api;
use kube::api::ListParams;
use serde_json::json;
use tokio::net::TcpListener;

use super::refusing_registry::{SCENARIOS, serve};
use super::world::NodeWorld;
use crate::frame::trials;
use crate::harness::namespace::{ACCOUNT, Namespace, pod};
use crate::harness::{Outcome, eventually};

trials!(kubelet_writes_the_texts_of_the_table);

/// Pulls run one after another, and containerd repeats some of them.
const LIMIT: Duration = Duration::from_secs(300);
const TABLE: &str = include_str!("../../fixtures/pull-errors.tsv");
const STORAGE: &str = "https://prod-us-east-1-starport-layer-bucket.s3.us-east-1.amazonaws.com";

async fn kubelet_writes_the_texts_of_the_table(world: Arc<NodeWorld>) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let server = tokio::spawn(serve(listener, port));
    let region = world.aws.region("refusal-land-1");
    let host = region.host(ACCOUNT);
    world
        .cluster
        .command(&format!("registry {host} http://127.0.0.1:{port}"));
    // A namespace that opts out: the texts do not depend on us.
    let out = json!({ "ecr-pull-secrets.dev/inject": "false" });
    let namespace = Namespace::in_region(&world, region, out).await;
    let auth = BASE64_STANDARD.encode("AWS:a-token");
    let login = json!({ "auths": { &host: { "auth": auth } } }).to_string();
    let login = json!({
        "metadata": { "name": "login" },
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": { ".dockerconfigjson": login },
    });
    namespace.create::<Secret>(login).await?;
    for scenario in SCENARIOS {
        let mut manifest = pod(scenario.name, &format!("{host}/{}:v1", scenario.name));
        if scenario.name != "no-login" {
            manifest["spec"]["imagePullSecrets"] = json!([{ "name": "login" }]);
        }
        if scenario.name == "never-pull" {
            manifest["spec"]["containers"][0]["imagePullPolicy"] = json!("Never");
        }
        namespace.create::<Pod>(manifest).await?;
    }
    let texts = eventually("all texts", LIMIT, || async {
        let texts = texts(&namespace, &host, port).await;
        (texts.len() == SCENARIOS.len()).then_some(texts)
    })
    .await;
    server.abort();
    let mut differing = String::new();
    for (name, text) in &texts {
        let row = row(name);
        if row.as_deref() != Some(text) {
            let _ = write!(differing, "\n{name}\t{}", text.replace('\n', "\\n"));
        }
    }
    assert!(differing.is_empty(), "{differing}");
    Ok(())
}

/// The text that the table has for a scenario.
fn row(name: &str) -> Option<String> {
    let mut rows = TABLE
        .lines()
        .map(|line| line.split('\t').collect::<Vec<_>>());
    let row = rows.find(|row| {
        row.get(1)
            .is_some_and(|source| *source == format!("node {name}"))
    })?;
    Some(row.get(3)?.replace("\\n", "\n"))
}

/// The text of each pod whose pull has failed, with the names of this run replaced.
async fn texts(namespace: &Namespace, host: &str, port: u16) -> BTreeMap<String, String> {
    let pods: Api<Pod> = namespace.api();
    let pods = pods.list(&ListParams::default()).await.expect("a list");
    let texts = pods.items.into_iter().filter_map(|pod| {
        let name = pod.metadata.name?;
        let statuses = pod.status?.container_statuses?;
        let waiting = statuses.into_iter().next()?.state?.waiting?;
        let message = waiting.message?;
        let is_final = matches!(
            waiting.reason.as_deref(),
            Some("ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull")
        ) && !message.contains("QPS exceeded");
        let image = format!("{host}/{name}:v1");
        let backing_off = format!("Back-off pulling image \"{image}\": ErrImagePull: ");
        let text = message.strip_prefix(&backing_off).unwrap_or(&message);
        if text.starts_with("Back-off") || !is_final {
            return None;
        }
        let ns = format!("?ns={host}");
        let text = text
            .replace(&format!("http://127.0.0.1:{port}/storage"), STORAGE)
            .replace(&ns, "")
            .replace("?ns=%5BREDACTED%5D", "")
            .replace(&format!("http://127.0.0.1:{port}"), "https://{host}")
            .replace(&format!("{host}/{name}:v1"), "{image}")
            .replace(host, "{host}")
            .replace(&format!("/v2/{name}/"), "/v2/team/app/");
        Some((name, without_digests(&text)))
    });
    texts.collect()
}

/// Replaces each digest.
fn without_digests(text: &str) -> String {
    let mut parts = text.split("sha256:");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str("{digest}");
        out.push_str(part.trim_start_matches(|byte: char| byte.is_ascii_hexdigit()));
    }
    out
}
