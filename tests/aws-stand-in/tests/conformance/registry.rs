//! Which credential opens which repository.

use aws_stand_in::spec::{Absent, Policy, PullRights, Verdict};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::Request;
use http_body_util::Full;
use serde_json::Value;

use crate::{
    pulls::{HOST, auth, get},
    support::{Caller, USER, World, send, user, world},
};

const OTHER_ACCOUNT: &str = "210987654321.dkr.ecr.test-land-1.amazonaws.com";

/// The registry's verdict, status, code and message.
async fn refused(world: &World, host: &str, auth: &str) -> (Verdict, u16, String, String) {
    let opened = world
        .client
        .registry_get(host, "team/app", "latest", auth)
        .await
        .unwrap();
    let body: Value = serde_json::from_slice(&opened.body).unwrap_or_default();
    let error = &body["errors"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (
        opened.verdict,
        opened.status.as_u16(),
        text(&error["code"]),
        text(&error["message"]),
    )
}

#[tokio::test]
async fn token_opens_every_registry_of_its_region() {
    let world = world().await;
    let auth = auth(&world, &Caller::default()).await;
    for host in [
        HOST,
        "123456789012.dkr.ecr.test-land-1.amazonaws.com:443",
        "123456789012.dkr.ecr-fips.test-land-1.amazonaws.com",
        "123456789012.dkr-ecr.test-land-1.on.aws",
        OTHER_ACCOUNT,
    ] {
        assert_eq!(
            world
                .client
                .registry_opens(host, "app", &auth)
                .await
                .unwrap(),
            Verdict::Accepted,
            "{host}"
        );
    }
}

#[tokio::test]
async fn request_without_credentials_is_challenged() {
    let world = world().await;
    for path in ["/v2/", "/v2/app/manifests/latest"] {
        let request = Request::get(format!("{}{path}", world.client.url())).header("host", HOST);
        let answer = send(request.body(Full::default()).unwrap()).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text()),
            (401, "Not Authorized\n")
        );
        let expected = format!("Basic realm=\"https://{HOST}/\",service=\"ecr.amazonaws.com\"");
        assert_eq!(answer.headers["www-authenticate"], expected.as_str());
    }
}

#[tokio::test]
async fn credential_not_minted_by_ecr_is_refused() {
    let world = world().await;
    let minted = auth(&world, &Caller::default()).await;
    let password = String::from_utf8(STANDARD.decode(&minted).unwrap()).unwrap();
    let as_another_user = STANDARD.encode(password.replacen("AWS:", "aws:", 1));
    let changed = STANDARD.encode(format!("{password}x"));
    let made_up = STANDARD.encode("AWS:password");
    for auth in ["!", &made_up, &changed, &as_another_user] {
        let (verdict, status, code, _) = refused(&world, HOST, auth).await;
        assert_eq!(
            (verdict, status, code.as_str()),
            (Verdict::InvalidToken, 400, "DENIED")
        );
    }
}

#[tokio::test]
async fn token_opens_nothing_in_another_region() {
    let world = world().await;
    let auth = auth(&world, &Caller::default()).await;
    let elsewhere = "123456789012.dkr.ecr.elsewhere-1.amazonaws.com";
    let (verdict, status, code, message) = refused(&world, elsewhere, &auth).await;
    assert_eq!(
        (verdict, status, code.as_str()),
        (Verdict::WrongRegion, 403, "DENIED")
    );
    assert_eq!(
        message,
        "Your authorization token has expired. Reauthenticate and try again."
    );
}

#[tokio::test]
async fn expired_token_is_refused_and_new_one_accepted() {
    let world = world().await;
    let old = auth(&world, &Caller::default()).await;
    world.region.expire_tokens().await.unwrap();
    let (verdict, status, code, message) = refused(&world, HOST, &old).await;
    assert_eq!(
        (verdict, status, code.as_str()),
        (Verdict::Expired, 403, "DENIED")
    );
    assert_eq!(
        message,
        "Your authorization token has expired. Reauthenticate and try again."
    );
    let new = auth(&world, &Caller::default()).await;
    assert_eq!(
        world
            .client
            .registry_opens(HOST, "app", &new)
            .await
            .unwrap(),
        Verdict::Accepted
    );
}

#[tokio::test]
async fn token_expires_after_twelve_hours() {
    let world = world().await;
    let auth = auth(&world, &Caller::default()).await;
    world.region.clock(12 * 3600 - 10).await.unwrap();
    assert_eq!(refused(&world, HOST, &auth).await.0, Verdict::Accepted);
    world.region.clock(12 * 3600 + 10).await.unwrap();
    assert_eq!(refused(&world, HOST, &auth).await.0, Verdict::Expired);
}

#[tokio::test]
async fn principals_rights_are_checked_at_pull_time() {
    let world = world().await;
    let (other, caller) = user("123456789012", "other");
    world.client.user(&other).await.unwrap();
    let mine = auth(&world, &Caller::default()).await;
    let others = auth(&world, &caller).await;
    let allow = vec![
        "123456789012/team/*".to_owned(),
        "123456789012/shared".to_owned(),
    ];
    let deny = vec!["*/team/app".to_owned()];
    let policy = Policy {
        principal: Some(USER.into()),
        pull: PullRights { allow, deny },
        ..Policy::default()
    };
    world.region.policy(policy).await.unwrap();

    let opens = async |host, repository, auth: &str| {
        world
            .client
            .registry_opens(host, repository, auth)
            .await
            .unwrap()
    };
    assert_eq!(opens(HOST, "shared", &mine).await, Verdict::Accepted);
    assert_eq!(opens(HOST, "team/other", &mine).await, Verdict::Accepted);
    assert_eq!(opens(HOST, "team/app", &mine).await, Verdict::Denied);
    assert_eq!(opens(HOST, "private", &mine).await, Verdict::Denied);
    assert_eq!(opens(OTHER_ACCOUNT, "shared", &mine).await, Verdict::Denied);
    assert_eq!(opens(HOST, "private", &others).await, Verdict::Accepted);

    let opened = world
        .client
        .registry_get(HOST, "private", "latest", &mine)
        .await
        .unwrap();
    let body: Value = serde_json::from_slice(&opened.body).unwrap();
    assert_eq!(
        (opened.status.as_u16(), &body["errors"][0]["code"]),
        (403, &"DENIED".into())
    );
    assert_eq!(
        body["errors"][0]["message"],
        format!(
            "User: {USER} is not authorized to perform: ecr:BatchGetImage on resource: \
             arn:aws:ecr:test-land-1:123456789012:repository/private because no identity-based policy allows the \
             ecr:BatchGetImage action"
        )
    );
}

#[tokio::test]
async fn host_then_ns_then_header_name_the_registry() {
    let world = world().await;
    let auth = auth(&world, &Caller::default()).await;
    let ask = async |path: &str, host: &str, header: &str| {
        let request = Request::get(format!("{}{path}", world.client.url()))
            .header("host", host)
            .header("x-registry-host", header)
            .header("authorization", format!("Basic {auth}"));
        send(request.body(Full::default()).unwrap()).await.headers["x-stand-in-verdict"].clone()
    };
    let elsewhere = "123456789012.dkr.ecr.elsewhere-1.amazonaws.com";
    let path = "/v2/app/manifests/latest";
    let by_ns = format!("{path}?ns={HOST}");
    let by_ns_elsewhere = format!("{path}?ns={elsewhere}");
    assert_eq!(ask(&by_ns_elsewhere, HOST, elsewhere).await, "accepted");
    assert_eq!(ask(&by_ns, "127.0.0.1:5000", elsewhere).await, "accepted");
    assert_eq!(ask(path, "127.0.0.1:5000", HOST).await, "accepted");
    assert_eq!(
        ask(&by_ns_elsewhere, "127.0.0.1:5000", HOST).await,
        "wrong_region"
    );
    assert_eq!(ask(path, "127.0.0.1:5000", "").await, "name_unknown");
}

#[tokio::test]
async fn absent_repository_is_not_found_until_restored() {
    let world = world().await;
    let auth = auth(&world, &Caller::default()).await;
    world.region.absent("gone", None).await.unwrap();
    world.region.absent("app", Some("old")).await.unwrap();
    let answer = get(&world, "/v2/gone/manifests/latest", &auth).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["errors"][0]["code"]),
        (404, &"NAME_UNKNOWN".into())
    );
    assert_eq!(
        answer.json()["errors"][0]["message"],
        "The repository with name 'gone' does not exist in the registry with id '123456789012'"
    );
    let answer = get(&world, "/v2/app/manifests/old", &auth).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["errors"][0]["code"]),
        (404, &"MANIFEST_UNKNOWN".into())
    );
    assert_eq!(
        get(&world, "/v2/app/manifests/new", &auth).await.status,
        200
    );
    let gone = Absent {
        region: Some(world.region.name().into()),
        repository: "gone".into(),
        tag: None,
    };
    world.client.present(&gone).await.unwrap();
    assert_eq!(
        get(&world, "/v2/gone/manifests/latest", &auth).await.status,
        200
    );
}
