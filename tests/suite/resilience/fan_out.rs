//! Faults during a fan-out leave no Secret stale, and no version of a Secret is worse than the one
//! before.

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
    assert!(reached < NAMESPACES, "the fan-out was already complete");
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
    assert!(reached < NAMESPACES, "the fan-out was already complete");
    no_leader(&fleet).await;
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
    assert!(reached < NAMESPACES, "the fan-out was already complete");
    no_leader(&fleet).await;
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
    assert!(reached < NAMESPACES, "the fan-out was already complete");
    // Another replica completes the fan-out, and renews later.
    let other_than = |token: u64| move |tokens: [u64; 2]| tokens[0] != token;
    let [next, _] = fleet.converged_on(other_than(token)).await;
    assert_ne!(fleet.lease_holder().await.name, frozen.name);
    frozen.thaw();
    eventually("the thawed replica does not lead", LIMIT, || async {
        (frozen.metric("ecr_pull_secrets_leader", &[]).await < 1.0).then_some(())
    })
    .await;
    fleet.converged_on(other_than(next)).await;
    fleet.recorder.assert_sound();
    Ok(())
}

/// Waits until no replica says that it leads.
async fn no_leader(fleet: &Fleet) {
    eventually("no replica leads", LIMIT, || async {
        for replica in fleet.replicas() {
            if replica.metric("ecr_pull_secrets_leader", &[]).await > 0.0 {
                return None;
            }
        }
        Some(())
    })
    .await;
}
