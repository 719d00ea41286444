//! What the replicas list in pages, and that they work with it.

use std::sync::Arc;

use aws_stand_in::spec::Fault;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::DeleteParams;
use serde_json::json;

use super::{EACH, assert_none_killed};
use crate::frame::trials;
use crate::harness::namespace::{Namespace, SECRET, pod, references};
use crate::harness::tenant::missed::MISSED;
use crate::harness::{LIMIT, Outcome, World, docker, eventually};
use crate::logs::search;

trials!(
    each_list_comes_in_pages,
    secret_is_written_renewed_and_repaired,
);

async fn each_list_comes_in_pages(world: Arc<World>) -> Outcome {
    let missed = "ecr_pull_secrets_pods_missing_reference_total";
    let leader = world.leader().await;
    eventually(
        "the leader has found the pods of all pages",
        LIMIT,
        || async { (leader.metric(missed, &[]).await >= (EACH + MISSED) as f64).then_some(()) },
    )
    .await;
    let calls = world.calls("requestURI");
    let was_asked = |kind: &str, part: &str| {
        calls.iter().any(|call| {
            let uri = call["requestURI"].as_str().expect("a URI");
            let has_worked = call["responseStatus"]["code"] == 200;
            uri.contains(kind) && uri.contains(part) && has_worked
        })
    };
    for kind in ["/pods?", "/secrets?", "/namespaces?", "/serviceaccounts?"] {
        assert!(was_asked(kind, "limit=100"), "{kind}");
        assert!(was_asked(kind, "continue="), "{kind}: one page");
        assert!(!was_asked(kind, "sendInitialEvents=true"), "{kind}");
    }
    assert_none_killed();
    Ok(())
}

async fn secret_is_written_renewed_and_repaired(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    namespace
        .region
        .fault(Fault::Lifetime { seconds: 20 })
        .await?;
    let mut wanted = pod("pod", &namespace.image("app"));
    wanted["spec"]["schedulerName"] = json!("none");
    let wanted: Pod = namespace.create(wanted).await?;
    assert_eq!(references(&wanted), [SECRET]);
    let first = docker::auth(&namespace.assert_opens().await, &namespace.host());
    eventually("the next token", LIMIT, || async {
        let token = docker::auth(&namespace.secret().await?, &namespace.host());
        (token != first).then_some(())
    })
    .await;
    namespace.assert_opens().await;
    let secrets = namespace.api::<Secret>();
    secrets.delete(SECRET, &DeleteParams::default()).await?;
    namespace.assert_opens().await;
    search(&world).await
}
