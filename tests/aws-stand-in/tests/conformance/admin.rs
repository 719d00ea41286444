//! The admin API is strict: an error names the part that it does not know.

use http::Method;
use http_body_util::Full;

use crate::support::{World, send, world};

async fn refusal(world: &World, method: Method, path: &str, body: &str) -> String {
    let request = http::Request::builder()
        .method(method)
        .uri(format!("{}/admin/{path}", world.client.url()))
        .body(Full::from(body.to_owned()))
        .unwrap();
    let answer = send(request).await;
    assert!(
        answer.status.is_client_error(),
        "{path} {body}: {}",
        answer.status
    );
    answer.json()["error"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn error_names_the_unknown_field() {
    let world = world().await;
    for (path, body) in [
        ("faults", r#"{"fault": "hang", "misspelt": 1}"#),
        ("faults", r#"{"fault": "misspelt"}"#),
        (
            "faults",
            r#"{"fault": {"delay": {"milliseconds": 1, "misspelt": 1}}}"#,
        ),
        ("faults", r#"{"fault": "hang", "action": "misspelt"}"#),
        ("clock", r#"{"offset_seconds": 1, "misspelt": 1}"#),
        ("principals", r#"{"misspelt": 1}"#),
        ("roles", r#"{"arn": "x", "misspelt": 1}"#),
        ("policy", r#"{"misspelt": 1}"#),
        ("policy", r#"{"pull": {"misspelt": []}}"#),
        ("absent", r#"{"repository": "x", "misspelt": 1}"#),
    ] {
        let message = refusal(&world, Method::PUT, path, body).await;
        assert!(message.contains("misspelt"), "{path}: {message}");
    }
    for (method, path) in [
        (Method::DELETE, "faults?misspelt=1"),
        (Method::GET, "calls?misspelt=1"),
        (Method::GET, "pulls?misspelt=1"),
        (Method::POST, "images?repository=a&tag=b&misspelt=1"),
    ] {
        let message = refusal(&world, method, path, "").await;
        assert!(message.contains("misspelt"), "{path}: {message}");
    }
}

#[tokio::test]
async fn contradictory_settings_are_refused() {
    let world = world().await;
    for (path, body, expected) in [
        (
            "faults",
            r#"{"fault": {"error": {"code": "x", "status": 200, "message": ""}}}"#,
            "200",
        ),
        ("faults", r#"{"fault": "empty", "action": "Pull"}"#, "pull"),
        (
            "roles",
            r#"{"arn": "arn:aws:iam::1:role/x"}"#,
            "twelve digits",
        ),
        (
            "roles",
            r#"{"arn": "arn:aws:iam::123456789012:role/x", "max_session_seconds": 900}"#,
            "3600",
        ),
        (
            "principals",
            r#"{"access_key_id": "a", "secret_access_key": "b", "account": "210987654321", "arn": "arn:aws:iam::123456789012:user/x"}"#,
            "210987654321",
        ),
        ("nothing", "{}", "no such admin call"),
    ] {
        let message = refusal(&world, Method::PUT, path, body).await;
        assert!(message.contains(expected), "{path}: {message}");
    }
}

#[tokio::test]
async fn settings_are_read_back_without_secrets() {
    let world = world().await;
    world.client.role(&crate::support::role()).await.unwrap();
    let get = async |path: &str| {
        let uri = format!("{}/admin/{path}", world.client.url());
        send(http::Request::get(uri).body(Full::default()).unwrap()).await
    };
    assert_eq!(get("roles").await.json()[0]["arn"], crate::support::ROLE);
    let principals = get("principals").await;
    assert_eq!(principals.json()[0]["arn"], crate::support::USER);
    assert!(
        !principals
            .text()
            .contains(aws_stand_in::DEFAULT_SECRET_ACCESS_KEY)
    );
    world.client.reset().await.unwrap();
    assert_eq!(get("roles").await.text(), "[]");
}
