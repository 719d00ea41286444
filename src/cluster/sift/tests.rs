use std::convert::Infallible;

use http_body_util::Full;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::ListParams;
use kube::{Api, Client};
use serde_json::json;
use tower::service_fn;

use super::*;
use crate::cluster::refusal::Refusal;

/// A client whose every answer is this one.
fn client(status: u16, content_type: &'static str, body: String) -> Client {
    let answer = service_fn(move |_: Request<Body>| {
        let answer = Response::builder()
            .status(status)
            .header(CONTENT_TYPE, content_type)
            .body(Full::new(Bytes::from(body.clone())));
        async move { Ok::<_, Infallible>(answer.unwrap()) }
    });
    let views = Views::new(&["pull".to_owned()]);
    Client::new(Sifting::new(views).layer(answer), "default")
}

#[tokio::test]
async fn list_is_sifted_before_it_is_parsed() {
    let names = vec![json!({ "name": "x" }); 1000];
    let account = json!({ "metadata": { "name": "default" }, "imagePullSecrets": names });
    let list = json!({ "kind": "ServiceAccountList", "apiVersion": "v1", "metadata": {}, "items": [account, account] });
    let client = client(200, "application/json", list.to_string());
    let accounts: Api<ServiceAccount> = Api::all(client);
    let accounts = accounts.list(&ListParams::default()).await.unwrap();
    assert_eq!(accounts.items.len(), 2);
    for account in accounts {
        assert_eq!(account.metadata.name.as_deref(), Some("default"));
        assert_eq!(account.image_pull_secrets.unwrap(), []);
    }
}

#[tokio::test]
async fn refusal_stays_readable() {
    let message = "namespaces \"team\" is being terminated";
    let causes: Vec<_> =
        vec![json!({ "reason": "NamespaceTerminating", "message": "x".repeat(100) }); 1000];
    let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": "Forbidden", "code": 403, "details": { "name": "x", "kind": "secrets", "causes": causes } });
    let client = client(403, "application/json", status.to_string());
    let pods: Api<Pod> = Api::all(client);
    let error = pods.get("a").await.unwrap_err();
    let (cause, detail) = Refusal::of(&error).into_parts();
    assert_eq!(cause.name(), "namespace_terminating");
    assert_eq!(detail, message);
    let kube::Error::Api(status) = error else {
        panic!("{error}");
    };
    let causes = status.details.unwrap().causes.len();
    assert!((1..100).contains(&causes), "{causes}");
}

#[tokio::test]
async fn refusal_of_an_old_token_keeps_the_new_one() {
    let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": { "continue": "late" }, "status": "Failure",
        "message": "The provided continue parameter is too old", "reason": "Expired", "code": 410 });
    let client = client(410, "application/json", status.to_string());
    let pods: Api<Pod> = Api::all(client);
    let kube::Error::Api(status) = pods.list(&ListParams::default()).await.unwrap_err() else {
        panic!("not an answer");
    };
    assert_eq!(status.metadata.unwrap().continue_.as_deref(), Some("late"));
}

#[tokio::test]
async fn refusal_of_a_proxy_is_truncated() {
    let client = client(502, "text/html", "<html>".repeat(100_000));
    let pods: Api<Pod> = Api::all(client);
    let kube::Error::Api(status) = pods.get("a").await.unwrap_err() else {
        panic!("not an answer");
    };
    assert_eq!(status.code, 502);
    assert!(
        status.message.len() <= MAX_OTHER_REFUSAL,
        "{}",
        status.message.len()
    );
}

#[tokio::test]
async fn other_answer_beyond_the_limit_is_an_error() {
    let lease = |length| {
        let lease =
            json!({ "metadata": { "name": "a", "annotations": { "a": "x".repeat(length) } } });
        Api::<Lease>::namespaced(client(200, "application/json", lease.to_string()), "ours")
    };
    assert!(lease(1_000_000).get("a").await.is_ok());
    let error = lease(9_000_000).get("a").await.unwrap_err();
    assert!(Refusal::of(&error).is_transient(), "{error}");
}
