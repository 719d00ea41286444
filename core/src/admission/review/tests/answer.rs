//! The answer to each kind of plan. None refuses a pod.

use super::*;

use proptest::sample::select;

use crate::cause::Cause;
use crate::workload::plan::Skip;

fn encoded(answer: &Answer<'_>) -> Value {
    serde_json::from_slice(&encode(answer).unwrap()).unwrap()
}

fn of_plan(plan: &Plan) -> Value {
    encoded(&Answer::of_plan(UID, plan, &Patches::new("pull")))
}

fn with(reference: PullReference, causes: &[Cause]) -> Plan {
    Plan {
        skip: None,
        reference,
        grants: Vec::new(),
        causes: causes.to_vec(),
    }
}

#[test]
fn answer_to_an_injected_pod_is_complete() {
    let patches = Patches::new("pull");
    for reference in [PullReference::Create, PullReference::Append] {
        assert_eq!(
            of_plan(&with(reference, &[])),
            json!({
                "apiVersion": "admission.k8s.io/v1",
                "kind": "AdmissionReview",
                "response": {
                    "uid": UID,
                    "allowed": true,
                    "patchType": "JSONPatch",
                    "patch": patches.adding(reference).unwrap(),
                    "auditAnnotations": {"outcome": "injected"},
                },
            })
        );
    }
}

#[test]
fn pod_with_the_reference_gets_no_patch() {
    assert_eq!(
        of_plan(&with(PullReference::Named, &[]))["response"],
        json!({"uid": UID, "allowed": true, "auditAnnotations": {"outcome": "already_present"}})
    );
}

#[test]
fn skipped_pod_gets_its_reason_only() {
    let plan = Plan {
        skip: Some(Skip::OptedOut),
        ..with(PullReference::Withheld, &[])
    };
    assert_eq!(
        of_plan(&plan)["response"],
        json!({"uid": UID, "allowed": true, "auditAnnotations": {"outcome": "skipped", "cause": "opted_out"}})
    );
}

#[test]
fn degraded_answer_warns_of_every_cause() {
    let causes = [Cause::AwsTimeout, Cause::QuotaExceeded];
    let warnings = causes.map(Cause::warning);
    let patches = Patches::new("pull");
    assert_eq!(
        of_plan(&with(PullReference::Create, &causes))["response"],
        json!({
            "uid": UID,
            "allowed": true,
            "patchType": "JSONPatch",
            "patch": patches.adding(PullReference::Create).unwrap(),
            "warnings": warnings,
            "auditAnnotations": {"outcome": "degraded", "cause": "aws_timeout"},
        })
    );
    for reference in [PullReference::Named, PullReference::Withheld] {
        assert_eq!(
            of_plan(&with(reference, &causes))["response"],
            json!({
                "uid": UID,
                "allowed": true,
                "warnings": warnings,
                "auditAnnotations": {"outcome": "degraded", "cause": "aws_timeout"},
            })
        );
    }
    let bare = of_plan(&with(PullReference::Withheld, &[]));
    assert_eq!(
        bare["response"]["auditAnnotations"],
        json!({"outcome": "degraded"})
    );
}

#[test]
fn outcomes_keep_their_names() {
    assert_eq!(Outcome::Injected.name(), "injected");
    assert_eq!(Outcome::AlreadyPresent.name(), "already_present");
    assert_eq!(Outcome::Skipped.name(), "skipped");
    assert_eq!(Outcome::Degraded.name(), "degraded");
}

fn answers() -> impl Strategy<Value = (String, Outcome, Option<String>, Vec<String>)> {
    let outcome = select(vec![
        Outcome::Injected,
        Outcome::AlreadyPresent,
        Outcome::Skipped,
        Outcome::Degraded,
    ]);
    let warnings = proptest::collection::vec(any::<String>(), 0..3);
    (
        any::<String>(),
        outcome,
        proptest::option::of("[A-Za-z0-9+/=]{0,40}"),
        warnings,
    )
}

/// Every field of a response.
const FIELDS: [&str; 6] = [
    "uid",
    "allowed",
    "patchType",
    "patch",
    "warnings",
    "auditAnnotations",
];

proptest! {
    #[test]
    fn no_answer_refuses_a_pod((uid, outcome, patch, warnings) in answers()) {
        let answer = Answer { uid: &uid, outcome, cause: "", patch: patch.as_deref(), warnings: warnings.clone() };
        let encoded = encoded(&answer);
        let response = &encoded["response"];
        prop_assert_eq!(&response["allowed"], &json!(true));
        prop_assert_eq!(&response["uid"], &json!(uid));
        prop_assert_eq!(response.get("patchType").is_some(), patch.is_some());
        prop_assert_eq!(response.get("patch").and_then(Value::as_str), patch.as_deref());
        prop_assert_eq!(response.get("warnings").is_some(), !warnings.is_empty());
        for field in response.as_object().unwrap().keys() {
            prop_assert!(FIELDS.contains(&field.as_str()));
        }
    }
}
