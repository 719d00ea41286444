//! The fields that a request must have, and the bytes that are refused.

mod answer;

use super::*;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::config::Config;
use crate::workload::plan::{AccountFact, Facts, NamespaceFact, plan};

const UID: &str = "705ab4f5-6393-11e8-b7cc-42010a800002";
const IMAGE: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/app";

/// A review of the API server, with the fields that matter.
fn review() -> Value {
    json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": UID,
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
            "namespace": "web",
            "operation": "CREATE",
            "userInfo": {"username": "admin", "extra": {"a": ["b"]}},
            "object": {
                "kind": "Pod",
                "apiVersion": "v1",
                "metadata": {"generateName": "app-", "namespace": "not-this-one"},
                "spec": {"containers": [{"name": "app", "image": IMAGE}], "serviceAccountName": "default"},
                "status": {},
            },
            "oldObject": null,
            "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    })
}

/// The review with the value at a JSON pointer set, or without the field.
fn edited(pointer: &str, value: Option<Value>) -> Vec<u8> {
    let mut review = review();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let parent = review.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => parent.insert(field.to_owned(), value),
        None => parent.remove(field),
    };
    review.to_string().into_bytes()
}

fn refuses(bytes: &[u8]) -> InvalidReview {
    match decode(bytes) {
        Ok(review) => panic!("{} gave {review:?}", String::from_utf8_lossy(bytes)),
        Err(error) => error,
    }
}

fn planned(review: &Review<'_>) -> Plan {
    let workload = review.workload();
    let facts = Facts {
        namespace: Some(NamespaceFact::Unknown),
        account: Some(AccountFact::Unrestricted),
    };
    plan(&workload, &facts, &Config::default()).unwrap()
}

#[test]
fn review_of_the_api_server_is_read() {
    let bytes = review().to_string().into_bytes();
    let review = decode(&bytes).unwrap();
    assert_eq!(&*review.uid, UID);
    assert_eq!(&*review.namespace, "web");
    assert!(!review.is_running && !review.dry_run);
    let plan = planned(&review);
    assert_eq!(plan.reference, PullReference::Create);
    assert_eq!(plan.grants.len(), 1);
}

#[test]
fn dry_run_is_true_only() {
    for (value, wanted) in [
        (Some(json!(true)), true),
        (Some(json!(false)), false),
        (Some(json!(null)), false),
        (None, false),
    ] {
        assert_eq!(
            decode(&edited("/request/dryRun", value)).unwrap().dry_run,
            wanted
        );
    }
}

#[test]
fn pod_with_a_new_ephemeral_container_runs() {
    for (value, wanted) in [
        (Some(json!("ephemeralcontainers")), true),
        (Some(json!("EphemeralContainers")), false),
        (Some(json!("status")), false),
        (Some(json!("")), false),
        (Some(json!(null)), false),
        (None, false),
    ] {
        assert_eq!(
            decode(&edited("/request/subResource", value))
                .unwrap()
                .is_running,
            wanted
        );
    }
}

#[test]
fn missing_namespace_is_not_taken_from_the_object() {
    for value in [None, Some(json!(null)), Some(json!(""))] {
        assert_eq!(
            &*decode(&edited("/request/namespace", value))
                .unwrap()
                .namespace,
            ""
        );
    }
}

#[test]
fn escapes_are_decoded() {
    let mut text = review().to_string();
    text = text
        .replace("\"web\"", "\"w\\u0065b\"")
        .replace(UID, "u\\u002fid\\n");
    let review = decode(text.as_bytes()).unwrap();
    assert_eq!((&*review.namespace, &*review.uid), ("web", "u/id\n"));
}

#[test]
fn overlong_uid_or_namespace_is_refused() {
    for (pointer, longest) in [("/request/uid", 128), ("/request/namespace", 63)] {
        let mut review = review();
        *review.pointer_mut(pointer).unwrap() = json!("x".repeat(longest));
        assert!(decode(review.to_string().as_bytes()).is_ok());
        *review.pointer_mut(pointer).unwrap() = json!("x".repeat(longest + 1));
        let text = review.to_string();
        let error = decode(text.as_bytes()).err().unwrap();
        assert!(matches!(error, InvalidReview::TooLong { most, .. } if most == longest));
        assert!(error.to_string().len() < 100);
    }
}

#[test]
fn other_version_or_kind_is_refused() {
    for (pointer, value, said) in [
        (
            "/apiVersion",
            "admission.k8s.io/v1beta1",
            "got AdmissionReview of admission.k8s.io/v1beta1",
        ),
        ("/apiVersion", "v1", "got AdmissionReview of v1"),
        ("/apiVersion", "", "got AdmissionReview of "),
        (
            "/kind",
            "ConversionReview",
            "got ConversionReview of admission.k8s.io/v1",
        ),
    ] {
        let error = refuses(&edited(pointer, Some(json!(value))));
        assert!(matches!(error, InvalidReview::Version { .. }));
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn missing_or_null_field_is_refused() {
    for value in [None, Some(json!(null))] {
        assert!(matches!(
            refuses(&edited("/request", value.clone())),
            InvalidReview::NoRequest
        ));
        assert!(matches!(
            refuses(&edited("/request/object", value.clone())),
            InvalidReview::NoPod
        ));
        for pointer in [
            "/apiVersion",
            "/kind",
            "/request/uid",
            "/request/kind",
            "/request/kind/kind",
        ] {
            let error = refuses(&edited(pointer, value.clone()));
            assert!(
                matches!(error, InvalidReview::Json(_)),
                "{pointer}: {error}"
            );
        }
    }
}

#[test]
fn other_object_is_refused_by_its_kind() {
    for kind in ["Deployment", "pod", "PodTemplate", ""] {
        let error = refuses(&edited("/request/kind/kind", Some(json!(kind))));
        assert!(
            error
                .to_string()
                .contains(&format!("is about {kind}, not about a Pod")),
            "{error}"
        );
    }
}

#[test]
fn value_of_the_wrong_type_is_refused() {
    for (pointer, value) in [
        ("/request", json!("x")),
        ("/request/uid", json!(7)),
        ("/request/namespace", json!({})),
        ("/request/dryRun", json!("true")),
        ("/request/subResource", json!([])),
        ("/request/object", json!("x")),
        ("/request/object/spec", json!(7)),
        ("/request/object/spec/containers", json!({})),
        ("/request/object/spec/containers", json!([7])),
        ("/request/object/spec/containers", json!([{"image": 7}])),
        ("/request/object/spec/volumes", json!([{"image": "x"}])),
        ("/request/object/spec/imagePullSecrets", json!("x")),
        (
            "/request/object/metadata/labels",
            json!({"ecr-pull-secrets.dev/inject": true}),
        ),
    ] {
        let error = refuses(&edited(pointer, Some(value)));
        assert!(
            matches!(error, InvalidReview::Json(_)),
            "{pointer}: {error}"
        );
        assert!(
            error
                .to_string()
                .starts_with("cannot read the admission review: "),
            "{error}"
        );
    }
}

#[test]
fn owned_review_is_the_same() {
    for (field, value) in [
        ("subResource", "ephemeralcontainers"),
        ("namespace", "a\"b"),
    ] {
        let mut review = review();
        review["request"][field] = json!(value);
        review["request"]["dryRun"] = json!(true);
        review["request"]["object"]["metadata"]["labels"] =
            json!({ "ecr-pull-secrets.dev/inject": "true" });
        let bytes = review.to_string();
        let read = || decode(bytes.as_bytes()).unwrap();
        assert_eq!(
            format!("{:?}", read().into_owned()),
            format!("{:?}", read())
        );
    }
}

/// A forged request may have 7 MiB of text in any field.
#[test]
fn error_quotes_little_of_the_request() {
    let long = json!("\u{e9}".repeat(100_000));
    for pointer in [
        "/apiVersion",
        "/kind",
        "/request/kind/kind",
        "/request/dryRun",
        "/request/object",
    ] {
        let error = refuses(&edited(pointer, Some(long.clone()))).to_string();
        assert!(error.len() < 1000, "{pointer}: {}", error.len());
    }
}

#[test]
fn other_bytes_than_json_are_refused() {
    let whole = review().to_string();
    for bytes in [
        &b""[..],
        b"null",
        b"[]",
        b"{}",
        b"\"x\"",
        b"\xff\xfe",
        &whole.as_bytes()[..whole.len() - 1],
        format!("{whole}{whole}").as_bytes(),
        format!("\u{feff}{whole}").as_bytes(),
    ] {
        assert!(matches!(refuses(bytes), InvalidReview::Json(_)));
    }
    // A lone surrogate is no text.
    assert!(decode(whole.replace(UID, "\\ud800").as_bytes()).is_err());
}

/// A stack overflow would end the process and all of its requests.
#[test]
fn deep_nesting_is_refused_without_stack_overflow() {
    let depth = 1_000_000;
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let tower = format!("{}0{}", open.repeat(depth), close.repeat(depth));
        assert!(decode(tower.as_bytes()).is_err());
        for pointer in [
            "/request/object/spec/volumes",
            "/request/object/metadata/managedFields",
            "/request/userInfo",
        ] {
            let text = String::from_utf8(edited(pointer, Some(json!("TOWER")))).unwrap();
            let _ = decode(text.replace("\"TOWER\"", &tower).as_bytes());
        }
    }
}

/// serde also reads a struct from the list of its fields, and the patch does not apply to a list.
#[test]
fn list_in_place_of_an_object_is_refused() {
    let image = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/app";
    let spec = json!([null, "default", [{ "image": image }], null, null, null]);
    for (pointer, list) in [
        ("/request/object/spec", spec.clone()),
        ("/request/object", json!([{}, { "containers": [] }])),
        (
            "/request",
            json!(["0", { "kind": "Pod" }, "shop", null, false, {}]),
        ),
    ] {
        assert!(decode(&edited(pointer, Some(list))).is_err(), "{pointer}");
    }
    let whole = json!([
        "admission.k8s.io/v1",
        "AdmissionReview",
        review()["request"]
    ]);
    assert!(decode(whole.to_string().as_bytes()).is_err());
}

proptest! {
    #[test]
    fn no_bytes_cause_a_panic(bytes in any::<Vec<u8>>(), text in "[{}\\[\\]\",:a-z0-9\\\\ ]{0,80}") {
        let _ = decode(&bytes);
        let _ = decode(text.as_bytes());
    }

    /// One byte of a valid review is replaced, or the review ends there.
    #[test]
    fn damaged_review_is_read_or_refused(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
    ) {
        let mut bytes = review().to_string().into_bytes();
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
            prop_assert!(decode(&bytes).is_err());
        } else {
            bytes[at] = byte;
            if let Ok(review) = decode(&bytes) {
                planned(&review);
            }
        }
    }

    #[test]
    fn null_in_any_field_is_read_or_refused(places in proptest::collection::vec(any::<prop::sample::Index>(), 1..4)) {
        let pointers = [
            "/request", "/request/object", "/request/object/metadata", "/request/object/spec", "/request/namespace",
            "/request/object/spec/containers", "/request/object/spec/containers/0/image", "/request/dryRun",
            "/request/object/spec/serviceAccountName", "/request/object/metadata/namespace", "/request/userInfo",
        ];
        let mut review = review();
        for place in places {
            if let Some(value) = review.pointer_mut(place.get::<&str>(&pointers)) {
                *value = Value::Null;
            }
        }
        match decode(review.to_string().as_bytes()) {
            Ok(review) => drop(planned(&review)),
            Err(error) => prop_assert!(matches!(error, InvalidReview::NoRequest | InvalidReview::NoPod)),
        }
    }
}
