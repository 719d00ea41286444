//! Adoption of a Secret with the pull Secret's name: from which field manager, with which annotation,
//! and with which content.

use std::process::Command;
use std::sync::Arc;

use ecr_pull_secrets_core::cause::Cause;
use serde_json::json;

use crate::frame::trials;
use crate::harness::namespace::{Namespace, SECRET, references};
use crate::harness::tools::tool;
use crate::harness::{Outcome, World, docker, review};
use crate::ownership::{
    ELSEWHERE, LAST_APPLIED, PULL_TYPE, adopted, annotated, ask, data, events, login, of_type,
    with_hosts,
};

trials!(
    adopted_secret_keeps_its_other_logins,
    secret_of_a_cron_job_is_adopted,
    secret_with_a_url_as_host_is_adopted,
    adopt_never_adopts_no_secret,
    adopt_annotated_waits_for_the_annotation,
    adopt_all_needs_no_annotation,
);

async fn adopted_secret_keeps_its_other_logins(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let entry =
        json!({ "username": "robot", "password": "a-password", "email": "robot@example.com" });
    let auths = json!({ ELSEWHERE: entry, format!("{ELSEWHERE}/team"): login("robot") });
    let mut foreign = annotated(of_type(PULL_TYPE, &data(&json!({ "auths": auths }))));
    foreign["metadata"]["name"] = json!(SECRET);
    foreign["metadata"]["labels"] = json!({ "team": "a" });
    foreign["apiVersion"] = json!("v1");
    foreign["kind"] = json!("Secret");
    // Client-side apply leaves a copy of the Secret in an annotation.
    let script = format!("echo '{foreign}' | \"$KUBECTL\" --namespace \"$NAMESPACE\" apply -f -");
    shell(&world, &namespace, &script);
    let before = namespace.secret().await.expect("the foreign Secret");
    assert!(
        before
            .metadata
            .annotations
            .as_ref()
            .expect("some")
            .contains_key(LAST_APPLIED)
    );

    let answer = ask(&world.replicas()[0], &namespace).await;
    assert!(review::adds_reference(&answer));
    assert_eq!(review::warnings(&answer), "");
    let after = adopted(&namespace).await;
    assert_eq!(after.metadata.uid, before.metadata.uid);
    assert_eq!(docker::config(&after)["auths"][ELSEWHERE], auths[ELSEWHERE]);
    assert_eq!(docker::hosts(&after).len(), 3);
    let labels = after.metadata.labels.as_ref().expect("labels");
    assert_eq!(labels["team"], "a");
    // The annotations name the registries that we manage, and no other.
    assert_eq!(docker::annotation(&after, "registries"), namespace.host());
    assert!(events(&namespace).await.is_empty());
    Ok(())
}

/// The commands of a well-known CronJob, word for word.
const CRON_JOB: &str = "\"$KUBECTL\" --namespace \"$NAMESPACE\" create secret docker-registry \
    ecr-registry-credentials --docker-server=\"$REGISTRY\" --docker-username=AWS \
    --docker-password=an-old-token --dry-run=client -o yaml \
    | \"$KUBECTL\" --namespace \"$NAMESPACE\" apply -f -";

async fn secret_of_a_cron_job_is_adopted(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    shell(&world, &namespace, CRON_JOB);
    let before = namespace.secret().await.expect("the CronJob's Secret");
    assert!(before.metadata.annotations.as_ref().expect("some")[LAST_APPLIED].contains("data"));
    let stored = namespace.pod("pod", &namespace.image("app")).await;
    assert_eq!(references(&stored), [SECRET]);
    let after = adopted(&namespace).await;
    assert_eq!(after.metadata.uid, before.metadata.uid);
    let entry = &docker::config(&after)["auths"][namespace.host()];
    assert_eq!(
        entry
            .as_object()
            .expect("an entry")
            .keys()
            .collect::<Vec<_>>(),
        ["auth"]
    );

    // The CronJob writes again. Our replicas accept its content, and pods are served.
    shell(&world, &namespace, CRON_JOB);
    let again = namespace.secret().await.expect("the CronJob's Secret");
    assert_eq!(again.metadata.uid, before.metadata.uid);
    for replica in &world.replicas() {
        assert!(review::adds_reference(&ask(replica, &namespace).await));
    }
    Ok(())
}

/// Public CronJobs write `--docker-server=https://HOST`, which means the same host to the kubelet.
async fn secret_with_a_url_as_host_is_adopted(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let with_url = CRON_JOB.replace("=\"$REGISTRY\"", "=\"https://$REGISTRY\"");
    assert_ne!(with_url, CRON_JOB);
    shell(&world, &namespace, &with_url);
    let before = namespace.secret().await.expect("the CronJob's Secret");
    let url = format!("https://{}", namespace.host());
    assert_eq!(docker::hosts(&before), [url]);
    let answer = ask(&world.replicas()[0], &namespace).await;
    assert!(review::adds_reference(&answer));
    assert_eq!(review::warnings(&answer), "");
    let after = adopted(&namespace).await;
    assert_eq!(after.metadata.uid, before.metadata.uid);
    // The old token would be tried as often as ours, and is dead within 12 hours.
    assert_eq!(docker::hosts(&after), [namespace.host()]);
    Ok(())
}

/// Gives a replica with this `secret.adopt` three Secrets: with ECR hosts only, with the annotation, and
/// with neither. `adopted_ones` says which are adopted. The others are refused.
async fn adopts(world: Arc<World>, mode: &str, adopted_ones: [bool; 3]) -> Outcome {
    let config =
        format!("{{apiVersion: ecr-pull-secrets.dev/v1, kind: Config, secret: {{adopt: {mode}}}}}");
    let replica = world
        .replica(&format!("adopts-{mode}"))
        .config(&config)
        .start();
    replica.ready().await;
    for (number, is_adopted) in adopted_ones.into_iter().enumerate() {
        let namespace = Namespace::new(&world).await;
        let host = namespace.host();
        let foreign = match number {
            0 => with_hosts([(&host, login("AWS"))]),
            1 => annotated(with_hosts([(ELSEWHERE, login("robot"))])),
            _ => with_hosts([(ELSEWHERE, login("robot"))]),
        };
        let before = namespace.foreign_secret("another", foreign).await;
        let answer = ask(&replica, &namespace).await;
        assert!(review::adds_reference(&answer));
        if is_adopted {
            assert_eq!(review::warnings(&answer), "", "{mode} {number}");
            let after = adopted(&namespace).await;
            assert_eq!(after.metadata.uid, before.metadata.uid);
        } else {
            assert_eq!(
                review::warnings(&answer),
                Cause::ForeignOwner.warning(),
                "{mode} {number}"
            );
            assert_eq!(namespace.secret().await, Some(before));
        }
    }
    let namespace = Namespace::new(&world).await;
    let malformed = annotated(of_type(PULL_TYPE, &data(&json!({ "auths": [] }))));
    namespace.foreign_secret("another", malformed).await;
    let answer = ask(&replica, &namespace).await;
    assert!(!review::adds_reference(&answer));
    assert_eq!(review::warnings(&answer), Cause::ForeignMalformed.warning());
    Ok(())
}

async fn adopt_never_adopts_no_secret(world: Arc<World>) -> Outcome {
    adopts(world, "never", [false, false, false]).await
}

async fn adopt_annotated_waits_for_the_annotation(world: Arc<World>) -> Outcome {
    adopts(world, "annotated", [false, true, false]).await
}

async fn adopt_all_needs_no_annotation(world: Arc<World>) -> Outcome {
    adopts(world, "all", [true, true, true]).await
}

fn shell(world: &World, namespace: &Namespace, script: &str) {
    let mut command = Command::new("sh");
    command.args(["-e", "-c", script]);
    command
        .env("KUBECTL", tool("kubectl"))
        .env("KUBECONFIG", &world.cluster.kubeconfig);
    command
        .env("NAMESPACE", &namespace.name)
        .env("REGISTRY", namespace.host());
    let output = command.output().expect("the shell runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
