//! Each fault, as the caller sees it.

use std::time::Duration;

use aws_stand_in::spec::{Action, Fault, FaultRule, HostileAnswer, Verdict};
use tokio::time::timeout;

use crate::support::{Answer, Caller, REGION, ROLE, USER, World, now, role, try_send, world};

async fn minted_under(world: &World, fault: Fault) -> Answer {
    world.region.fault(fault).await.unwrap();
    Caller::default().mint(world).await
}

#[expect(clippy::cast_possible_truncation)]
fn seconds_left(answer: &Answer) -> i64 {
    answer.authorization()["expiresAt"].as_f64().unwrap() as i64 - now().as_second()
}

async fn verdict(world: &World, answer: &Answer) -> Verdict {
    let data = answer.authorization();
    let host = world.region.host("123456789012");
    let auth = data["authorizationToken"].as_str().unwrap();
    world
        .client
        .registry_opens(&host, "app", auth)
        .await
        .unwrap()
}

#[tokio::test]
async fn short_lifetime_is_stated_and_enforced() {
    let world = world().await;
    let answer = minted_under(&world, Fault::Lifetime { seconds: 60 }).await;
    assert!((55..=60).contains(&seconds_left(&answer)));
    assert_eq!(verdict(&world, &answer).await, Verdict::Accepted);
    let answer = minted_under(&world, Fault::Lifetime { seconds: -5 }).await;
    assert!(seconds_left(&answer) < 0);
    assert_eq!(verdict(&world, &answer).await, Verdict::Expired);
}

#[tokio::test]
async fn stated_lifetime_is_not_enforced() {
    let world = world().await;
    let answer = minted_under(&world, Fault::StatedLifetime { seconds: -3600 }).await;
    assert!(seconds_left(&answer) < -3590);
    assert_eq!(verdict(&world, &answer).await, Verdict::Accepted);
}

#[tokio::test]
async fn answer_can_lack_the_expiry() {
    let world = world().await;
    let answer = minted_under(&world, Fault::NoExpiry).await;
    assert!(answer.authorization().get("expiresAt").is_none());
    assert_eq!(verdict(&world, &answer).await, Verdict::Accepted);
}

#[tokio::test]
async fn answer_waits_for_the_delay() {
    let world = world().await;
    world
        .region
        .fault(Fault::Delay { milliseconds: 300 })
        .await
        .unwrap();
    let early = timeout(Duration::from_millis(200), Caller::default().mint(&world)).await;
    assert!(early.is_err());
    assert_eq!(Caller::default().mint(&world).await.status, 200);
}

#[tokio::test]
async fn hanging_call_counts_as_open_without_delaying_others() {
    let world = world().await;
    world.region.fault(Fault::Hang).await.unwrap();
    assert!(
        timeout(Duration::from_millis(200), Caller::default().mint(&world))
            .await
            .is_err()
    );
    let total = world
        .region
        .total(Action::GetAuthorizationToken)
        .await
        .unwrap();
    assert_eq!((total.total, total.succeeded, total.failed), (1, 0, 0));
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
async fn reset_closes_the_connection() {
    let world = world().await;
    world.region.fault_times(Fault::Reset, 1).await.unwrap();
    let error = try_send(Caller::default().ecr_request(&world, "{}"))
        .await
        .unwrap_err();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    assert!(cause.to_string().contains("reset"), "{cause}");
    assert_eq!(Caller::default().mint(&world).await.status, 200);
    let total = world
        .region
        .total(Action::GetAuthorizationToken)
        .await
        .unwrap();
    assert_eq!((total.succeeded, total.failed), (1, 1));
}

#[tokio::test]
async fn error_has_its_protocols_shape() {
    let world = world().await;
    let error = Fault::Error {
        code: "ServerException".into(),
        status: 500,
        message: "<oh & no>".into(),
    };
    let answer = minted_under(&world, error).await;
    assert_eq!(
        answer.ecr_error(),
        (500, "ServerException".into(), "<oh & no>".into())
    );
    let identity = [("Action", "GetCallerIdentity"), ("Version", "2011-06-15")];
    let answer = Caller::default().sts(&world, &identity).await;
    assert_eq!(
        answer.sts_error(),
        (500, "ServerException", "&lt;oh &amp; no&gt;")
    );
    assert_eq!(answer.xml("Type"), "Receiver");
}

#[tokio::test]
async fn throttling_has_both_of_awss_forms() {
    let world = world().await;
    let answer = minted_under(&world, Fault::Throttling).await;
    assert_eq!(
        answer.ecr_error(),
        (400, "ThrottlingException".into(), "Rate exceeded".into())
    );
    let identity = [("Action", "GetCallerIdentity"), ("Version", "2011-06-15")];
    let answer = Caller::default().sts(&world, &identity).await;
    assert_eq!(answer.sts_error(), (400, "Throttling", "Rate exceeded"));
    let answer = minted_under(&world, Fault::ThrottleException).await;
    assert_eq!(
        answer.ecr_error(),
        (429, "ThrottleException".into(), "Rate exceeded".into())
    );
}

#[tokio::test]
async fn empty_answer_is_a_success_without_content() {
    let world = world().await;
    let answer = minted_under(&world, Fault::Empty).await;
    assert_eq!(
        (answer.status.as_u16(), answer.text()),
        (200, r#"{"authorizationData":[]}"#)
    );
    world.client.role(&role()).await.unwrap();
    let answer = Caller::default().assume(&world, &[]).await;
    assert_eq!(
        (answer.status.as_u16(), answer.xml("AccessKeyId")),
        (200, "")
    );
}

#[tokio::test]
async fn malformed_answer_is_truncated() {
    let world = world().await;
    let answer = minted_under(&world, Fault::Malformed).await;
    assert_eq!(answer.status, 200);
    assert!(serde_json::from_slice::<serde_json::Value>(&answer.body).is_err());
}

#[tokio::test]
async fn limited_fault_fails_only_the_first_calls() {
    let world = world().await;
    world
        .region
        .fault_times(Fault::Throttling, 2)
        .await
        .unwrap();
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(Caller::default().mint(&world).await.status.as_u16());
    }
    assert_eq!(statuses, [400, 400, 200, 200]);
}

#[tokio::test]
async fn fault_applies_to_its_region_principal_and_action() {
    let world = world().await;
    world.client.role(&role()).await.unwrap();
    let session = Caller::session(&Caller::default().assume(&world, &[]).await);
    let minted = async |caller: &Caller, region| {
        Caller {
            region,
            ..caller.clone()
        }
        .mint(&world)
        .await
        .status
            == 200
    };
    let all = async || {
        [
            minted(&Caller::default(), REGION).await,
            minted(&session, REGION).await,
            minted(&Caller::default(), "elsewhere-1").await,
        ]
    };

    world.region.fault(Fault::Throttling).await.unwrap();
    assert_eq!(all().await, [false, false, true]);
    world.region.clear_faults().await.unwrap();
    assert_eq!(all().await, [true, true, true]);

    let of = |principal: &str| FaultRule {
        region: None,
        principal: Some(principal.to_owned()),
        ..world.region.rule(Fault::Throttling)
    };
    world.client.fault(&of(ROLE)).await.unwrap();
    assert_eq!(all().await, [true, false, true]);
    world.client.clear_faults().await.unwrap();
    world.client.fault(&of(USER)).await.unwrap();
    assert_eq!(all().await, [false, true, false]);
    world.client.clear_faults().await.unwrap();
    world
        .region
        .fault_of(Action::AssumeRole, Fault::Throttling)
        .await
        .unwrap();
    assert_eq!(all().await, [true, true, true]);
    assert_eq!(
        Caller::default().assume(&world, &[]).await.xml("Code"),
        "Throttling"
    );
}

#[tokio::test]
async fn fault_does_not_hide_a_wrong_signature() {
    let world = world().await;
    world.region.fault(Fault::Throttling).await.unwrap();
    let caller = Caller {
        secret: "wrong".into(),
        ..Caller::default()
    };
    assert_eq!(
        caller.mint(&world).await.ecr_error().1,
        "InvalidSignatureException"
    );
}

#[tokio::test]
async fn quoting_refusal_holds_the_token_that_was_due() {
    let world = world().await;
    let answer = HostileAnswer::Quoting;
    let refusal = minted_under(&world, Fault::Hostile { answer }).await;
    let secrets = world.client.secrets().await.unwrap();
    let token = secrets.authorization_tokens.last().unwrap();
    assert!(refusal.text().contains(token.as_str()));
}
