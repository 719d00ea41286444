//! Memory of one replica in a large cluster, and its time to ready there.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::PostParams;
use tokio::time::{Instant, sleep};

use crate::process::{Process, ready_ms};
use crate::report::{Report, few};
use crate::site::{AT_A_TIME, Site, name, unrelated};

/// Number of managed namespaces, unrelated Secrets and Pending pods.
fn sizes() -> [usize; 3] {
    [few(10_000), few(100_000), few(2_000)]
}

/// Time from the start to the measurement: the first lists are long over.
const LATER: Duration = Duration::from_secs(60);

/// Measures it.
pub async fn measure(report: &mut Report) {
    let [namespaces, unrelated, pending] = sizes();
    let begun = Instant::now();
    let said = |what: &str| println!("  {:>4.0} s: {what}", begun.elapsed().as_secs_f64());
    println!("memory: filling a cluster");
    let site = Site::start().await;
    site.namespaces(0..1).await;
    let first = site.start_replica();
    first.ready().await;
    let secret = site.first_secret(&first).await;
    sleep(LATER).await;
    let empty = Process::of(&first).mib("VmRSS");
    first.stop();
    site.namespaces(1..namespaces).await;
    said(&format!("{namespaces} namespaces"));
    site.write(&secret, namespaces).await;
    said(&format!("{namespaces} pull Secrets"));
    unrelated_secrets(&site, unrelated).await;
    said(&format!("{unrelated} unrelated Secrets"));
    site.pods(0..namespaces).await;
    site.run_pods(pending..namespaces).await;
    said(&format!(
        "a pod in each namespace, {pending} of them Pending"
    ));

    let replica = site.start_replica();
    let ready = ready_ms(&replica).await;
    let process = Process::of(&replica);
    let at_ready = process.mib("VmRSS");
    // The figure is memory at this point in time.
    sleep(LATER).await;
    assert!(
        replica.metric("ecr_pull_secrets_leader", &[]).await > 0.0,
        "it leads"
    );
    let (resident, peak) = (process.mib("VmRSS"), process.mib("VmHWM"));
    report.figure("rss_mib", resident);
    report.figure("ready_10000_ms", ready);
    report.note(format!(
        "memory of one replica that leads, with {namespaces} managed namespaces with a pod each, {unrelated} unrelated \
         Secrets and {pending} Pending pods: {resident:.1} MiB {} s after the start, {:.1} of them anonymous and {:.1} pages of \
         the binary; {at_ready:.1} when ready, {peak:.1} at the peak; {empty:.1} with one namespace",
        LATER.as_secs(),
        process.mib("RssAnon"),
        process.mib("RssFile"),
    ));
    site.stop();
}

async fn unrelated_secrets(site: &Site, count: usize) {
    stream::iter(0..count)
        .for_each_concurrent(2 * AT_A_TIME, |number| async move {
            let client = site.cluster.client.clone();
            let secrets: Api<Secret> = Api::namespaced(client, &name(number % 100));
            let secret = unrelated(number);
            let created = secrets.create(&PostParams::default(), &secret).await;
            created.expect("a Secret");
        })
        .await;
}
