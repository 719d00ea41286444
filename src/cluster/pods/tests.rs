//! What is read of a pod.

use ecr_pull_secrets_core::cause::Cause;
use serde_json::{Value, json};

use super::*;

fn seen(pod: &Value) -> ObservedPod {
    serde_json::from_str(&pod.to_string()).unwrap()
}

#[test]
fn pod_outlives_the_bytes_it_is_read_from() {
    let image = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/a:1";
    let waiting = |reason: &str, message: &str| {
        json!({
            "image": image,
            "state": { "waiting": { "reason": reason, "message": message } },
        })
    };
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "pod", "namespace": "team", "uid": "u", "resourceVersion": "7",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": { "app": "x" },
            "managedFields": [{ "fieldsV1": {} }],
            "ownerReferences": [
                { "uid": "no", "kind": "X" },
                { "uid": "yes", "kind": "ReplicaSet", "controller": true },
            ],
        },
        "spec": { "containers": [{ "image": image }], "imagePullSecrets": [{ "name": "pull" }] },
        "status": {
            "phase": "Pending",
            "containerStatuses": [
                waiting("ErrImagePull", "x: 403 Forbidden"),
                waiting("ImagePullBackOff", "x: 403 Forbidden"),
                waiting("CreateContainerConfigError", "x: not found"),
                { "image": "docker.io/a:1", "state": { "waiting": {
                    "reason": "ErrImagePull", "message": "docker.io/a:1: not found" } } },
            ],
        },
    });
    let seen = seen(&pod);
    let about = seen.reference();
    let named = [&about.namespace, &about.name, &about.uid].map(|field| field.as_deref());
    assert_eq!(named, [Some("team"), Some("pod"), Some("u")]);
    assert_eq!(seen.version().version, "7");
    assert_eq!(seen.controller.as_deref(), Some("yes"));
    let denied = RefusedPull {
        cause: Cause::PullRefused,
        registry: Registry::of_image(image).unwrap(),
    };
    assert_eq!(seen.refusals, [denied]);
    assert_eq!(seen.phase, PodPhase::Pending);
    assert_eq!(seen.created, "2026-01-01T00:00:00Z".parse().ok());
    assert!(!seen.has_started);
    assert!(seen.pod.names("pull") && !seen.pod.names("other"));
}

#[test]
fn only_replacing_controller_counts() {
    for (kind, replaces) in [("StatefulSet", true), ("Job", false), ("TaskRun", false)] {
        let owner = json!({ "uid": "u", "kind": kind, "controller": true });
        let pod = json!({ "metadata": { "ownerReferences": [owner] } });
        assert_eq!(seen(&pod).controller.is_some(), replaces, "{kind}");
    }
}

#[test]
fn pod_has_ended_once_its_deletion_begins() {
    for (phase, deleted, wanted) in [
        ("Pending", json!(null), PodPhase::Pending),
        ("Running", json!(null), PodPhase::Running),
        ("Unknown", json!(null), PodPhase::Running),
        ("Succeeded", json!(null), PodPhase::Ended),
        ("Failed", json!(null), PodPhase::Ended),
        ("Pending", json!("2026-01-01T00:00:00Z"), PodPhase::Ended),
        ("Running", json!("2026-01-01T00:00:00Z"), PodPhase::Ended),
    ] {
        let metadata = json!({ "deletionTimestamp": deleted });
        let pod = json!({ "metadata": metadata, "status": { "phase": phase } });
        assert_eq!(seen(&pod).phase, wanted, "{pod}");
    }
}

#[test]
fn pod_that_ran_once_has_started() {
    for state in [
        json!({ "state": { "running": {} } }),
        json!({ "state": { "terminated": { "exitCode": 0 } } }),
        json!({ "state": { "waiting": {} }, "restartCount": 1 }),
    ] {
        let pod = json!({ "status": { "initContainerStatuses": [state] } });
        assert!(seen(&pod).has_started, "{pod}");
    }
    let waits = json!({ "status": { "containerStatuses": [{ "state": { "waiting": {} } }] } });
    assert!(!seen(&waits).has_started);
    assert!(!seen(&json!({})).has_started);
}
