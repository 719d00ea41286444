use ecr_pull_secrets_core::pull_secret::held::SecretReading;
use ecr_pull_secrets_core::sieve::Sieve;
use http::HeaderValue;
use k8s_openapi::api::core::v1::{Namespace, Secret, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{PartialObjectMeta, WatchEvent};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::cluster::pods::ObservedPod;
use crate::cluster::pull_secrets::view;
use crate::pull_secret::metadata::secret_metadata;

mod facts;

const PULL: &str = "ecr-registry-credentials";
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const POD: &str = "/api/v1/namespaces/team/pods/web";
const SECRET: &str = "/api/v1/namespaces/team/secrets/ecr-registry-credentials";

fn views() -> Views {
    Views::new(&[PULL.to_owned()])
}

fn headers(accept: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))])
}

/// What is kept of an answer; all of it, where it is not sifted.
fn kept(path: &str, accept: &'static str, answer: &Value) -> Value {
    let uri: Uri = path.parse().unwrap();
    match views().of(&uri, &headers(accept)) {
        Kept::Sifted(keep) => {
            let kept = Sieve::new(keep)
                .push(answer.to_string().as_bytes())
                .unwrap();
            serde_json::from_slice(&kept).unwrap()
        }
        Kept::AtMost(_) | Kept::All => answer.clone(),
    }
}

fn parsed<K: DeserializeOwned>(path: &str, accept: &'static str, answer: &Value) -> K {
    serde_json::from_value(kept(path, accept, answer)).unwrap()
}

/// A pod with everything that is read, and more.
fn pod() -> Value {
    let image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/app:1";
    let state = json!({ "waiting": { "reason": "ImagePullBackOff", "message":
        format!("Back-off pulling image \"{image}\": ErrImagePull: no basic auth credentials") } });
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "web", "namespace": "team", "uid": "u-1", "resourceVersion": "77",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": { "app": "web", "ecr-pull-secrets.dev/inject": "true" },
            "annotations": { "kubernetes.io/config.mirror": "hash", "note": "x".repeat(200_000) },
            "ownerReferences": [
                { "apiVersion": "v1", "kind": "Other", "name": "o", "uid": "u-2" },
                { "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u-3", "controller": true },
            ],
            "managedFields": [{ "manager": "m", "fieldsV1": { "f:spec": {} } }],
        },
        "spec": {
            "serviceAccountName": "builder",
            "imagePullSecrets": [{ "name": "other" }, { "name": PULL }],
            "initContainers": [{ "name": "i", "image": image, "env": [{ "name": "A", "value": "b" }] }],
            "containers": [{ "name": "c", "image": "nginx" }, { "name": "d", "image": "quay.io/x" }],
            "ephemeralContainers": [{ "name": "e", "image": "busybox" }],
            "volumes": [{ "name": "v", "emptyDir": {} }, { "name": "w", "image": { "reference": image } }],
            "nodeName": "node",
        },
        "status": {
            "phase": "Pending",
            "conditions": [{ "type": "Ready", "status": "False" }],
            "containerStatuses": [
                { "name": "c", "image": "nginx", "restartCount": 0, "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } } },
                { "name": "d", "image": image, "restartCount": 0, "state": state },
            ],
            "initContainerStatuses": [{ "name": "i", "image": image, "restartCount": 3, "state": { "terminated": { "exitCode": 0 } } }],
        },
    })
}

fn secret() -> Value {
    let described = |names: &[&str]| {
        let names = names
            .iter()
            .map(|name| (format!("f:ecr-pull-secrets.dev/{name}"), json!({})));
        json!({ "f:metadata": { "f:annotations": names.collect::<serde_json::Map<_, _>>() },
            "f:data": { ".": {}, "f:.dockerconfigjson": {} }, "f:type": {} })
    };
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {
            "name": PULL, "namespace": "team", "uid": "0b1c2d3e-4f50-4617-8899-aabbccddeeff", "resourceVersion": "9",
            "labels": { "app.kubernetes.io/managed-by": "ecr-pull-secrets", "a": "b" },
            "annotations": {
                "ecr-pull-secrets.dev/format": "1",
                "ecr-pull-secrets.dev/registries": "123456789012.dkr.ecr.us-east-1.amazonaws.com",
                "ecr-pull-secrets.dev/lifetimes": "2026-01-01T00:00:00Z/2026-01-01T12:00:00Z",
                "ecr-pull-secrets.dev/identity": "ambient",
                "ecr-pull-secrets.dev/exclusive": "true",
                "ecr-pull-secrets.dev/unused-since": "2026-01-01T00:00:00Z",
                "ecr-pull-secrets.dev/adopt": "true",
                "ecr-pull-secrets.dev/future": "1",
                "kubectl.kubernetes.io/last-applied-configuration": "a token",
                "big": "x".repeat(200_000),
            },
            "managedFields": [
                { "manager": "ecr-pull-secrets", "operation": "Apply", "fieldsV1": described(&["registries", "format"]) },
                { "manager": "unrelated", "operation": "Update", "fieldsV1": { "f:metadata": { "f:labels": { "f:a": {} } } } },
                { "manager": "kubectl-edit", "operation": "Update", "fieldsV1": described(&["lifetimes"]) },
            ],
        },
        "type": "kubernetes.io/dockerconfigjson",
        "data": { ".dockerconfigjson": "e30=", "other": "QQ==" },
    })
}

#[test]
fn sifted_pod_reads_like_the_whole() {
    let whole: ObservedPod = serde_json::from_value(pod()).unwrap();
    let sifted: ObservedPod = parsed(POD, "application/json", &pod());
    assert_eq!(
        format!("{sifted:?}"),
        format!("{whole:?}").replace("\"other\\0", "\"")
    );
    assert!(sifted.pod.names(PULL) && sifted.has_started && sifted.controller.is_some());
    assert_eq!(sifted.refusals.len(), 1);
    let size = kept(POD, "", &pod()).to_string().len();
    assert!(size < 2000, "{size}");
}

#[test]
fn sifted_secret_reads_like_the_whole() {
    let reading =
        |metadata: &ObjectMeta| format!("{:?}", SecretReading::of(&secret_metadata(metadata)));
    let whole: Secret = serde_json::from_value(secret()).unwrap();
    let partial: PartialObjectMeta<Secret> = parsed(SECRET, METADATA, &secret());
    let full: Secret = parsed(SECRET, "application/json", &secret());
    for metadata in [&partial.metadata, &full.metadata] {
        assert_eq!(reading(metadata), reading(&whole.metadata));
        assert!(secret_metadata(metadata).is_edited());
    }
    // The copy that kubectl keeps holds a token.
    let copy = |secret: &Secret| {
        view(secret)
            .annotation(annotation::LAST_APPLIED)
            .map(str::len)
    };
    assert_eq!((copy(&whole), copy(&full)), (Some(7), Some(0)));
    assert_eq!(full.type_, whole.type_);
    assert_eq!(view(&full).docker_config, b"{}");
    assert_eq!(view(&full).keys, [".dockerconfigjson", "other"]);
    assert_eq!(view(&full).annotation(annotation::ADOPT), Some("true"));
    assert_eq!(
        view(&full).annotation("ecr-pull-secrets.dev/future"),
        Some("1")
    );
}

#[test]
fn account_keeps_only_our_names_of_its_list() {
    let path = "/api/v1/namespaces/team/serviceaccounts/default";
    let mut names = vec![json!({ "name": "other" }); 200_000];
    names.push(json!({ "name": PULL }));
    let account = json!({
        "metadata": { "name": "default", "namespace": "team", "resourceVersion": "5",
            "annotations": { ENFORCE: "true", "big": "x".repeat(100_000) } },
        "secrets": [{ "name": "a" }, { "name": PULL }], "imagePullSecrets": names,
    });
    let account: ServiceAccount = parsed(path, "application/json", &account);
    assert_eq!(account.metadata.annotations.unwrap()[ENFORCE], "true");
    assert_eq!(account.secrets.unwrap().len(), 1);
    assert_eq!(account.image_pull_secrets.unwrap().len(), 1);
}

#[test]
fn namespace_keeps_its_labels_and_our_annotations() {
    let namespace = json!({ "metadata": {
        "name": "team", "uid": "u", "resourceVersion": "1", "deletionTimestamp": "2026-01-01T00:00:00Z",
        "labels": { "env": "prod", "ecr-pull-secrets.dev/inject": "false" },
        "annotations": { "ecr-pull-secrets.dev/remove": "true", "other": "x" },
    } });
    for path in ["/api/v1/namespaces/team", "/api/v1/namespaces/team?"] {
        let kept: PartialObjectMeta<Namespace> = parsed(path, METADATA, &namespace);
        assert!(kept.metadata.deletion_timestamp.is_some());
        assert_eq!(kept.metadata.labels.unwrap().len(), 2);
        let annotations: Vec<_> = kept.metadata.annotations.unwrap().into_keys().collect();
        assert_eq!(annotations, ["ecr-pull-secrets.dev/remove"]);
    }
}

#[test]
fn list_keeps_its_version_and_token() {
    let list = json!({ "apiVersion": "v1", "kind": "PodList",
        "metadata": { "resourceVersion": "12", "continue": "more", "remainingItemCount": 5 },
        "items": [pod(), pod()] });
    let list = kept("/api/v1/pods?limit=2", "", &list);
    assert_eq!(
        list["metadata"],
        json!({ "resourceVersion": "12", "continue": "more" })
    );
    assert_eq!(list["items"][1], kept(POD, "", &pod()));
}

#[test]
fn watch_keeps_bookmarks_and_errors() {
    let events = |path: &str, event: Value| -> WatchEvent<PartialObjectMeta<Secret>> {
        parsed(path, METADATA, &event)
    };
    let path = "/api/v1/secrets?&watch=true&fieldSelector=metadata.name%3Dx";
    let bookmark = json!({ "type": "BOOKMARK", "object": { "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": { "resourceVersion": "8", "annotations": { LIST_END: "true" } } } });
    match events(path, bookmark) {
        WatchEvent::Bookmark(mark) => {
            assert_eq!(mark.metadata.resource_version, "8");
            assert!(mark.metadata.annotations.contains_key(LIST_END));
        }
        other => panic!("{other:?}"),
    }
    let expired = json!({ "type": "ERROR", "object": { "kind": "Status", "apiVersion": "v1", "metadata": {},
        "status": "Failure", "message": "too old resource version", "reason": "Expired", "code": 410 } });
    match events(path, expired) {
        WatchEvent::Error(status) => {
            assert_eq!((status.code, &*status.reason), (410, "Expired"));
            assert!(status.is_failure());
        }
        other => panic!("{other:?}"),
    }
    let pods = "/api/v1/pods?watch=true";
    let added = json!({ "type": "ADDED", "object": pod() });
    match parsed::<WatchEvent<ObservedPod>>(pods, "", &added) {
        WatchEvent::Added(pod) => assert_eq!(pod.reference().name.as_deref(), Some("web")),
        other => panic!("{other:?}"),
    }
    // A refusal has a text where a pod has an object.
    let gone = json!({ "type": "ERROR", "object": { "status": "Failure", "code": 410 } });
    let gone = parsed::<WatchEvent<ObservedPod>>(pods, "", &gone);
    assert!(matches!(gone, WatchEvent::Error(status) if status.is_failure()));
}

#[test]
fn objects_that_no_tenant_writes_are_not_sifted() {
    let of = |path: &str| views().of(&path.parse().unwrap(), &headers("application/json"));
    for path in [
        "/api/v1/namespaces/ours/secrets/ecr-pull-secrets-tokens",
        "/apis/coordination.k8s.io/v1/namespaces/ours/leases/ecr-pull-secrets",
        "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/zz-ecr-pull-secrets",
        "/version",
        "/",
    ] {
        assert!(matches!(of(path), Kept::AtMost(_)), "{path}");
    }
    let watch = "/api/v1/namespaces/ours/secrets?&watch=true&fieldSelector=metadata.name%3Decr-pull-secrets-tls";
    assert!(matches!(of(watch), Kept::All));
    for path in [
        "/api/v1/pods?watch=true",
        "/api/v1/namespaces/team/pods/web",
        "/api/v1/serviceaccounts",
        "/api/v1/namespaces/team",
        "/api/v1/namespaces/team/secrets/ecr-registry-credentials",
        "/apis/events.k8s.io/v1/namespaces/team/events",
    ] {
        assert!(matches!(of(path), Kept::Sifted(_)), "{path}");
    }
}

/// The largest objects that an API server takes, in each shape, and what is kept of each.
#[test]
fn largest_objects_leave_little() {
    let wide = |count: usize, of: &dyn Fn(usize) -> String| {
        (0..count).map(of).collect::<Vec<_>>().join(",")
    };
    let managers = wide(20_000, &|number| {
        format!(
            "{{\"manager\":\"m{number}\",\"fieldsV1\":{{\"f:data\":{{\"f:.dockerconfigjson\":{{}}}}}}}}"
        )
    });
    let ours = wide(20_000, &|number| {
        format!("\"ecr-pull-secrets.dev/{number}\":\"x\"")
    });
    let keys = wide(100_000, &|number| format!("\"{number}\":\"\""));
    let images = wide(20_000, &|number| {
        format!("{{\"image\":\"{number:012}.dkr.ecr.us-east-1.amazonaws.com/{number}\"}}")
    });
    let states = wide(20_000, &|number| {
        format!("{{\"image\":\"{number}\",\"state\":{{\"waiting\":{{\"reason\":\"{number}\"}}}}}}")
    });
    let objects = [
        (
            SECRET,
            METADATA,
            format!(
                "{{\"metadata\":{{\"annotations\":{{{ours}}},\"labels\":{{{keys}}},\"managedFields\":[{managers}]}}}}"
            ),
        ),
        (
            SECRET,
            "",
            format!("{{\"metadata\":{{\"managedFields\":[{managers}]}},\"data\":{{{keys}}}}}"),
        ),
        (
            POD,
            "",
            format!(
                "{{\"metadata\":{{\"labels\":{{{keys}}}}},\"spec\":{{\"containers\":[{images}],\"initContainers\":[{images}]}},\"status\":{{\"containerStatuses\":[{states}]}}}}"
            ),
        ),
        (
            "/api/v1/namespaces/team",
            METADATA,
            format!("{{\"metadata\":{{\"labels\":{{{keys}}},\"annotations\":{{{ours}}}}}}}"),
        ),
    ];
    for (path, accept, object) in objects {
        let Kept::Sifted(keep) = views().of(&path.parse().unwrap(), &headers(accept)) else {
            panic!("{path}");
        };
        let mut sieve = Sieve::new(keep);
        let pieces = object.as_bytes().chunks(64 * 1024);
        let kept: Vec<u8> = pieces
            .flat_map(|piece| sieve.push(piece).unwrap())
            .collect();
        assert!(object.len() > 700_000, "{path}: {}", object.len());
        assert!(kept.len() < 40 * 1024, "{path}: {}", kept.len());
        assert!(
            sieve.held_bytes() < 128 * 1024,
            "{path}: {}",
            sieve.held_bytes()
        );
        serde_json::from_slice::<Value>(&kept).unwrap();
    }
}
