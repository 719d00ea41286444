//! A thousand namespaces get their next token: from us, from a bare concurrent writer of the same Secrets,
//! and a few from the `kubectl` loop that people ran before.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use aws_stand_in::spec::Fault;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ecr_pull_secrets_core::pull_secret::annotation;
use ecr_pull_secrets_core::pull_secret::content::Described;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, watcher};
use kube::{Api, ResourceExt as _};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, sleep_until};

use crate::harness::docker;
use crate::harness::namespace::{ACCOUNT, SECRET};
use crate::harness::tools::{run, tool};
use crate::process::ready_ms;
use crate::report::{Report, few, median};
use crate::site::{Site, name};

/// Number of namespaces.
fn namespaces() -> usize {
    few(1000)
}
/// Lifetime of a token, in seconds. The bare writer has its turn between two renewals.
const LIFE: i64 = 60;
/// Turns of each writer.
const TURNS: usize = 5;
/// Number of namespaces for the loop.
const LOOPED: usize = 30;

/// Measures it.
pub async fn measure(report: &mut Report) {
    let namespaces = namespaces();
    println!("rotation: {namespaces} namespaces");
    let site = Site::start().await;
    site.namespaces(0..namespaces).await;
    let seconds = LIFE;
    site.region
        .fault(Fault::Lifetime { seconds })
        .await
        .expect("a lifetime");
    let replica = site.start_replica();
    replica.ready().await;
    let mut before = site.first_secret(&replica).await;
    site.write(&before, namespaces).await;
    // Rotation renews what pods want.
    site.pods(0..namespaces).await;

    let mut changes = changes(&site);
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for turn in 0..=few(TURNS) {
        let took = all_changed(&mut changes, due(&before)).await;
        let after = site.secret().await.expect("a Secret");
        assert_ne!(auth(&before), auth(&after), "the next token");
        // The same Secret with a token of the same length, the one that rotation just replaced. The write
        // is halfway between two of ours, so that neither pays for the clean-up of the other.
        let other = with_token_of(&after, &before);
        let begun = Instant::now() + due(&after).duration_since(Instant::now()) / 2;
        sleep_until(begun).await;
        let (written, ()) = tokio::join!(
            all_changed(&mut changes, begun),
            site.write(&other, namespaces)
        );
        before = after;
        // The first turn warms all caches, also of the API server.
        if turn > 0 {
            println!("  ours {took:.2} s, bare writer {written:.2} s");
            ours.push(took);
            bare.push(written);
        }
    }
    let (ours, bare) = (median(&ours), median(&bare));
    report.figure("rotation_vs_bare_writer", ours / bare);
    let looped = kubectl_loop(&site, &auth(&before));
    let each = |seconds: f64, count: usize| seconds * 1000.0 / count as f64;
    report.note(format!(
        "{namespaces} namespaces rotated: {ours:.2} s by us ({:.1} ms each), from the moment when the token is due; \
         {bare:.2} s by the bare writer; {LOOPED} of them by the kubectl loop: {looped:.1} s ({:.0} ms each)",
        each(ours, namespaces),
        each(looped, LOOPED),
    ));
    drop(replica);

    let mut ready = Vec::new();
    for _ in 0..TURNS {
        ready.push(ready_ms(&site.start_replica()).await);
    }
    report.figure("ready_ms", median(&ready));
    site.stop();
}

/// Namespace and time of every change of a pull Secret, as a watch delivers them.
fn changes(site: &Site) -> UnboundedReceiver<(String, Instant)> {
    let (tell, changes) = unbounded_channel();
    let secrets: Api<PartialObjectMeta<Secret>> = Api::all(site.cluster.client.clone());
    let config = Config::default().fields(&format!("metadata.name={SECRET}"));
    tokio::spawn(async move {
        let mut events = watcher(secrets, config).applied_objects().boxed();
        // An error ends the channel, which fails the waiting turn.
        while let Some(Ok(secret)) = events.next().await {
            let namespace = secret.namespace().unwrap_or_default();
            if tell.send((namespace, Instant::now())).is_err() {
                break;
            }
        }
    });
    changes
}

/// Seconds from `begun` until every Secret has changed after it.
async fn all_changed(changes: &mut UnboundedReceiver<(String, Instant)>, begun: Instant) -> f64 {
    let mut changed = BTreeSet::new();
    let mut last = begun;
    while changed.len() < namespaces() {
        let (namespace, at) = changes.recv().await.expect("the watch holds");
        if at > begun {
            changed.insert(namespace);
            last = at;
        }
    }
    (last - begun).as_secs_f64()
}

/// Time at which the Secret's token is due for renewal.
fn due(secret: &Secret) -> Instant {
    let annotations = secret.metadata.annotations.as_ref();
    let described = Described::read(|name| annotations?.get(name).map(String::as_str));
    let lifetime = described.0.values().next().expect("an entry").lifetime;
    let half = lifetime.expires_at.duration_since(lifetime.minted_at) / 2;
    let left = lifetime
        .minted_at
        .checked_add(half)
        .expect("a time")
        .duration_since(ecr_pull_secrets::clock::now());
    let left: Duration = left.try_into().expect("it was not due when it was read");
    Instant::now() + left
}

fn host(site: &Site) -> String {
    site.region.host(ACCOUNT)
}

fn auth(secret: &Secret) -> String {
    let host = docker::hosts(secret).remove(0);
    docker::auth(secret, &host)
}

/// A Secret with the token of another one.
fn with_token_of(secret: &Secret, other: &Secret) -> Secret {
    let mut secret = secret.clone();
    secret.data = other.data.clone();
    let annotations = secret.metadata.annotations.as_mut().expect("annotations");
    let fingerprint = docker::annotation(other, "fingerprint").to_owned();
    annotations.insert(annotation::FINGERPRINT.to_owned(), fingerprint);
    secret
}

/// Seconds of the second round of the loop: the first one creates the Secrets.
fn kubectl_loop(site: &Site, auth: &str) -> f64 {
    let pair = BASE64_STANDARD.decode(auth).expect("base64");
    let pair = String::from_utf8(pair).expect("text");
    let password = pair.strip_prefix("AWS:").expect("a pair");
    let round = |suffix: &str| {
        let begun = Instant::now();
        for number in 0..LOOPED {
            let script = "\"$KUBECTL\" -n \"$NS\" create secret docker-registry looped --docker-server=\"$HOST\" \
                          --docker-username=AWS --docker-password=\"$PASSWORD\" --dry-run=client -o yaml \
                          | \"$KUBECTL\" -n \"$NS\" apply -f -";
            let mut command = Command::new("sh");
            command
                .args(["-c", script])
                .env("KUBECONFIG", &site.cluster.kubeconfig)
                .env("KUBECTL", tool("kubectl"))
                .env("NS", name(number))
                .env("HOST", host(site))
                .env("PASSWORD", format!("{password}{suffix}"));
            run(&mut command);
        }
        begun.elapsed().as_secs_f64()
    };
    round("");
    round("x")
}
