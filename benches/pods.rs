//! Pods a second through the real API server, with us and without.
//!
//! Without us means no registration and no replica: one would report every pod that it missed.

use futures::{StreamExt as _, stream};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

use crate::harness::namespace::{ACCOUNT, SECRET, pod, references};
use crate::harness::world::OURS;
use crate::harness::{LIMIT, eventually};
use crate::report::{Report, few, median};
use crate::site::{Site, name};

const REGISTRATION: &str = "zz-ecr-pull-secrets";
/// Clients that keep going, each in a namespace of its own.
const CLIENTS: usize = 16;
/// Replicas, as the chart has them.
const REPLICAS: usize = 2;
/// Turns of each.
const TURNS: usize = 3;
/// Of a turn, in seconds; as much before it does not count.
const SECONDS: usize = 4;

/// Measures it.
pub async fn measure(report: &mut Report) {
    println!("pods: {CLIENTS} clients");
    let site = Site::start().await;
    site.namespaces(0..CLIENTS).await;
    let registrations: Api<MutatingWebhookConfiguration> = Api::all(site.cluster.client.clone());
    let mut registration = registrations.get(REGISTRATION).await.expect("the chart's");
    registration.metadata = kube::api::ObjectMeta {
        name: Some(REGISTRATION.to_owned()),
        labels: registration.metadata.labels,
        annotations: registration.metadata.annotations,
        ..kube::api::ObjectMeta::default()
    };
    let params = DeleteParams::default();
    registrations
        .delete(REGISTRATION, &params)
        .await
        .expect("gone");
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for turn in 0..=few(TURNS) {
        let theirs = turn_of(&site, false).await;
        let replicas: Vec<_> = (0..REPLICAS).map(|_| site.start_replica()).collect();
        for replica in &replicas {
            replica.ready().await;
        }
        let addresses: Vec<_> = replicas.iter().map(|one| one.https.to_string()).collect();
        site.cluster.route(&format!("{OURS}/{OURS}"), &addresses);
        let create = PostParams::default();
        registrations
            .create(&create, &registration)
            .await
            .expect("ours");
        let ours = turn_of(&site, true).await;
        registrations
            .delete(REGISTRATION, &params)
            .await
            .expect("gone");
        // By and by, and the lease is there for the next turn's.
        for replica in &replicas {
            replica.terminate();
            replica.ended().await;
        }
        if turn > 0 {
            println!("  with {ours:.0}/s, without {theirs:.0}/s");
            with.push(ours);
            without.push(theirs);
        }
    }
    let ratios: Vec<f64> = with.iter().zip(&without).map(|(a, b)| a / b).collect();
    report.figure("pods_per_second_with", median(&with));
    report.figure("pods_per_second_without", median(&without));
    report.note(format!(
        "pods through the API server, {CLIENTS} clients, {REPLICAS} replicas: {:.0} a second with us, {:.0} without; \
         {:.2} of it, from turn to turn",
        median(&with),
        median(&without),
        median(&ratios)
    ));
    site.stop();
}

/// Pods a second.
async fn turn_of(site: &Site, is_ours: bool) -> f64 {
    // The API server hears of a registration, or of its end, a little later.
    eventually("the registration", LIMIT, || async {
        let pod = create(site, 0, "probe", true).await;
        let has = references(&pod).iter().any(|name| name == SECRET);
        (has == is_ours).then_some(())
    })
    .await;
    let created = AtomicUsize::new(0);
    let warm = Duration::from_secs(few(SECONDS) as u64) / 2;
    let begun = Instant::now() + warm;
    let end = begun + 2 * warm;
    stream::iter(0..CLIENTS)
        .for_each_concurrent(CLIENTS, |client| {
            let created = &created;
            async move {
                for number in 0.. {
                    let pod = create(site, client, &format!("pod-{number}"), false).await;
                    let named = references(&pod).iter().any(|name| name == SECRET);
                    assert_eq!(named, is_ours, "the reference");
                    let now = Instant::now();
                    if now >= end {
                        break;
                    }
                    if now >= begun {
                        created.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        })
        .await;
    clear(site).await;
    created.into_inner() as f64 / (2 * warm).as_secs_f64()
}

async fn create(site: &Site, namespace: usize, called: &str, dry_run: bool) -> Pod {
    let image = format!("{}/app:v1", site.region.host(ACCOUNT));
    let mut pod = pod(called, &image);
    pod["spec"]["schedulerName"] = json!("none");
    let pod: Pod = serde_json::from_value(pod).expect("a pod");
    let params = PostParams {
        dry_run,
        ..PostParams::default()
    };
    let pods: Api<Pod> = Api::namespaced(site.cluster.client.clone(), &name(namespace));
    pods.create(&params, &pod).await.expect("a pod")
}

/// The next turn finds the same cluster.
async fn clear(site: &Site) {
    let params = DeleteParams::default().grace_period(0);
    for number in 0..CLIENTS {
        let pods: Api<Pod> = Api::namespaced(site.cluster.client.clone(), &name(number));
        let all = ListParams::default();
        pods.delete_collection(&params, &all).await.expect("gone");
    }
}
