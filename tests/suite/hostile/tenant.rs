//! A tenant with the stock role `edit` in two namespaces does its worst, for minutes and without a pause.
//! Replicas start, lead, renew tokens and serve others meanwhile, with the chart's memory limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_stand_in::client::Region;
use aws_stand_in::spec::{Action, Verdict};
use ecr_pull_secrets_core::cause::Cause;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::api::{ListParams, PostParams};
use libtest_mimic::Trial;
use serde_json::json;
use tokio::time::{Instant, interval};

use crate::belief::lives;
use crate::frame::trial;
use crate::harness::memory::MemoryGroup;
use crate::harness::namespace::{Namespace, SECRET, pod, references};
use crate::harness::tenant::{FORGED, INVENTED, Tenant};
use crate::harness::{LIMIT, Outcome, World, docker, eventually};
use crate::node::is_root_on_linux;

/// The least time for which the tenant disturbs.
const DISTURBED: Duration = Duration::from_secs(120);
/// Lifetime of the tokens that are renewed meanwhile, in seconds.
const LIFE: i64 = 60;
/// The least time between two renewals of such a token, in seconds: half of its lifetime, which is
/// too short to be spread. A second less, because AWS rounds.
const LEAST_APART: i64 = LIFE / 2 - 1;
/// New regions that one namespace may bring to a replica within ten minutes.
const NEW_REGIONS: u64 = 16;

/// The longest time between two renewals of such a token while a leader runs, in seconds: half of the
/// lifetime, and half of what is left then. The rest of the schedule takes seconds, and on a busy machine a
/// multiple of that.
const MOST_APART: i64 = LIFE * 3 / 4;
/// The least number of rounds of the disturbance beside each replica.
const ROUNDS: usize = 4;
/// The limit of one of them: it takes 20 s alone, and has been seen to take 65 s beside other tests and builds.
const ROUND_LIMIT: Duration = Duration::from_secs(180);
/// The time between two pods of an honest namespace.
const PACE: Duration = Duration::from_secs(1);

/// The tests of this module. They need a control group, which root can make on Linux. Elsewhere they are ignored
/// if there is none.
pub(crate) fn trials() -> Vec<Trial> {
    let name = "hostile::tenant::hostile_tenant_hurts_only_itself";
    let trial = trial(name, world, hostile_tenant_hurts_only_itself);
    let is_ignored = !is_root_on_linux() && MemoryGroup::new().is_none();
    vec![trial.with_ignored_flag(is_ignored)]
}

/// A world of its own, in which the tested replica leads.
async fn world() -> Arc<World> {
    World::builder().log_level("info").start().await
}

/// Whether an Event in the tenant's namespace names the cause.
async fn is_told(tenant: &Namespace, cause: Cause) -> bool {
    let events = tenant.api::<Event>();
    let params = ListParams::default().fields(&format!("reason={}", cause.reason()));
    let events = events.list_metadata(&params).await.expect("Events");
    !events.items.is_empty()
}

/// The tenant does its worst, again and again. It copies a Secret of an honest namespace.
async fn disturb(tenant: &Tenant, honest: &Namespace, rounds: &AtomicUsize) {
    for round in 0.. {
        tenant.invent_regions(round).await;
        tenant.disturb().await;
        tenant.stir_missed_pods(round).await;
        tenant.fail_pulls().await;
        tenant.flip_labels_of_secret().await;
        if let Some(secret) = honest.secret().await {
            tenant.copy_secret(&secret).await;
        }
        rounds.fetch_add(1, Ordering::Relaxed);
    }
}

/// Creates pods in an honest namespace for as long as `work` takes, and fails unless each gets its reference. None
/// is stored.
async fn while_pods_come<T>(honest: &Namespace, work: impl Future<Output = T>) -> T {
    let (pods, mut ticks) = (honest.api::<Pod>(), interval(PACE));
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let one = serde_json::from_value(pod("one-more", &honest.image("app"))).expect("a pod");
    let create = async {
        loop {
            ticks.tick().await;
            let created = pods.create(&params, &one).await.expect("a pod");
            assert_eq!(references(&created), [SECRET]);
        }
    };
    tokio::select! {
        result = work => result,
        () = create => unreachable!("it has no end"),
    }
}

/// Waits until all of these namespaces have the newest token of their region, another than `last`, and
/// say so.
///
/// This is what the schedule gives them without the tenant, to the second: `expires-at` of each is the
/// expiry of the one token that AWS minted last.
async fn renewed(namespaces: &[Namespace], last: Option<&Secret>) -> Secret {
    let (first, others) = namespaces.split_first().expect("a namespace");
    let token = |secret: &Secret| docker::auth(secret, &first.host());
    let last = last.map(token);
    eventually("the newest token in each namespace", LIMIT, || async {
        let secret = first.secret().await?;
        let newest = *first.region.expiries().await.expect("expiries").last()?;
        let expires_at = docker::annotation(&secret, "expires-at").to_owned();
        let stated: jiff::Timestamp = expires_at.parse().ok()?;
        let is_newest = (stated.as_second() - newest).abs() <= 1;
        if last == Some(token(&secret)) || !is_newest {
            return None;
        }
        for other in others {
            let other = other.secret().await?;
            let is_same = token(&other) == token(&secret);
            if !is_same || docker::annotation(&other, "expires-at") != expires_at {
                return None;
            }
        }
        let verdict = first.verdict(&secret, "app").await;
        (verdict == Verdict::Accepted).then_some(secret)
    })
    .await
}

/// Fails unless AWS minted the tokens of a region as the schedule says: a renewal for all namespaces at
/// half of a lifetime, never before, and before the last token expired. No replica ran when the first one was
/// killed, in Unix seconds.
async fn assert_on_schedule(region: &Region, killed: i64) {
    let expiries = region.expiries().await.expect("expiries");
    // All tokens have one lifetime, so their expiries are as far apart as the calls.
    for calls in expiries.windows(2) {
        let apart = calls[1] - calls[0];
        let minted = calls[0] - LIFE..=calls[1] - LIFE;
        let most = if minted.contains(&killed) {
            LIFE
        } else {
            MOST_APART
        };
        assert!((LEAST_APART..most).contains(&apart), "{expiries:?}");
    }
}

/// Fails unless each call of a region brought a token.
async fn assert_no_needless_call(region: &Region) {
    let minted = region.expiries().await.expect("expiries").len() as u64;
    let calls = region.total(Action::GetAuthorizationToken).await;
    assert_eq!(calls.expect("counts").total, minted);
}

async fn hostile_tenant_hurts_only_itself(world: Arc<World>) -> Outcome {
    let group = MemoryGroup::new().expect("a control group");
    let tenant = Arc::new(Tenant::new(&world).await);
    let lasting = Arc::new(Namespace::new(&world).await);
    let mut short_lived = vec![Namespace::new(&world).await];
    let region = short_lived[0].region.clone();
    lives(&region, LIFE).await;
    for _ in 0..2 {
        short_lived.push(Namespace::in_region(&world, region.clone(), json!({})).await);
    }
    tenant.make_large_objects().await;
    let begun = Instant::now();
    let rounds = Arc::<AtomicUsize>::default();
    let disturbance = {
        let (tenant, lasting, rounds) = (tenant.clone(), lasting.clone(), rounds.clone());
        tokio::spawn(async move { disturb(&tenant, &lasting, &rounds).await })
    };
    let (mut served, mut killed) = (None, None);
    for restart in 0..2 {
        let replica = world.add_replica(|launch| launch.memory(&group));
        world.route().await;
        // It has listed all pods.
        eventually("the replica leads", LIMIT, || async {
            let log = std::fs::read_to_string(&replica.log).expect("a log");
            log.contains("checked all pods").then_some(())
        })
        .await;
        let before = rounds.load(Ordering::Relaxed);
        if restart == 0 {
            tenant.pod_of_many_registries().await;
        }
        for honest in short_lived.iter().chain([&*lasting]) {
            let name = format!("honest-{restart}");
            let pod = honest.pod(&name, &honest.image("app")).await;
            assert_eq!(references(&pod), [SECRET]);
        }
        // One token and one write for all of it, as without the tenant.
        let secret = lasting.assert_opens().await;
        let served = served.get_or_insert(secret);
        let mut last = renewed(&short_lived, None).await;
        last = while_pods_come(&lasting, renewed(&short_lived, Some(&last))).await;
        while restart == 1 && begun.elapsed() < DISTURBED {
            last = while_pods_come(&lasting, renewed(&short_lived, Some(&last))).await;
        }
        for round in 1..=ROUNDS {
            eventually("a further round of the tenant", ROUND_LIMIT, || async {
                assert!(!disturbance.is_finished(), "the tenant has stopped");
                (rounds.load(Ordering::Relaxed) >= before + round).then_some(())
            })
            .await;
        }
        docker::assert_unwritten(served, &lasting.assert_opens().await);
        eventually("an Event that names the cause", LIMIT, || async {
            is_told(&tenant.namespace, Cause::TooManyRegistries)
                .await
                .then_some(())
        })
        .await;
        assert!(!disturbance.is_finished(), "the tenant has stopped");
        assert_eq!(group.kills(), 0, "restart {restart}");
        world.kill(&replica);
        killed.get_or_insert(ecr_pull_secrets::clock::now().as_second());
    }
    disturbance.abort();
    assert_on_schedule(&region, killed.expect("a time")).await;
    for honest in [&region, &lasting.region] {
        assert_no_needless_call(honest).await;
    }
    assert_eq!(lasting.region.expiries().await?.len(), 1);
    // What pods invent is limited, and what a Secret invents costs nothing.
    let calls = world.aws.calls().await?;
    let calls_of = |regions: &str| -> u64 {
        let those = calls.iter().filter(|call| call.region.starts_with(regions));
        those.map(|call| call.total).sum()
    };
    let invented = calls_of(INVENTED);
    assert!((1..=2 * NEW_REGIONS).contains(&invented), "{invented}");
    assert_eq!(calls_of(FORGED), 0);
    world.stop();
    Ok(())
}
