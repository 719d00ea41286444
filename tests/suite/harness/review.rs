//! Handmade admission reviews, for what the API server does not send on demand.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{Request, header};
use http_body_util::Full;
use serde_json::{Value, json};

use super::replica::{Connection, Replica};

/// Review of a pod's creation.
pub fn of_pod(namespace: &str, pod: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": format!("review-of-{namespace}"),
            "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "namespace": namespace,
            "operation": "CREATE",
            "userInfo": { "username": "test" },
            "object": pod,
            "dryRun": false,
        }
    })
}

/// Sends a review; the `response` of the answer.
pub async fn answer(replica: &Replica, review: &Value) -> Value {
    let (status, body) = replica.post(review.to_string()).await.expect("an answer");
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    response(review, &body)
}

/// The same on an open connection.
pub async fn answer_on(connection: &mut Connection, review: &Value) -> Value {
    let request = Request::post("/mutate?timeout=5s")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::from(review.to_string()))
        .expect("a request");
    let answer = connection.send(request).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    response(review, answer.body())
}

fn response(review: &Value, body: &[u8]) -> Value {
    let answer: Value = serde_json::from_slice(body).expect("an answer is JSON");
    assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
    assert_eq!(answer["response"]["allowed"], true);
    answer["response"].clone()
}

/// Whether the answer's patch adds the reference.
pub fn adds_reference(answer: &Value) -> bool {
    let Some(patch) = answer["patch"].as_str() else {
        return false;
    };
    let patch = BASE64_STANDARD.decode(patch).expect("base64");
    String::from_utf8_lossy(&patch).contains(super::namespace::SECRET)
}

/// All warnings, joined.
pub fn warnings(answer: &Value) -> String {
    answer["warnings"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}
