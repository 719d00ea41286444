//! Pods and namespaces that we must not touch: no reference, no Secret, no call to AWS.
//!
//! A test shows that by a later pod in the same namespace or region. That one is served, and its traces
//! are the only ones.

use std::sync::Arc;

use aws_stand_in::spec::Action;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::frame::trials;
use crate::harness::namespace::{Namespace, SECRET, pod, references};
use crate::harness::{Outcome, World, docker, review};

trials!(
    other_registries_and_look_alikes_are_untouched,
    mirror_pods_are_untouched,
    opted_out_pods_are_untouched,
    opted_out_namespaces_are_untouched,
    dry_run_writes_nothing,
    system_namespaces_are_untouched,
);

/// Fails if pods, AWS or the namespace show a trace of us.
async fn leaves_no_trace(namespace: &Namespace, pods: &[Pod]) -> Outcome {
    for pod in pods {
        assert_eq!(references(pod), [""; 0], "{:?}", pod.metadata.name);
    }
    assert!(namespace.secret().await.is_none());
    assert_eq!(
        namespace
            .region
            .total(Action::GetAuthorizationToken)
            .await?
            .total,
        0
    );
    Ok(())
}

async fn other_registries_and_look_alikes_are_untouched(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let region = namespace.region.name();
    let images = [
        format!("123456789012.dkr.ecr.{region}.amazonaws.com.evil.example/app:1"),
        format!("evil.123456789012.dkr.ecr.{region}.amazonaws.com/app:1"),
        format!("12345678901.dkr.ecr.{region}.amazonaws.com/app:1"),
        format!("1234567890123.dkr.ecr.{region}.amazonaws.com/app:1"),
        format!("123456789012.dkr.ecr.{region}.amazonaws.com:5000/app:1"),
        format!("123456789012.dkr.ecr.{region}.amazonaws.cn/app:1"),
        format!("123456789012.dkr.ecr.{region}.amazonaws.com"),
        format!("123456789012.dkr.ecr.{region}.amazonaws.com/App:1"),
        format!("mirror.local:5000/123456789012.dkr.ecr.{region}.amazonaws.com/app:1"),
        format!("https://123456789012.dkr.ecr.{region}.amazonaws.com/app:1"),
        "public.ecr.aws/nginx/nginx:1.27".to_owned(),
        "docker.io/library/nginx:1".to_owned(),
        "ghcr.io/org/app@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
            .to_owned(),
        "nginx".to_owned(),
    ];
    let mut pods = Vec::new();
    for (number, image) in images.iter().enumerate() {
        pods.push(namespace.pod(&format!("pod-{number}"), image).await);
        // The registration matches some of these images. The answer must be the same.
        let review = review::of_pod(&namespace.name, &pod("pod", image));
        let answer = review::answer(&world.replicas()[0], &review).await;
        assert!(answer.get("patch").is_none(), "{image}: {answer}");
        assert_eq!(
            answer["auditAnnotations"]["cause"], "no_ecr_image",
            "{image}"
        );
    }
    leaves_no_trace(&namespace, &pods).await?;
    namespace.pod("served", &namespace.image("app")).await;
    assert_eq!(
        docker::hosts(&namespace.assert_opens().await),
        [namespace.host()]
    );
    Ok(())
}

async fn mirror_pods_are_untouched(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let mut mirror = pod("mirror", &namespace.image("app"));
    mirror["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "hash" });
    mirror["spec"]["nodeName"] = json!("node-of-a-static-pod");
    let stored: Pod = namespace.create(mirror.clone()).await?;
    // Both the registration and the code exclude mirror pods.
    let answer = review::answer(
        &world.replicas()[0],
        &review::of_pod(&namespace.name, &mirror),
    )
    .await;
    assert!(answer.get("patch").is_none());
    assert_eq!(answer["auditAnnotations"]["cause"], "mirror_pod");
    leaves_no_trace(&namespace, &[stored]).await
}

async fn opted_out_pods_are_untouched(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let mut out = pod("out", &namespace.image("app"));
    out["metadata"]["labels"] = json!({ "ecr-pull-secrets.dev/inject": "false" });
    let stored: Pod = namespace.create(out.clone()).await?;
    let answer = review::answer(&world.replicas()[0], &review::of_pod(&namespace.name, &out)).await;
    assert_eq!(answer["auditAnnotations"]["cause"], "opted_out");
    leaves_no_trace(&namespace, &[stored]).await?;
    namespace.pod("in", &namespace.image("app")).await;
    namespace.assert_opens().await;
    Ok(())
}

async fn opted_out_namespaces_are_untouched(world: Arc<World>) -> Outcome {
    let label = json!({ "ecr-pull-secrets.dev/inject": "false" });
    let namespace = Namespace::with_labels(&world, label).await;
    let stored = namespace.pod("pod", &namespace.image("app")).await;
    let mut insisting = pod("insisting", &namespace.image("app"));
    insisting["metadata"]["labels"] = json!({ "ecr-pull-secrets.dev/inject": "true" });
    let insisting_stored: Pod = namespace.create(insisting.clone()).await?;
    for replica in &world.replicas() {
        let answer = review::answer(replica, &review::of_pod(&namespace.name, &insisting)).await;
        assert_eq!(answer["auditAnnotations"]["cause"], "opted_out");
    }
    leaves_no_trace(&namespace, &[stored, insisting_stored]).await
}

async fn dry_run_writes_nothing(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let object: Pod = serde_json::from_value(pod("pod", &namespace.image("app")))?;
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let answer = namespace.api::<Pod>().create(&params, &object).await?;
    // A dry run gets the same patch as a real request.
    assert_eq!(references(&answer), [SECRET]);
    for replica in &world.replicas() {
        let mut review = review::of_pod(&namespace.name, &pod("pod", &namespace.image("app")));
        review["request"]["dryRun"] = json!(true);
        let answer = review::answer(replica, &review).await;
        assert!(review::adds_reference(&answer));
    }
    leaves_no_trace(&namespace, &[]).await?;
    namespace.pod("pod", &namespace.image("app")).await;
    namespace.assert_opens().await;
    Ok(())
}

async fn system_namespaces_are_untouched(world: Arc<World>) -> Outcome {
    let region = world.aws.region("system-land-1");
    let image = format!("{}/coredns:1", region.host("123456789012"));
    for namespace in ["kube-system", crate::harness::world::OURS] {
        let pods: Api<Pod> = Api::namespaced(world.cluster.client.clone(), namespace);
        let mut object: Value = pod("system", &image);
        object["spec"]["automountServiceAccountToken"] = json!(false);
        object["spec"]["containers"][0]["securityContext"] = json!({
            "allowPrivilegeEscalation": false,
            "runAsNonRoot": true,
            "capabilities": { "drop": ["ALL"] },
            "seccompProfile": { "type": "RuntimeDefault" },
        });
        let stored = pods
            .create(&PostParams::default(), &serde_json::from_value(object)?)
            .await?;
        assert_eq!(references(&stored), [""; 0], "{namespace}");
    }
    assert_eq!(region.total(Action::GetAuthorizationToken).await?.total, 0);
    Ok(())
}
