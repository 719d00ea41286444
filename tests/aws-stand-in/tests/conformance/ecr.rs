//! `GetAuthorizationToken` on the wire: the answer, and the refusals.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::support::{Caller, REGION, USER, now, send, user, world};
use aws_stand_in::spec::{Action, Expire, Policy};

#[tokio::test]
async fn answer_has_a_real_ones_shape_and_size() {
    let world = world().await;
    let answer = Caller::default().mint(&world).await;
    assert_eq!(answer.headers["content-type"], "application/x-amz-json-1.1");
    let data = answer.authorization();

    let token = STANDARD
        .decode(data["authorizationToken"].as_str().unwrap())
        .unwrap();
    let token = String::from_utf8(token).unwrap();
    let password = token.strip_prefix("AWS:").unwrap();
    assert!((2600..2800).contains(&password.len()));
    let inner: Value = serde_json::from_slice(&STANDARD.decode(password).unwrap()).unwrap();
    assert_eq!(inner["type"], "DATA_KEY");
    assert_eq!(inner["version"], "2");

    let listed = world.region.expiries().await.unwrap();
    assert_eq!(inner["expiration"], json!(listed[0]));
    assert_eq!(listed.len(), 1);

    let expires = data["expiresAt"].as_f64().unwrap();
    let twelve_hours = now().as_second() + 12 * 3600;
    #[expect(clippy::cast_precision_loss)]
    let off = (expires - twelve_hours as f64).abs();
    assert!(off < 5.0, "{expires}");
    let endpoint = "https://123456789012.dkr.ecr.test-land-1.amazonaws.com";
    assert_eq!(data["proxyEndpoint"], endpoint);
}

#[tokio::test]
async fn each_call_mints_a_new_own_account_token() {
    let world = world().await;
    let (user, caller) = user("210987654321", "other");
    world.client.user(&user).await.unwrap();
    let (one, two) = (
        caller.mint(&world).await.authorization(),
        caller.mint(&world).await.authorization(),
    );
    assert_ne!(one["authorizationToken"], two["authorizationToken"]);
    assert_eq!(
        one["proxyEndpoint"],
        "https://210987654321.dkr.ecr.test-land-1.amazonaws.com"
    );
}

#[tokio::test]
async fn deprecated_registry_ids_are_checked_and_answered_each() {
    let world = world().await;
    let ask = async |ids: Value| {
        let body = json!({"registryIds": ids}).to_string();
        send(Caller::default().ecr_request(&world, &body)).await
    };
    let answer = ask(json!(["111111111111", "222222222222"])).await.json();
    assert_eq!(answer["authorizationData"].as_array().unwrap().len(), 2);
    for bad in [json!([]), json!(["1"]), json!(vec!["111111111111"; 11])] {
        assert_eq!(ask(bad).await.ecr_error().1, "InvalidParameterException");
    }
}

#[tokio::test]
async fn unauthenticated_caller_is_refused_with_awss_message() {
    let world = world().await;
    let refused = async |caller: Caller| caller.mint(&world).await.ecr_error();
    let default = Caller::default;

    let (status, code, message) = refused(Caller {
        secret: "wrong".into(),
        ..default()
    })
    .await;
    assert_eq!((status, code.as_str()), (400, "InvalidSignatureException"));
    assert!(message.starts_with("The request signature we calculated does not match"));

    let (status, code, message) = refused(Caller {
        key: "AKIAUNKNOWN".into(),
        ..default()
    })
    .await;
    assert_eq!(
        (status, code.as_str()),
        (400, "UnrecognizedClientException")
    );
    assert_eq!(
        message,
        "The security token included in the request is invalid."
    );

    let token = Some("a token that a long-term key does not have".to_owned());
    let (_, code, _) = refused(Caller {
        session_token: token,
        ..default()
    })
    .await;
    assert_eq!(code, "UnrecognizedClientException");

    let (_, code, message) = refused(Caller {
        service: Some("sts"),
        ..default()
    })
    .await;
    assert_eq!(code, "InvalidSignatureException");
    assert!(
        message.contains("scoped to correct service: 'ecr'"),
        "{message}"
    );
}

#[tokio::test]
async fn clock_skew_beyond_five_minutes_is_refused() {
    let world = world().await;
    let mint = async |skew| {
        Caller {
            skew,
            ..Caller::default()
        }
        .mint(&world)
        .await
    };
    for skew in [-290, 290] {
        assert_eq!(mint(skew).await.status, 200, "{skew}");
    }
    let (_, code, message) = mint(-310).await.ecr_error();
    assert_eq!(code, "InvalidSignatureException");
    assert!(
        message.starts_with("Signature expired: ") && message.ends_with(" - 5 min.)"),
        "{message}"
    );
    let (_, code, message) = mint(310).await.ecr_error();
    assert_eq!(code, "InvalidSignatureException");
    assert!(
        message.starts_with("Signature not yet current: "),
        "{message}"
    );
}

#[tokio::test]
async fn regional_clock_offset_moves_only_its_region() {
    let world = world().await;
    world.region.clock(3600).await.unwrap();
    assert_eq!(
        Caller::default().mint(&world).await.ecr_error().1,
        "InvalidSignatureException"
    );
    assert_eq!(
        Caller {
            skew: 3600,
            ..Caller::default()
        }
        .mint(&world)
        .await
        .status,
        200
    );
    assert_eq!(
        Caller {
            region: "elsewhere-1",
            ..Caller::default()
        }
        .mint(&world)
        .await
        .status,
        200
    );
}

#[tokio::test]
async fn changed_or_unsigned_request_is_refused() {
    let world = world().await;
    let mut request = Caller::default().ecr_request(&world, "{}");
    *request.body_mut() = r#"{"registryIds":["111111111111"]}"#.to_owned().into();
    request.headers_mut().remove("content-length");
    assert_eq!(
        send(request).await.ecr_error().1,
        "InvalidSignatureException"
    );

    let mut request = Caller::default().ecr_request(&world, "{}");
    request.headers_mut().remove("authorization");
    let (_, code, message) = send(request).await.ecr_error();
    assert_eq!(
        (code.as_str(), message.as_str()),
        (
            "MissingAuthenticationTokenException",
            "Missing Authentication Token"
        )
    );

    let mut request = Caller::default().ecr_request(&world, "{}");
    let unsigned = request.headers()["authorization"]
        .to_str()
        .unwrap()
        .replace("x-amz-target", "x-other");
    request
        .headers_mut()
        .insert("authorization", unsigned.parse().unwrap());
    let (_, code, message) = send(request).await.ecr_error();
    assert_eq!(code, "InvalidSignatureException");
    assert_eq!(
        message,
        "'x-amz-target' must be a 'SignedHeader' in the AWS Authorization."
    );

    let mut request = Caller::default().ecr_request(&world, "{}");
    request.headers_mut().insert(
        "authorization",
        "AWS4-HMAC-SHA256 Credential=x".parse().unwrap(),
    );
    assert_eq!(
        send(request).await.ecr_error().1,
        "IncompleteSignatureException"
    );
}

#[tokio::test]
async fn scope_of_another_day_is_refused() {
    let world = world().await;
    let mut request = Caller::default().ecr_request(&world, "{}");
    let today = request.headers()["x-amz-date"].to_str().unwrap()[..8].to_owned();
    let authorization = request.headers()["authorization"].to_str().unwrap();
    let authorization = authorization.replace(&format!("/{today}/"), "/20150830/");
    request
        .headers_mut()
        .insert("authorization", authorization.parse().unwrap());
    let (_, code, message) = send(request).await.ecr_error();
    assert_eq!(code, "InvalidSignatureException");
    assert!(
        message.starts_with("Date in Credential scope does not match"),
        "{message}"
    );
}

#[tokio::test]
async fn unknown_operation_is_refused() {
    let world = world().await;
    let mut request = Caller::default().ecr_request(&world, "{}");
    let target = "AmazonEC2ContainerRegistry_V20150921.DescribeRepositories";
    request
        .headers_mut()
        .insert("x-amz-target", target.parse().unwrap());
    assert_eq!(
        send(request).await.ecr_error().1,
        "UnknownOperationException"
    );
}

#[tokio::test]
async fn policy_denial_names_principal_and_action() {
    let world = world().await;
    let policy = Policy {
        principal: Some(USER.to_owned()),
        deny_get_authorization_token: true,
        ..Policy::default()
    };
    world.region.policy(policy).await.unwrap();
    let (status, code, message) = Caller::default().mint(&world).await.ecr_error();
    assert_eq!((status, code.as_str()), (400, "AccessDeniedException"));
    assert_eq!(
        message,
        format!(
            "User: {USER} is not authorized to perform: ecr:GetAuthorizationToken on resource: * because no \
             identity-based policy allows the ecr:GetAuthorizationToken action"
        )
    );
    assert_eq!(
        Caller {
            region: "elsewhere-1",
            ..Caller::default()
        }
        .mint(&world)
        .await
        .status,
        200
    );
}

#[tokio::test]
async fn calls_are_counted_by_principal_region_and_action() {
    let world = world().await;
    Caller::default().mint(&world).await;
    Caller::default().mint(&world).await;
    Caller {
        secret: "wrong".into(),
        ..Caller::default()
    }
    .mint(&world)
    .await;
    Caller {
        key: "AKIAUNKNOWN".into(),
        ..Caller::default()
    }
    .mint(&world)
    .await;
    Caller {
        region: "elsewhere-1",
        ..Caller::default()
    }
    .mint(&world)
    .await;

    let calls = world.region.calls().await.unwrap();
    let counts: Vec<_> = calls
        .iter()
        .map(|count| {
            (
                count.principal.as_str(),
                count.total,
                count.succeeded,
                count.failed,
            )
        })
        .collect();
    assert_eq!(counts, [(USER, 3, 2, 1), ("unknown", 1, 0, 1)]);
    assert!(
        calls
            .iter()
            .all(|count| count.region == REGION && count.action == "GetAuthorizationToken")
    );

    world.region.clear_counts().await.unwrap();
    assert_eq!(
        world
            .region
            .total(Action::GetAuthorizationToken)
            .await
            .unwrap()
            .total,
        0
    );
    assert_eq!(world.client.calls().await.unwrap().len(), 1);
}

#[tokio::test]
async fn secrets_stay_readable_after_a_reset() {
    let world = world().await;
    let data = Caller::default().mint(&world).await.authorization();
    let token = data["authorizationToken"].as_str().unwrap();
    world.client.expire(&Expire::default()).await.unwrap();
    world.client.reset().await.unwrap();
    let secrets = world.client.secrets().await.unwrap();
    assert!(
        secrets
            .authorization_tokens
            .iter()
            .any(|known| known == token)
    );
    assert_eq!(
        STANDARD.encode(format!("AWS:{}", secrets.passwords[0])),
        token
    );
    assert!(
        secrets
            .all()
            .any(|known| known == aws_stand_in::DEFAULT_SECRET_ACCESS_KEY)
    );
}
