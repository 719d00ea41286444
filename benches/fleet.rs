//! A hundred thousand pods in two thousand namespaces, twenty of them without the reference: how soon a
//! leader finds these, and what its list of all pods costs.

use std::fs;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::namespace::{ACCOUNT, SECRET, pod};
use crate::harness::{LIMIT, eventually};
use crate::process::{Process, cpu_seconds};
use crate::report::{Report, few};
use crate::site::{AT_A_TIME, Site, name};

/// Pods of each namespace.
const PODS: usize = 50;
/// Missed pods, half of which run.
const MISSED: usize = 20;
/// Limit of a wait for all missed pods.
const LONG: Duration = Duration::from_secs(600);

/// Measures it.
pub async fn measure(report: &mut Report) {
    let namespaces = few(2_000);
    println!(
        "fleet: {} pods in {namespaces} namespaces",
        namespaces * PODS
    );
    let site = Site::start().await;
    site.namespaces(0..namespaces).await;
    let first = site.start_replica();
    first.ready().await;
    let secret = site.first_secret(&first).await;
    first.stop();
    site.write(&secret, namespaces).await;
    fill(&site, namespaces).await;
    let image = format!("{}/app:v1", site.region.host(ACCOUNT));
    for number in 0..MISSED {
        let missed = pod(&format!("missed-{number}"), &image);
        create(&site, &name(number), &missed).await;
        if number >= MISSED / 2 {
            run(&site, &name(number), &format!("missed-{number}")).await;
        }
    }

    let control_plane = site.cluster.process();
    let replica = site.start_replica();
    eventually("a leader", LIMIT, || async {
        let (_, metrics) = replica.get("/metrics").await?;
        metrics
            .contains("\necr_pull_secrets_leader 1\n")
            .then_some(())
    })
    .await;
    let (leading, before) = (Instant::now(), cpu_seconds(control_plane));
    let pending = found(&site, 0..MISSED / 2).await;
    let running = found(&site, MISSED / 2..MISSED).await;
    eventually("the end of the list", LONG, || async {
        let log = fs::read_to_string(&replica.log).ok()?;
        log.contains("\"checked all pods\"").then_some(())
    })
    .await;
    let swept = leading.elapsed().as_secs_f64();
    let cost = cpu_seconds(control_plane) - before;
    let process = Process::of(&replica);
    report.figure("missed_pending_s", (pending - leading).as_secs_f64());
    report.figure("missed_running_s", (running - leading).as_secs_f64());
    report.figure("sweep_peak_mib", process.mib("VmHWM"));
    report.figure("sweep_api_server_s", cost);
    report.note(format!(
        "{} pods, {MISSED} of them missed: the list of all pods ends {swept:.1} s after the replica leads, and costs \
         control plane and etcd {cost:.1} s of CPU; the replica has {:.1} MiB then",
        namespaces * PODS,
        process.mib("VmRSS"),
    ));
    site.stop();
}

/// Creates pods that name the pull Secret and run.
async fn fill(site: &Site, namespaces: usize) {
    let image = format!("{}/app:v1", site.region.host(ACCOUNT));
    stream::iter(0..namespaces * PODS)
        .for_each_concurrent(AT_A_TIME, |number| {
            let (namespace, pod_name) = (name(number % namespaces), format!("pod-{number:06}"));
            let mut pod = pod(&pod_name, &image);
            pod["spec"]["imagePullSecrets"] = json!([{ "name": SECRET }]);
            async move {
                create(site, &namespace, &pod).await;
                run(site, &namespace, &pod_name).await;
            }
        })
        .await;
}

async fn create(site: &Site, namespace: &str, pod: &Value) {
    let pods: Api<Pod> = Api::namespaced(site.cluster.client.clone(), namespace);
    let pod = serde_json::from_value(pod.clone()).expect("a pod");
    let created = pods.create(&PostParams::default(), &pod).await;
    created.expect("a pod");
}

/// Reports a pod as running, as a kubelet does.
async fn run(site: &Site, namespace: &str, pod: &str) {
    let pods: Api<Pod> = Api::namespaced(site.cluster.client.clone(), namespace);
    let status = Patch::Merge(json!({ "status": { "phase": "Running" } }));
    pods.patch_status(pod, &PatchParams::default(), &status)
        .await
        .expect("a status");
}

/// Waits until each of these missed pods has its Event.
async fn found(site: &Site, numbers: std::ops::Range<usize>) -> Instant {
    let events: Api<Event> = Api::all(site.cluster.client.clone());
    let params = ListParams::default().fields("reason=PodMissed");
    let names: Vec<String> = numbers.map(|number| format!("missed-{number}")).collect();
    eventually("an Event on each missed pod", LONG, || async {
        let events = events.list(&params).await.ok()?;
        let has_event = |name: &String| {
            let mut about = events.iter().map(|event| &event.involved_object.name);
            about.any(|about| about.as_ref() == Some(name))
        };
        names.iter().all(has_event).then(Instant::now)
    })
    .await
}
