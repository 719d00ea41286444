//! Which pods come to the webhook, and which of them get the reference: `selection: all-pods`, and the
//! conditions of the registration against the rule of the code.

use std::collections::HashMap;
use std::sync::Arc;

use aws_stand_in::spec::Action;
use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::image::Registry;
use ecr_pull_secrets_core::selection::Wish;
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::frame::trial;
use crate::harness::namespace::{Namespace, SECRET, pod, references};
use crate::harness::{LIMIT, Outcome, World, eventually, review};
use crate::ownership::{PULL_TYPE, data, of_type};

/// The tests of this module. The second one needs a registration of its own.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "selection::cel_conditions_are_a_superset",
            crate::shared,
            cel_conditions_are_a_superset,
        ),
        trial(
            "selection::all_pods_need_no_ecr_image",
            bare_cluster,
            all_pods_need_no_ecr_image,
        ),
    ]
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

async fn bare_cluster() -> Arc<World> {
    let builder = World::builder().value("config.selection=all-pods");
    builder.start_cluster().await
}

async fn all_pods_need_no_ecr_image(world: Arc<World>) -> Outcome {
    let label = || json!({ Wish::LABEL: "true" });
    let labelled = Namespace::with_labels(&world, label()).await;
    let blocked = Namespace::in_region(&world, labelled.region.clone(), label()).await;
    let plain = Namespace::new(&world).await;
    let malformed = of_type(PULL_TYPE, &data(&json!({ "auths": [] })));
    blocked.foreign_secret("another", malformed).await;
    // Both come before the registration. The leader reports the one that cannot pull.
    labelled.pod("old-nginx", NGINX).await;
    labelled.pod("old-app", &labelled.image("app")).await;
    world.install().await;
    let config = json!({
        "apiVersion": "ecr-pull-secrets.dev/v1",
        "kind": "Config",
        "selection": "all-pods",
        "provision": [{ "selector": { "matchLabels": label() }, "registries": [labelled.host()] }],
    });
    let replica = world.add_replica(|launch| launch.config(&config.to_string()));
    world.route().await;
    labelled.assert_opens().await;

    let created = async |namespace: &Namespace, name: &str, image: &str, wish: Option<&str>| {
        let mut pod = pod(name, image);
        pod["metadata"]["labels"] = wish.map_or(json!({}), |wish| json!({ Wish::LABEL: wish }));
        references(&namespace.create::<Pod>(pod).await.expect("a pod"))
    };
    assert_eq!(created(&labelled, "nginx", NGINX, None).await, [SECRET]);
    assert_eq!(
        created(&labelled, "out", NGINX, Some("false")).await,
        [""; 0]
    );
    // Without the namespace's label, neither image nor pod's label counts.
    let image = plain.image("app");
    for (name, image, wish) in [
        ("nginx", NGINX, None),
        ("app", &*image, None),
        ("in", &*image, Some("true")),
    ] {
        assert_eq!(created(&plain, name, image, wish).await, [""; 0], "{name}");
    }
    assert!(plain.secret().await.is_none());
    // The API server did not ask about them.
    let reviews = "ecr_pull_secrets_admission_requests_total";
    let skipped = replica.metric(reviews, &["outcome=\"skipped\""]).await;
    assert!(skipped < 1.0, "{skipped}");
    // The reference would break every pull of the pod.
    assert_eq!(created(&blocked, "nginx", NGINX, None).await, [""; 0]);
    let answer = review::of_pod(&blocked.name, &pod("next", NGINX));
    let answer = review::answer(&replica, &answer).await;
    assert_eq!(review::warnings(&answer), Cause::ForeignMalformed.warning());

    let missed = async || {
        let name = "ecr_pull_secrets_pods_missing_reference_total";
        replica.metric(name, &[]).await
    };
    eventually("a check of all pods", LIMIT, || async {
        let log = std::fs::read_to_string(&replica.log).expect("a log");
        (log.contains("checked all pods") && missed().await > 0.0).then_some(())
    })
    .await;
    assert_eq!(missed().await.to_bits(), 1.0_f64.to_bits());
    let action = Action::GetAuthorizationToken;
    assert_eq!(labelled.region.total(action).await?.total, 1);
    assert_eq!(plain.region.total(action).await?.total, 0);
    world.stop();
    Ok(())
}
