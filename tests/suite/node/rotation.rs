//! Tokens with lifetimes of seconds, a registry that rejects expired ones, and pods that pull all the
//! time. The replicas have no keys: their sessions last for a minute.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use aws_stand_in::client::Region;
use aws_stand_in::spec::{Action, Fault, Verdict};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};

use super::keyless::Keyless;
use super::world::NodeWorld;
use crate::frame::trials;
use crate::harness::namespace::{Namespace, SECRET, references};
use crate::harness::recorder::Recorder;
use crate::harness::world::OURS;
use crate::harness::{LIMIT, Outcome, eventually};
use crate::oidc::site::SESSION;

trials!(no_pull_fails_while_tokens_live_for_seconds);

/// Lifetime of a token.
const LIFE: Duration = Duration::from_secs(20);
/// Pause between two pods.
const PACE: Duration = Duration::from_secs(3);

/// Number of token lifetimes that the test lasts: `ROTATION_LIFETIMES`, which `make soak` sets.
fn lifetimes() -> u32 {
    let given = std::env::var("ROTATION_LIFETIMES").ok();
    given.map_or(10, |text| text.parse().expect("a number"))
}

async fn no_pull_fails_while_tokens_live_for_seconds(world: Arc<NodeWorld>) -> Outcome {
    let keyless = Keyless::begin(&world).await;
    world.run_kubectl(&format!("-n {OURS} scale deployment {OURS} --replicas=3"));
    world.run_kubectl(&format!(
        "-n {OURS} rollout status deployment {OURS} --timeout=120s"
    ));
    let region = world.second_region();
    let seconds = i64::try_from(LIFE.as_secs())?;
    region.fault(Fault::Lifetime { seconds }).await?;
    let recorder = Recorder::of_api(world.cluster.client.clone());

    // Only rotation renews this Secret: no further pod comes to its namespace.
    let quiet = namespace(&world, &region).await;
    quiet.create::<Pod>(pod("again", "Always", &quiet)).await?;
    let name = region.name();
    eventually("the first token", LIMIT, || async { recorder.stored(name) }).await;
    let calls = || async {
        let calls = region.total(Action::GetAuthorizationToken).await;
        calls.expect("a count").total
    };
    let (begun, first_calls) = (Instant::now(), calls().await);
    let first_sessions = keyless.sessions().await;
    let first_tokens = recorder.stored_ever(name);

    let mut namespaces = Vec::new();
    let mut pods = JoinSet::new();
    let mut ticks = interval(PACE);
    let end = LIFE * lifetimes();
    for number in 0.. {
        ticks.tick().await;
        if begun.elapsed() > end {
            break;
        }
        // Half of the pods go to the oldest namespace, the others to the newest.
        if number % 8 < 2 {
            namespaces.push(Arc::new(namespace(&world, &region).await));
        }
        let place = if number % 2 == 0 {
            0
        } else {
            namespaces.len() - 1
        };
        pods.spawn(ends_well(namespaces[place].clone(), number));
        while let Some(ended) = pods.try_join_next() {
            ended?;
        }
    }
    let (elapsed, calls, tokens) = (begun.elapsed(), calls().await, recorder.stored_ever(name));
    let renewed = keyless.sessions().await - first_sessions;
    while let Some(ended) = pods.join_next().await {
        ended?;
    }

    for namespace in namespaces.iter().map(AsRef::as_ref).chain([&quiet]) {
        assert_no_pull_failed(namespace).await;
    }
    let restarts = restarts(&quiet).await;
    assert!(restarts > 0, "the quiet pod never pulled again");
    let mut pulled = 0;
    let fine = BTreeSet::from([Verdict::Accepted, Verdict::Unauthenticated]);
    for count in region.pulls().await? {
        // A container runtime first asks without credentials.
        assert!(fine.contains(&count.verdict), "{count:?}");
        if count.verdict == Verdict::Accepted && count.object == "manifest" {
            pulled += count.total;
        }
    }
    let names: Vec<&str> = namespaces
        .iter()
        .map(|namespace| namespace.name.as_str())
        .chain([quiet.name.as_str()])
        .collect();
    recorder.assert_sound_in(&names);

    let calls = calls - first_calls;
    let scheduled = elapsed.as_secs() / (LIFE.as_secs() / 2);
    println!(
        "{pulled} pulls, {restarts} of them of a pod that restarted, in {} namespaces; \
         {} versions of Secrets; {calls} calls of AWS with {renewed} more sessions in {:.0} s",
        names.len(),
        recorder.versions(),
        elapsed.as_secs_f64()
    );
    // One call for each renewal: as many as tokens in the store, and as many as were scheduled.
    assert!(calls <= scheduled + 1, "{calls} calls for {scheduled}");
    assert!(calls + 1 >= scheduled * 9 / 10, "{calls} for {scheduled}");
    let tokens = (tokens - first_tokens) as u64;
    assert!(calls.abs_diff(tokens) <= 1, "{calls} calls for {tokens}");
    // A session serves until ten seconds before its end, and at most another half of a token's lifetime.
    let least = elapsed.as_secs() / SESSION;
    assert!(renewed >= least, "{renewed} sessions for {least}");
    keyless.end();
    Ok(())
}

async fn namespace(world: &NodeWorld, region: &Region) -> Namespace {
    Namespace::in_region(world, region.clone(), json!({})).await
}

/// A pod that ends at once, and restarts as its policy says.
fn pod(name: &str, restart: &str, namespace: &Namespace) -> Value {
    let mut pod = crate::harness::namespace::pod(name, &namespace.image("tool"));
    pod["spec"]["restartPolicy"] = json!(restart);
    pod["spec"]["containers"][0]["imagePullPolicy"] = json!("Always");
    pod
}

/// Creates a pod, waits until it has succeeded, and deletes it.
async fn ends_well(namespace: Arc<Namespace>, number: u32) {
    let name = format!("pod-{number}");
    let created = namespace.create::<Pod>(pod(&name, "Never", &namespace));
    let created = created.await.expect("the pod is admitted");
    assert_eq!(references(&created), [SECRET]);
    let pods: Api<Pod> = namespace.api();
    let what = format!("the end of {}/{name}", namespace.name);
    eventually(&what, 2 * LIMIT, || async {
        let pod = pods.get(&name).await.ok()?;
        (pod.status?.phase? == "Succeeded").then_some(())
    })
    .await;
    let params = DeleteParams::default().grace_period(0);
    pods.delete(&name, &params).await.expect("it can go");
}

async fn restarts(namespace: &Namespace) -> i32 {
    let pods: Api<Pod> = namespace.api();
    let pods = pods.list(&ListParams::default()).await.expect("a list");
    let statuses = pods.items.into_iter().filter_map(|pod| pod.status);
    let containers = statuses.flat_map(|status| status.container_statuses.unwrap_or_default());
    containers.map(|container| container.restart_count).sum()
}

/// Fails if an Event of the namespace reports a failed pull, for any reason.
async fn assert_no_pull_failed(namespace: &Namespace) {
    let events: Api<Event> = namespace.api();
    let events = events.list(&ListParams::default()).await.expect("events");
    for event in events.items {
        let reason = event.reason.as_deref().unwrap_or_default();
        let message = event.message.as_deref().unwrap_or_default();
        let bad = ["FailedToRetrieveImagePullSecret", "Failed", "InspectFailed"];
        let is_bad = bad.contains(&reason) || message.contains("pull") && reason == "BackOff";
        assert!(!is_bad, "{}: {reason}: {message}", namespace.name);
    }
}
