//! Ephemeral containers: a running pod cannot be patched, but its Secret can still get another registry.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use crate::frame::trials;
use crate::harness::namespace::{Namespace, SECRET, pod, references};
use crate::harness::{LIMIT, Outcome, World, docker, eventually, review};

trials!(
    debug_image_gets_its_registry,
    debugged_pod_without_reference_gets_no_secret,
);

/// Sends the patch of `kubectl debug`.
async fn debug(namespace: &Namespace, image: &str) -> kube::Result<Pod> {
    let container = json!({ "name": "debugger", "image": image });
    let patch = Patch::Strategic(json!({ "spec": { "ephemeralContainers": [container] } }));
    namespace
        .api::<Pod>()
        .patch_ephemeral_containers("pod", &PatchParams::default(), &patch)
        .await
}

async fn debug_image_gets_its_registry(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let other = Namespace::new(&world).await;
    let before = namespace.pod("pod", &namespace.image("app")).await;
    namespace.assert_opens().await;
    let after = debug(&namespace, &other.image("tools")).await?;
    assert_eq!(references(&after), [SECRET]);
    let mut spec = after.spec.clone().unwrap();
    spec.ephemeral_containers = None;
    assert_eq!(Some(spec), before.spec);
    let secret = eventually("the registry of the ephemeral container", LIMIT, || async {
        namespace
            .secret()
            .await
            .filter(|secret| docker::hosts(secret).len() == 2)
    })
    .await;
    let auth = docker::auth(&secret, &other.host());
    let verdict = world
        .aws
        .registry_opens(&other.host(), "tools", &auth)
        .await?;
    assert_eq!(verdict, aws_stand_in::spec::Verdict::Accepted);
    Ok(())
}

async fn debugged_pod_without_reference_gets_no_secret(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let before = namespace.pod("pod", "docker.io/library/busybox:1").await;
    assert_eq!(references(&before), [""; 0]);
    let after = debug(&namespace, &namespace.image("tools")).await?;
    assert_eq!(references(&after), [""; 0]);
    // No Secret would help this pod. A later pod gets the first one.
    assert!(namespace.secret().await.is_none());
    let review = review::of_pod(&namespace.name, &pod("next", &namespace.image("app")));
    review::answer(&world.replicas()[0], &review).await;
    namespace.assert_opens().await;
    let pods = namespace.api::<Pod>().list(&ListParams::default()).await?;
    assert_eq!(pods.items.len(), 1);
    Ok(())
}
