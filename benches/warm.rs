//! A warm admission over TLS, beside a handler that does nothing on the same listener.
//!
//! Server and client have a core each. The control plane is frozen meanwhile: it takes no core, and a call
//! to it would hang. AWS counts its calls.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use aws_stand_in::spec::Action;
use serde_json::Value;

use crate::cores::{CLIENT, SERVER, on_core};
use crate::harness::namespace::ACCOUNT;
use crate::harness::replica::Replica;
use crate::harness::tools::{root, run, tool};
use crate::load;
use crate::nothing::{Handler, Nothing};
use crate::report::{Report, few, median};
use crate::site::{Site, name};

/// Size of the review, in bytes.
const SIZE: usize = 4096;
/// Connections of wrk.
const CONNECTIONS: usize = 16;
/// Length of a turn, in seconds.
const SECONDS: u64 = 6;
/// Turns of each handler.
const TURNS: usize = 7;
/// Length of the open loop, in seconds.
const LATENCY_SECONDS: u64 = 20;
/// Components that would take a core.
const COMPONENTS: [&str; 3] = ["kube-controller-manager", "kube-apiserver", "etcd"];

/// Measures it.
pub async fn measure(report: &mut Report) {
    println!("warm: one core a side");
    let site = Site::start().await;
    site.namespaces(0..1).await;
    let replica = on_core(SERVER, || site.start_replica());
    replica.ready().await;
    site.first_secret(&replica).await;
    let files = tempfile::tempdir().expect("a folder");
    let (body, script) = wrk_files(files.path(), &review(&site));
    let nothing = on_core(SERVER, || Nothing::start(&site, Handler::Constant));
    nothing.ready().await;
    let calls = site.region.total(Action::GetAuthorizationToken).await;
    for component in COMPONENTS {
        site.cluster.command(&format!("freeze {component}"));
    }
    let injected = injected(&replica).await;

    let (ours, theirs) = (replica.https.to_string(), nothing.address.to_string());
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for turn in 0..=few(TURNS) {
        let ours = wrk(&script, &ours);
        let theirs = wrk(&script, &theirs);
        // The first turn warms all caches.
        if turn > 0 {
            println!("  ours {ours:.0}/s, nothing {theirs:.0}/s");
            with.push(ours);
            without.push(theirs);
        }
    }
    // Within a turn the machine is the same, so the ratios are compared and not the medians.
    let ratios: Vec<f64> = with.iter().zip(&without).map(|(a, b)| a / b).collect();
    let (with, without) = (median(&with), median(&without));
    report.figure("admission_vs_do_nothing", median(&ratios));
    let latency = load::measure(&ours, with / 2.0, LATENCY_SECONDS, &body);
    let beside = load::measure(&theirs, with / 2.0, LATENCY_SECONDS, &body);
    report.figure("admission_p99_ms", latency.p99);
    report.figure("do_nothing_p99_ms", beside.p99);

    let answered = injected_since(&replica, injected).await;
    let degraded = replica
        .metric("ecr_pull_secrets_admission_requests_total", &["degraded"])
        .await;
    assert!(degraded == 0.0, "{degraded} answers were degraded");
    let after = site.region.total(Action::GetAuthorizationToken).await;
    let minted = after.expect("a count").total - calls.expect("a count").total;
    assert_eq!(minted, 0, "calls of AWS");
    report.note(format!(
        "warm admission of a review of {SIZE} bytes, one core, {CONNECTIONS} connections: {with:.0} a second; a \
         handler that does nothing on the same listener: {without:.0}. {answered:.0} reviews were answered with the API \
         server frozen and no call of AWS. At {:.0} a second: p50 {:.2} ms, p99 {:.2} in all and {:.2} in the middle second, the slowest \
         {:.2} ({:.2}, {:.2}, {:.2}, {:.2} by the one that does nothing)",
        latency.rate,
        latency.p50,
        latency.p99,
        latency.p99_of_middle,
        latency.most,
        beside.p50,
        beside.p99,
        beside.p99_of_middle,
        beside.most,
    ));
    site.stop();
}

/// Review of a Deployment's pod with an image of this site's registry, padded to the size.
fn review(site: &Site) -> Vec<u8> {
    let text = fs::read(root().join("tests/fixtures/reviews/deployment-pod.json"));
    let all: Value = serde_json::from_slice(&text.expect("a fixture")).expect("JSON");
    let mut review = all["review"].clone();
    let request = &mut review["request"];
    request["namespace"] = name(0).into();
    let object = &mut request["object"];
    for container in object["spec"]["containers"].as_array_mut().expect("a list") {
        container["image"] = format!("{}/app:v1", site.region.host(ACCOUNT)).into();
    }
    object["metadata"]["annotations"]["padding"] = "".into();
    let length = review.to_string().len();
    let padding = "x".repeat(SIZE.checked_sub(length).expect("it is smaller"));
    review["request"]["object"]["metadata"]["annotations"]["padding"] = padding.into();
    review.to_string().into_bytes()
}

/// Files of the body and of the script that sends it.
fn wrk_files(folder: &Path, review: &[u8]) -> (PathBuf, PathBuf) {
    let (body, script) = (folder.join("review.json"), folder.join("post.lua"));
    fs::write(&body, review).expect("a file");
    let mut lua = fs::File::create(&script).expect("a file");
    writeln!(
        lua,
        "local file = io.open('{}', 'rb')\nwrk.body = file:read('*a')\nwrk.method = 'POST'\n\
         wrk.headers['Content-Type'] = 'application/json'",
        body.display()
    )
    .expect("a file");
    (body, script)
}

/// Requests per second, each answered with 200.
fn wrk(script: &Path, address: &str) -> f64 {
    let said = on_core(CLIENT, || {
        let mut command = Command::new(tool("wrk"));
        command.args(["--threads", "1", "--connections", &CONNECTIONS.to_string()]);
        command.arg(format!("--duration={}s", few(SECONDS as usize)));
        command.arg("--script").arg(script);
        run(command.arg(format!("https://{address}/mutate?timeout=5s")))
    });
    let errors = ["Non-2xx", "Socket errors"];
    assert!(!errors.iter().any(|error| said.contains(error)), "{said}");
    let rate = said
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:"));
    rate.and_then(|rate| rate.trim().parse().ok())
        .expect("a rate")
}

async fn injected(replica: &Replica) -> f64 {
    let name = "ecr_pull_secrets_admission_requests_total";
    replica.metric(name, &["outcome=\"injected\""]).await
}

async fn injected_since(replica: &Replica, before: f64) -> f64 {
    let since = injected(replica).await - before;
    assert!(since > 0.0, "reviews were answered");
    since
}
