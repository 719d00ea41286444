//! A role for each of a thousand tenants: how often and how fast their tokens are minted, the memory of a
//! replica, and an outage of AWS with a restart in it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_stand_in::client::Region;
use aws_stand_in::spec::{Action, Fault, Role, Verdict};
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::harness::namespace::{ACCOUNT, SECRET, pod};
use crate::harness::replica::Replica;
use crate::harness::{LIMIT, docker, eventually};
use crate::process::Process;
use crate::report::{Report, few};
use crate::site::{AT_A_TIME, Site, name};

/// Number of replicas.
const REPLICAS: usize = 2;
/// Lifetime of a token in seconds, long enough for a thousand mints at four a second in half of it.
fn life() -> i64 {
    i64::try_from(few(600)).expect("a number")
}
/// Number of roles, each with one namespace.
fn roles() -> usize {
    few(1000)
}
/// Number of roles that get a second namespace during the outage.
fn later() -> usize {
    few(50)
}
/// The interval at which mints are counted.
const TICK: Duration = Duration::from_millis(250);
/// Limit of a wait for all roles.
const LONG: Duration = Duration::from_secs(600);

/// Measures it.
pub async fn measure(report: &mut Report) {
    let (roles, later) = (roles(), later());
    println!("identities: {roles} roles");
    let site = Site::start().await;
    site.namespaces(0..roles + later).await;
    site.region
        .fault(Fault::Lifetime { seconds: life() })
        .await
        .expect("a lifetime");
    for number in 0..roles {
        site.aws.role(&role(number)).await.expect("a role");
    }
    let config = config(roles, later);
    let replicas = start(&site, &config).await;

    let (mints, counted) = watch::channel(Counts::new());
    let counter = tokio::spawn(count(site.region.clone(), mints));
    let begun = Instant::now();
    pods(&site, 0..roles).await;
    let expiries = secrets(&site, 0..roles).await;
    let fan_out = begun.elapsed();
    report.figure("identities_fan_out_s", fan_out.as_secs_f64());
    let minted = total(&counted);

    // From here on, each token is renewed once in half of its lifetime.
    let half = Duration::from_secs(life().unsigned_abs() / 2);
    sleep(half).await;
    let renewed = total(&counted) - minted;
    report.figure("identities_mints_per_half_life", renewed as f64);
    let (shared, expiries) = (&site, &expiries);
    let is_next = move |number: usize, secret: &Secret| expires_at(secret) != expiries[&number];
    stream::iter(0..roles)
        .for_each_concurrent(AT_A_TIME, |number| async move {
            eventually("the next token", LONG, || async {
                let secret = secret(shared, number).await?;
                is_next(number, &secret).then_some(())
            })
            .await;
        })
        .await;
    report.figure("identities_mints_per_second", most_in_a_second(&counted));
    let leader = leader(&replicas).await;
    let process = Process::of(&leader);
    report.figure("identities_rss_mib", process.mib("VmRSS"));
    let peak = process.mib("VmHWM");

    let failing = Fault::Error {
        code: "ServerException".to_owned(),
        status: 500,
        message: "try later".to_owned(),
    };
    for action in [Action::GetAuthorizationToken, Action::AssumeRole] {
        let fault = site.region.fault_of(action, failing.clone());
        fault.await.expect("a fault");
    }
    for replica in replicas {
        replica.stop();
    }
    let before = total(&counted);
    let restarted = Instant::now();
    let replicas = start(&site, &config).await;
    let ready = restarted.elapsed().as_secs_f64();
    pods(&site, roles..roles + later).await;
    let mut pulls = 0;
    for number in roles..roles + later {
        let secret = eventually("a Secret during the outage", LIMIT, || {
            secret(&site, number)
        });
        let host = site.region.host(ACCOUNT);
        let auth = docker::auth(&secret.await, &host);
        let opens = site.aws.registry_opens(&host, "app", &auth).await;
        pulls += usize::from(opens.expect("an answer") == Verdict::Accepted);
    }
    assert_eq!(total(&counted), before, "AWS was down");
    report.figure("identities_outage_pulls", pulls as f64);
    report.note(format!(
        "{roles} roles with tokens of {} s: {minted} mints until each had one, {renewed} in the next {} s; leader \
         {peak:.1} MiB at the peak; after a restart during an outage, {REPLICAS} replicas are ready in {ready:.1} s \
         and {pulls} of {later} new namespaces pull",
        life(),
        half.as_secs(),
    ));
    counter.abort();
    drop(replicas);
    site.stop();
}

fn role(number: usize) -> Role {
    Role {
        arn: format!("arn:aws:iam::210987654321:role/tenants/tenant-{number}"),
        external_id: None,
        trusts: vec![aws_stand_in::DEFAULT_ARN.to_owned()],
        web_identities: Vec::new(),
        max_session_seconds: 3600,
    }
}

/// A rule for each role: its namespace, and for the first ones a second namespace.
fn config(roles: usize, later: usize) -> String {
    let rule = |number: usize| {
        let second = (number < later).then(|| name(roles + number));
        let namespaces: Vec<String> = [Some(name(number)), second].into_iter().flatten().collect();
        json!({ "namespaces": namespaces, "assumeRole": { "roleArn": role(number).arn } })
    };
    let rules: Vec<Value> = (0..roles).map(rule).collect();
    json!({ "apiVersion": "ecr-pull-secrets.dev/v1", "kind": "Config", "rules": rules }).to_string()
}

/// Starts the replicas and routes the Service to them.
async fn start(site: &Site, config: &str) -> Vec<Arc<Replica>> {
    let launch = |_| Arc::new(site.next_replica().config(config).start());
    let replicas: Vec<Arc<Replica>> = (0..REPLICAS).map(launch).collect();
    site.route_to(&replicas).await;
    replicas
}

/// Creates a pod in each namespace; no scheduler looks for it.
async fn pods(site: &Site, numbers: std::ops::Range<usize>) {
    let mut pod = pod("pod", &format!("{}/app:v1", site.region.host(ACCOUNT)));
    pod["spec"]["schedulerName"] = json!("none");
    let pod: Pod = serde_json::from_value(pod).expect("a pod");
    stream::iter(numbers)
        .for_each_concurrent(AT_A_TIME, |number| {
            let pods: Api<Pod> = Api::namespaced(site.cluster.client.clone(), &name(number));
            let pod = &pod;
            async move {
                let created = pods.create(&PostParams::default(), pod).await;
                let created = created.expect("a pod").spec.expect("a spec");
                let references = created.image_pull_secrets.unwrap_or_default();
                assert_eq!(references.len(), 1, "the pod has the reference");
            }
        })
        .await;
}

/// Waits for the Secrets of namespaces; when their tokens expire.
async fn secrets(site: &Site, numbers: std::ops::Range<usize>) -> BTreeMap<usize, String> {
    let waits = stream::iter(numbers).map(|number| async move {
        let secret = eventually("a pull Secret", LONG, || secret(site, number)).await;
        (number, expires_at(&secret))
    });
    waits.buffer_unordered(AT_A_TIME).collect().await
}

async fn secret(site: &Site, number: usize) -> Option<Secret> {
    let secrets: Api<Secret> = Api::namespaced(site.cluster.client.clone(), &name(number));
    secrets.get_opt(SECRET).await.expect("an answer")
}

fn expires_at(secret: &Secret) -> String {
    docker::annotation(secret, "expires-at").to_owned()
}

async fn leader(replicas: &[Arc<Replica>]) -> Arc<Replica> {
    eventually("a leader", LIMIT, || async {
        for replica in replicas {
            if replica.metric("ecr_pull_secrets_leader", &[]).await > 0.0 {
                return Some(replica.clone());
            }
        }
        None
    })
    .await
}

/// Number of minted tokens at points in time.
type Counts = Vec<(Instant, u64)>;

/// Records how many tokens the stand-in has minted.
async fn count(region: Region, mints: watch::Sender<Counts>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let at = ticks.tick().await;
        let total = region.total(Action::GetAuthorizationToken).await;
        let succeeded = total.expect("counts").succeeded;
        mints.send_modify(|mints| mints.push((at, succeeded)));
    }
}

fn total(counted: &watch::Receiver<Counts>) -> u64 {
    counted.borrow().last().map_or(0, |(_, total)| *total)
}

/// The most mints within a second.
fn most_in_a_second(counted: &watch::Receiver<Counts>) -> f64 {
    let counted = counted.borrow();
    let from = counted.iter().enumerate().map(|(index, (begin, before))| {
        let later = counted[index..].iter();
        let within = later.take_while(|(at, _)| *at - *begin <= Duration::from_secs(1));
        within.last().map_or(0, |(_, total)| total - before)
    });
    from.max().unwrap_or(0) as f64
}
