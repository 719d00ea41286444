//! Pods are created without a pause while the replicas restart, renew certificates and are killed.
//!
//! `RESTARTS` is the number of restarts: 1 by default, 3 in `make soak`. The least number of pods and
//! certificates grows with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde_json::json;
use tokio::task::JoinHandle;

use super::clients::{Clients, Created, is_served};
use super::missed::reviews_done_without;
use super::world::NodeWorld;
use crate::frame::trials;
use crate::harness::tools::run;
use crate::harness::world::OURS;
use crate::harness::{LIMIT, Outcome, eventually};

trials!(
    restarts_and_new_certificates_lose_no_pod,
    every_pod_missed_under_sigkill_is_reported,
);

/// Lifetime of a leaf. It is renewed after two thirds, and its CA lives for six leaves.
const CERTIFICATE: &str = "30s";
/// Age in seconds at which a connection closes, so that a new replica gets its share soon.
const CONNECTION: &str = "20";
/// Least number of pods for each restart.
const PODS: usize = 3400;
/// Each replica answers at least one in this many reviews after a restart.
const SHARE: f64 = 10.0;

fn restarts() -> usize {
    let given = std::env::var("RESTARTS").ok();
    given.map_or(1, |text| text.parse().expect("a number"))
}

async fn restarts_and_new_certificates_lose_no_pod(world: Arc<NodeWorld>) -> Outcome {
    let restarts = restarts();
    let (pods, certificates) = (restarts * PODS, restarts * 10 / 3);
    live_short(&world).await;
    for policy in ["Ignore", "Fail"] {
        set_policy(&world, policy);
        let before = reviews_done_without(&world);
        let clients = Clients::start(&world).await;
        let seen = serving_certificates(&world);
        let mut shares = Vec::new();
        for _ in 0..restarts {
            restart(&world);
            shares.push(shared(&world).await);
        }
        eventually("enough pods and certificates", 20 * LIMIT, || async {
            (clients.count() >= pods && seen.count() > certificates).then_some(())
        })
        .await;
        let Created {
            created,
            bare,
            refused,
        } = clients.stop().await;
        let stored = clients.stored().await;
        let lacking = stored.iter().filter(|pod| !is_served(pod)).count();
        println!(
            "{policy}: {created} pods created, {lacking} of {} stored without the reference, {} refused, \
             {restarts} restarts, {} new certificates; shares after each restart: {}",
            stored.len(),
            refused.len(),
            seen.count() - 1,
            shares.join("; "),
        );
        assert_eq!(refused, BTreeMap::new());
        assert_eq!((bare, lacking, stored.len()), (0, 0, created));
        assert_eq!(reviews_done_without(&world), before);
        clients.remove().await;
    }
    set_policy(&world, "Ignore");
    Ok(())
}

async fn every_pod_missed_under_sigkill_is_reported(world: Arc<NodeWorld>) -> Outcome {
    let leases: Api<Lease> = Api::namespaced(world.cluster.client.clone(), OURS);
    let leaders = Followed::of(move || {
        let leases = leases.clone();
        async move {
            let lease = leases.get_opt(OURS).await.ok().flatten()?.spec?;
            Some((lease.acquire_time?.0, lease.renew_time?.0))
        }
    });
    let clients = Clients::start(&world).await;
    for round in 0..3 {
        let before = clients.count();
        let replicas = processes();
        assert!(!replicas.is_empty(), "no replica runs");
        // One replica dies, and in the second round all at once.
        let victims = if round == 1 { replicas.len() } else { 1 };
        for process in &replicas[..victims] {
            run(std::process::Command::new("kill").args(["-KILL", &process.to_string()]));
        }
        eventually(
            "the replicas are back, and pods were created",
            2 * LIMIT,
            || async {
                let is_back = metrics(&world).len() >= 2;
                (is_back && clients.count() > before + 300).then_some(())
            },
        )
        .await;
    }
    // No replica leads for a while, and clients still create pods.
    let before = clients.count();
    for process in processes() {
        run(std::process::Command::new("kill").args(["-KILL", &process.to_string()]));
    }
    eventually("more pods", LIMIT, || async {
        (clients.count() > before + 300).then_some(())
    })
    .await;
    let Created { created, .. } = clients.stop().await;
    let missed: BTreeMap<String, Timestamp> = clients
        .stored()
        .await
        .into_iter()
        .filter(|pod| !is_served(pod))
        .filter_map(|pod| Some((pod.uid()?, pod.creation_timestamp()?.0)))
        .collect();
    eventually("a leader", 2 * LIMIT, || async {
        metrics(&world)
            .values()
            .any(|text| value(text, "ecr_pull_secrets_leader") > 0.0)
            .then_some(())
    })
    .await;
    // Each has an Event, or is counted by that of its namespace: they come faster than 20 a second.
    let told = eventually("a report of each missed pod", LIMIT, || async {
        let (told, counted) = told(&world).await;
        (told.len() + counted >= missed.len()).then_some(told)
    })
    .await;
    // Terms of the leaders: from acquisition to the last renewal that was seen.
    let leaders: BTreeMap<Timestamp, Timestamp> = leaders.seen().into_iter().collect();
    let led = |from: Timestamp, to: Timestamp| -> f64 {
        let terms = leaders.range(..=to);
        let each = terms.map(|(begin, end)| {
            let (begin, end) = ((*begin).max(from), (*end).min(to));
            end.duration_since(begin).as_secs_f64().max(0.0)
        });
        each.sum()
    };
    // Delay by the clocks of API server and replicas: while a replica led, and in all.
    let delays = told.iter().filter_map(|(pod, told)| {
        let (told, created) = (*told, missed.get(pod)?);
        let last = leaders.range(..=told).next_back();
        let last = last.map_or(*created, |(begin, _)| *begin.max(created));
        let by_who_told = told.duration_since(last).as_secs_f64();
        let all = told.duration_since(*created).as_secs_f64();
        Some((led(*created, last) + by_who_told, all))
    });
    let (longest_led, longest) = delays.fold((0.0, 0.0), |longest: (f64, f64), delay| {
        (longest.0.max(delay.0), longest.1.max(delay.1))
    });
    println!(
        "{} of {created} pods were missed under SIGKILL; each was reported within {longest_led:.1} s of \
         leadership after its creation, and within {longest:.1} s in all; {} leaders",
        missed.len(),
        leaders.len(),
    );
    assert!(!missed.is_empty(), "no pod was missed");
    // No other pod is reported.
    let others: Vec<&String> = told
        .keys()
        .filter(|pod| !missed.contains_key(*pod))
        .collect();
    assert_eq!(others, [""; 0]);
    clients.remove().await;
    Ok(())
}

/// Serving certificates from now on.
fn serving_certificates(world: &NodeWorld) -> Followed<Vec<u8>> {
    let secrets: Api<Secret> = Api::namespaced(world.cluster.client.clone(), OURS);
    Followed::of(move || {
        let secrets = secrets.clone();
        async move {
            let secret = secrets.get_opt("ecr-pull-secrets-tls").await.ok().flatten();
            Some(secret?.data?.remove("tls.crt")?.0)
        }
    })
}

/// Times of the Events about missed pods, by uid of the pod, and how many pods the others count.
async fn told(world: &NodeWorld) -> (BTreeMap<String, Timestamp>, usize) {
    let events: Api<Event> = Api::all(world.cluster.client.clone());
    let params = ListParams::default().fields("reason=PodMissed");
    let events = events.list(&params).await.expect("Events");
    let is_pod = |event: &Event| event.involved_object.kind.as_deref() == Some("Pod");
    let (pods, groups): (Vec<_>, Vec<_>) = events.items.into_iter().partition(is_pod);
    let counts = groups.iter().map(|event| event.series.as_ref()?.count);
    let counted = counts.map(|count| usize::try_from(count.unwrap_or(1)).unwrap_or(0));
    let told = pods.into_iter();
    let told = told.filter_map(|event| Some((event.involved_object.uid?, event.event_time?.0)));
    (told.collect(), counted.sum())
}

fn set_policy(world: &NodeWorld, policy: &str) {
    let change = json!([{ "op": "replace", "path": "/webhooks/0/failurePolicy", "value": policy }]);
    patch(
        world,
        "mutatingwebhookconfiguration/zz-ecr-pull-secrets",
        &change,
    );
}

fn patch(world: &NodeWorld, object: &str, change: &serde_json::Value) {
    let mut kubectl = world.kubectl();
    kubectl.args(["-n", OURS, "patch", object, "--type=json", "--patch"]);
    run(kubectl.arg(change.to_string()));
}

/// Sets lifetimes of seconds for certificates and connections, and removes the older ones.
async fn live_short(world: &NodeWorld) {
    world.run_kubectl(&format!("-n {OURS} scale deployment {OURS} --replicas=0"));
    eventually("no replica", LIMIT, || async {
        processes().is_empty().then_some(())
    })
    .await;
    world.run_kubectl(&format!("-n {OURS} delete secret ecr-pull-secrets-tls"));
    let arguments = [
        format!("--certificate-lifetime={CERTIFICATE}"),
        format!("--connection-age={CONNECTION}"),
    ];
    let change = arguments.map(|argument| {
        let path = "/spec/template/spec/containers/0/args/-";
        json!({ "op": "add", "path": path, "value": argument })
    });
    patch(world, &format!("deployment/{OURS}"), &json!(change));
    world.run_kubectl(&format!("-n {OURS} scale deployment {OURS} --replicas=2"));
    world.roll_out();
}

fn restart(world: &NodeWorld) {
    world.run_kubectl(&format!("-n {OURS} rollout restart deployment {OURS}"));
    world.roll_out();
}

/// Waits until each replica answers its share of the reviews from now on; the shares.
async fn shared(world: &NodeWorld) -> String {
    let before = reviews(world);
    eventually("each replica has its share", 2 * LIMIT, || async {
        let since: Vec<f64> = reviews(world)
            .into_iter()
            .map(|(pod, count)| count - before.get(&pod).unwrap_or(&0.0))
            .collect();
        let all: f64 = since.iter().sum();
        let is_shared = since.len() == 2 && all > 100.0;
        (is_shared && since.iter().all(|one| one * SHARE > all)).then(|| {
            let shares = since
                .iter()
                .map(|one| format!("{:.0} %", one * 100.0 / all));
            shares.collect::<Vec<_>>().join(" and ")
        })
    })
    .await
}

/// Number of reviews that each replica has answered.
fn reviews(world: &NodeWorld) -> BTreeMap<String, f64> {
    let all = metrics(world).into_iter();
    all.map(|(pod, text)| {
        (
            pod,
            value(&text, "ecr_pull_secrets_admission_requests_total"),
        )
    })
    .collect()
}

/// Metrics of each ready replica.
fn metrics(world: &NodeWorld) -> BTreeMap<String, String> {
    let ready = r#"jsonpath={range .items[?(@.status.containerStatuses[0].ready==true)]}{.metadata.name}{"\n"}{end}"#;
    let mut kubectl = world.kubectl();
    let pods = run(kubectl.args(["-n", OURS, "get", "pods", "-o", ready]));
    let scrape = |pod: &str| {
        let path = format!("/api/v1/namespaces/{OURS}/pods/{pod}:8080/proxy/metrics");
        let mut kubectl = world.kubectl();
        let output = kubectl
            .args(["get", "--raw", &path])
            .output()
            .expect("kubectl runs");
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| (pod.to_owned(), text))
    };
    pods.lines().filter_map(scrape).collect()
}

/// Sum of all series of a metric.
fn value(text: &str, metric: &str) -> f64 {
    let of = |line: &str| {
        let rest = line.strip_prefix(metric)?;
        rest.starts_with(['{', ' ']).then_some(())?;
        rest.rsplit(' ').next()?.parse::<f64>().ok()
    };
    text.lines().filter_map(of).sum()
}

/// Process ids of our containers, as the machine counts them.
fn processes() -> Vec<u32> {
    let all = std::fs::read_dir("/proc").expect("/proc").flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter(|number: &u32| {
            let line = std::fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
            line.starts_with(b"/ecr-pull-secrets\0serve\0")
        })
        .collect()
}

/// All values that a poll has seen.
struct Followed<T> {
    seen: Arc<Mutex<BTreeSet<T>>>,
    task: JoinHandle<()>,
}

impl<T: Ord + Clone + Send + 'static> Followed<T> {
    fn of<F>(look: impl Fn() -> F + Send + 'static) -> Self
    where
        F: Future<Output = Option<T>> + Send,
    {
        let seen: Arc<Mutex<BTreeSet<T>>> = Arc::default();
        let collected = seen.clone();
        let task = tokio::spawn(async move {
            loop {
                let value = look().await;
                collected.lock().expect("no panic").extend(value);
                // A poll interval, shorter than the lifetime of a certificate and any leader's term.
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        });
        Self { seen, task }
    }

    fn seen(&self) -> BTreeSet<T> {
        self.seen.lock().expect("no panic").clone()
    }

    fn count(&self) -> usize {
        self.seen.lock().expect("no panic").len()
    }
}

impl<T> Drop for Followed<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}
