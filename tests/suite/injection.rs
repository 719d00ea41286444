//! `injection: none`: the replicas maintain what pods name, and have no admission endpoint.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use libtest_mimic::Trial;
use serde_json::json;
use tokio::net::TcpStream;

use crate::frame::trial;
use crate::harness::namespace::{Namespace, SECRET, pod};
use crate::harness::{LIMIT, Outcome, World, eventually};

/// The tests of this module. They need a world of their own.
pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "injection::without_webhook_pods_name_the_secret",
        world,
        without_webhook_pods_name_the_secret,
    )]
}

async fn world() -> Arc<World> {
    let config = "{apiVersion: ecr-pull-secrets.dev/v1, kind: Config, injection: none}";
    let builder = World::builder().self_signed().config(config);
    builder.value("config.injection=none").start().await
}

async fn without_webhook_pods_name_the_secret(world: Arc<World>) -> Outcome {
    let [named, bare] = [Namespace::new(&world).await, Namespace::new(&world).await];
    let replica = world.add_replica(|launch| launch);
    replica.ready().await;
    assert!(TcpStream::connect(replica.https).await.is_err());
    let create = async |namespace: &Namespace, references| {
        let mut pod = pod("pod", &namespace.image("app"));
        pod["spec"]["imagePullSecrets"] = references;
        namespace.create::<Pod>(pod).await.expect("a pod");
    };
    create(&bare, json!([])).await;
    create(&named, json!([{ "name": SECRET }])).await;
    named.assert_opens().await;
    eventually("a check of all pods", LIMIT, || async {
        let log = std::fs::read_to_string(&replica.log).expect("a log");
        log.contains("checked all pods").then_some(())
    })
    .await;
    // Only a webhook misses pods.
    let missed = "ecr_pull_secrets_pods_missing_reference_total";
    assert_eq!(
        replica.metric(missed, &[]).await.to_bits(),
        0.0_f64.to_bits()
    );
    assert!(bare.secret().await.is_none());
    world.kill(&replica);
    Ok(())
}
