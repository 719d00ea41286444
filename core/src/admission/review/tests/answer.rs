//! What an answer says, and that none refuses.

use super::*;

use proptest::sample::select;

fn encoded(answer: &Answer<'_>) -> Value {
    serde_json::from_slice(&encode(answer).unwrap()).unwrap()
}

#[test]
fn the_answer_to_an_injected_pod_is_complete() {
    let answer = Answer {
        uid: UID,
        outcome: Outcome::Injected,
        cause: "",
        patch: Some("W10="),
        warnings: Vec::new(),
    };
    assert_eq!(
        encoded(&answer),
        json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "response": {
                "uid": UID,
                "allowed": true,
                "patchType": "JSONPatch",
                "patch": "W10=",
                "auditAnnotations": {"outcome": "injected"},
            },
        })
    );
}

#[test]
fn a_skipped_pod_gets_its_reason_and_nothing_else() {
    assert_eq!(
        encoded(&Answer::skipped(UID, "opted_out"))["response"],
        json!({"uid": UID, "allowed": true, "auditAnnotations": {"outcome": "skipped", "cause": "opted_out"}})
    );
}

#[test]
fn a_degraded_answer_is_named_by_the_first_cause_and_warns_of_all() {
    let causes = [Cause::AwsTimeout, Cause::QuotaExceeded];
    assert_eq!(
        encoded(&Answer::degraded(UID, Some("W10="), &causes))["response"],
        json!({
            "uid": UID,
            "allowed": true,
            "patchType": "JSONPatch",
            "patch": "W10=",
            "warnings": [Cause::AwsTimeout.warning(), Cause::QuotaExceeded.warning()],
            "auditAnnotations": {"outcome": "degraded", "cause": "aws_timeout"},
        })
    );
    let bare = encoded(&Answer::degraded(UID, None, &[]));
    assert_eq!(
        bare["response"]["auditAnnotations"],
        json!({"outcome": "degraded"})
    );
}

#[test]
fn outcomes_have_the_names_that_others_rely_on() {
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

/// Everything an answer may hold, by name.
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
