//! AWS is down from just before a renewal until shortly before the token expires, and all replicas are
//! replaced meanwhile. So the tokens that pods need come from the token store.

use std::sync::Arc;
use std::time::Duration;

use aws_stand_in::client::Region;
use aws_stand_in::spec::{Action, Fault, Verdict};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use tokio::time::Instant;

use super::fleet::{CONVERGENCE, Fleet};
use crate::frame::trials;
use crate::harness::namespace::{Namespace, SECRET, references};
use crate::harness::{LIMIT, Outcome, eventually};

trials!(pods_pull_through_an_aws_outage_with_restarts);

/// Lifetime of a token, in seconds.
const LIFE: i64 = 60;
/// Number of old namespaces, and of new ones in each round.
const MANY: usize = 10;

async fn pods_pull_through_an_aws_outage_with_restarts(fleet: Arc<Fleet>) -> Outcome {
    let region = fleet.aws.region("outage-land-1");
    let lifetime = Fault::Lifetime { seconds: LIFE };
    region.fault(lifetime.clone()).await?;
    let old = join_all((0..MANY).map(|_| namespace(&fleet, &region))).await;
    join_all(old.iter().map(|old| pod(old, "first"))).await;
    for old in &old {
        old.assert_opens().await;
    }
    let stored = || fleet.recorder.stored(region.name());
    let token = eventually("the token in the store", LIMIT, || async { stored() }).await;
    // Every replica minted at most one token. The store holds the one with the latest expiry.
    let until = |tenths: i64| left_until(token.expires - LIFE * (10 - tenths) / 10);

    tokio::time::sleep(until(4)).await;
    let refused = Fault::Error {
        code: "ServerException".to_owned(),
        status: 500,
        message: "try later".to_owned(),
    };
    region
        .fault_of(Action::GetAuthorizationToken, refused)
        .await?;
    let begun = Instant::now();
    let before = region.total(Action::GetAuthorizationToken).await?;
    eventually("a renewal that fails", LIMIT, || async {
        let calls = region.total(Action::GetAuthorizationToken).await.ok()?;
        (calls.failed > before.failed).then_some(())
    })
    .await;
    for replica in fleet.replicas() {
        fleet.kill(&replica);
    }
    fleet.complete().await;

    let mut rounds = 0;
    while !until(9).is_zero() {
        let new = join_all((0..MANY).map(|_| namespace(&fleet, &region))).await;
        let all = || old.iter().chain(&new);
        let name = format!("round-{rounds}");
        for pod in join_all(all().map(|namespace| pod(namespace, &name))).await {
            assert_eq!(references(&pod), [SECRET]);
        }
        for namespace in all() {
            let secret = namespace.secret_comes().await;
            // The last round may end after the outage was to end.
            let verdict = namespace.verdict(&secret, "app").await;
            assert_eq!(verdict, Verdict::Accepted, "in round {rounds}");
        }
        rounds += 1;
    }
    let calls = region.total(Action::GetAuthorizationToken).await?;
    assert_eq!(calls.succeeded, before.succeeded, "AWS was not down");
    // The leader pauses for at least half a second. The SDK may try each call twice.
    let most = 4 * (begun.elapsed().as_secs() + 1);
    assert!(calls.total - before.total < most, "{calls:?} in {begun:?}");
    println!("{rounds} rounds of pods while AWS was down: {calls:?}");

    region.clear_faults().await?;
    eventually("the next token in every Secret", CONVERGENCE, || async {
        let next = stored().filter(|next| next.token != token.token)?;
        let holders = fleet.recorder.holders(next.token);
        (holders == MANY * (rounds + 1)).then_some(())
    })
    .await;
    fleet.recorder.assert_sound();
    Ok(())
}

async fn namespace(fleet: &Fleet, region: &Region) -> Namespace {
    Namespace::in_region(fleet, region.clone(), json!({})).await
}

async fn pod(namespace: &Namespace, name: &str) -> Pod {
    namespace.pod(name, &namespace.image("app")).await
}

/// Time left until a Unix time in seconds.
fn left_until(second: i64) -> Duration {
    let now = ecr_pull_secrets::clock::now();
    let then = jiff::Timestamp::from_second(second).expect("a time");
    then.duration_since(now)
        .try_into()
        .unwrap_or(Duration::ZERO)
}
