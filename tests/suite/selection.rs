//! Which pods come to the webhook: the conditions of the registration against the rule of the code.

use std::collections::HashMap;
use std::sync::Arc;

use ecr_pull_secrets_core::image::Registry;
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::frame::trial;
use crate::harness::namespace::{Namespace, pod};
use crate::harness::{LIMIT, Outcome, World, eventually};

/// The tests of this module.
pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "selection::cel_conditions_are_a_superset",
        crate::shared,
        cel_conditions_are_a_superset,
    )]
}

const TABLE: &str = include_str!("../fixtures/ecr-hosts.tsv");
/// Requests at a time.
const CONCURRENCY: usize = 16;
const NGINX: &str = "docker.io/library/nginx:1";
/// The annotation of an audit event that our webhook answered.
const OUTCOME: &str = "pods.ecr-pull-secrets.dev/outcome";

/// The images of the table. A further rule for images adds its own here.
fn images() -> Vec<String> {
    let unescaped = |field: &str| serde_json::from_str(&format!("\"{field}\"")).expect("a text");
    let rows = TABLE.lines().skip(1);
    rows.map(|row| unescaped(row.split('\t').next().unwrap_or_default()))
        .collect()
}

/// Pods that name the image in one place each, by the name of the place.
fn pods(image: &str) -> [(&'static str, Value); 4] {
    let container = json!([{ "name": "other", "image": image }]);
    let volume = json!([{ "name": "other", "image": { "reference": image } }]);
    let with = |field: &str, value| {
        let mut pod = pod("", NGINX);
        pod["spec"][field] = value;
        pod
    };
    [
        ("container", with("containers", container.clone())),
        ("init", with("initContainers", container.clone())),
        // The API server refuses these pods, after it has asked the webhook.
        ("ephemeral", with("ephemeralContainers", container)),
        ("volume", with("volumes", volume)),
    ]
}

/// Every image that the code takes for one of ECR comes to the webhook, in each place.
async fn cel_conditions_are_a_superset(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let is_ecr = |image: &str| Registry::of_image(image).is_some_and(|found| !found.is_public());
    let mut cases = HashMap::new();
    let mut requests = Vec::new();
    for (number, image) in images().into_iter().enumerate() {
        for (place, mut pod) in pods(&image) {
            let name = format!("{place}-{number}");
            pod["metadata"]["name"] = json!(name);
            requests.push(serde_json::from_value::<Pod>(pod)?);
            cases.insert(name, image.clone());
        }
    }
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let api = namespace.api::<Pod>();
    // The API server refuses an invalid image, too. The audit log has all requests.
    let sent = stream::iter(requests).map(async |pod| api.create(&dry, &pod).await);
    let answers: Vec<_> = sent.buffer_unordered(CONCURRENCY).collect().await;
    let stored = answers.iter().filter(|answer| answer.is_ok()).count();
    let events = eventually("the audit events of all requests", LIMIT, || async {
        let all = world.audit_events(&namespace.name).into_iter();
        let is_one = |event: &Value| {
            event["verb"] == "create" && event["objectRef"]["namespace"] == *namespace.name
        };
        let events: Vec<Value> = { all }
            .filter(|event| is_one(event) && event["objectRef"]["resource"] == "pods")
            .collect();
        (events.len() == cases.len()).then_some(events)
    })
    .await;
    let mut surplus = 0;
    let mut others = 0;
    for event in &events {
        let name = event["objectRef"]["name"].as_str().expect("a name");
        let outcome = event["annotations"][OUTCOME].as_str();
        let image = &cases[name];
        if is_ecr(image) {
            assert_eq!(outcome, Some("injected"), "{name}: {image:?}");
        } else if outcome.is_some() {
            assert_eq!(outcome, Some("skipped"), "{name}: {image:?}");
            surplus += 1;
        } else {
            others += 1;
        }
    }
    // The conditions keep other pods away, and some requests are valid: neither side is empty by accident.
    assert!(others > 0 && stored > 0, "{others} {stored}");
    let total = events.len();
    println!(
        "of {total} pods, {surplus} without an ECR image matched the conditions, {others} did not"
    );
    Ok(())
}
