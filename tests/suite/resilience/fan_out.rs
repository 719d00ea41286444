//! What breaks a fan-out in the middle does not leave a Secret behind, and no version of any Secret
//! is worse than the one before.

use std::sync::Arc;

use super::fleet::{Fleet, NAMESPACES};
use crate::frame::trials;
use crate::harness::{LIMIT, Outcome, eventually};

trials!(
    leader_killed_during_fan_out_loses_nothing,
    control_plane_killed_during_fan_out_loses_nothing,
    api_server_frozen_during_fan_out_loses_nothing,
    thawed_leader_writes_no_older_token,
);

async fn leader_killed_during_fan_out_loses_nothing(fleet: Arc<Fleet>) -> Outcome {
    fleet.populate().await;
    let leader = fleet.lease_holder().await;
    let token = fleet.mid_fan_out().await;
    fleet.kill(&leader);
    let reached = fleet.recorder.holders(token);
    assert!(reached < NAMESPACES, "it was through already");
    fleet.complete().await;
    fleet.converged().await;
    fleet.recorder.assert_sound();
    Ok(())
}

async fn control_plane_killed_during_fan_out_loses_nothing(fleet: Arc<Fleet>) -> Outcome {
    fleet.populate().await;
    let token = fleet.mid_fan_out().await;
    for component in ["etcd", "kube-apiserver"] {
        fleet.cluster.command(&format!("stop {component}"));
    }
    let reached = fleet.recorder.holders(token);
    assert!(reached < NAMESPACES, "it was through already");
    nobody_leads(&fleet).await;
    for component in ["etcd", "kube-apiserver"] {
        fleet.cluster.command(&format!("start {component}"));
    }
    fleet.converged().await;
    fleet.recorder.assert_sound();
    Ok(())
}

async fn api_server_frozen_during_fan_out_loses_nothing(fleet: Arc<Fleet>) -> Outcome {
    fleet.populate().await;
    let token = fleet.mid_fan_out().await;
    fleet.cluster.command("freeze kube-apiserver");
    let reached = fleet.recorder.holders(token);
    assert!(reached < NAMESPACES, "it was through already");
    nobody_leads(&fleet).await;
    fleet.cluster.command("thaw kube-apiserver");
    fleet.converged().await;
    fleet.recorder.assert_sound();
    Ok(())
}

async fn thawed_leader_writes_no_older_token(fleet: Arc<Fleet>) -> Outcome {
    fleet.populate().await;
    let frozen = fleet.lease_holder().await;
    let token = fleet.mid_fan_out().await;
    frozen.freeze();
    let reached = fleet.recorder.holders(token);
    assert!(reached < NAMESPACES, "it was through already");
    // Somebody else finishes what it began, and renews after that.
    let other_than = |token: u64| move |tokens: [u64; 2]| tokens[0] != token;
    let [next, _] = fleet.converged_on(other_than(token)).await;
    assert_ne!(fleet.lease_holder().await.name, frozen.name);
    frozen.thaw();
    eventually("the one that was frozen does not lead", LIMIT, || async {
        (frozen.metric("ecr_pull_secrets_leader", &[]).await < 1.0).then_some(())
    })
    .await;
    fleet.converged_on(other_than(next)).await;
    fleet.recorder.assert_sound();
    Ok(())
}

/// Waits until every replica knows that its lease is over.
async fn nobody_leads(fleet: &Fleet) {
    eventually("nobody leads", LIMIT, || async {
        for replica in fleet.replicas() {
            if replica.metric("ecr_pull_secrets_leader", &[]).await > 0.0 {
                return None;
            }
        }
        Some(())
    })
    .await;
}
