//! STS: which caller may assume which role, for how long, and what its session may do.

use aws_stand_in::spec::{Action, Expire, Fault, FaultRule, Role};

use crate::support::{Answer, Caller, ROLE, USER, World, role, user, world};

pub(crate) const SESSION: &str = "arn:aws:sts::210987654321:assumed-role/puller/session";

pub(crate) async fn world_with(role: Role) -> World {
    let world = world().await;
    world.client.role(&role).await.unwrap();
    world
}

pub(crate) async fn identity(world: &World, caller: &Caller) -> Answer {
    caller
        .sts(
            world,
            &[("Action", "GetCallerIdentity"), ("Version", "2011-06-15")],
        )
        .await
}

#[tokio::test]
async fn caller_learns_its_identity() {
    let world = world().await;
    let answer = identity(&world, &Caller::default()).await;
    assert_eq!(answer.headers["content-type"], "text/xml");
    assert_eq!(
        (answer.xml("Arn"), answer.xml("Account")),
        (USER, "123456789012")
    );
    assert!(answer.text().starts_with(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"
    ));
}

#[tokio::test]
async fn unauthenticated_caller_gets_stss_error_names() {
    let world = world().await;
    let refused = async |caller: Caller| {
        let answer = identity(&world, &caller).await;
        let (status, code, _) = answer.sts_error();
        (status, code.to_owned())
    };
    let default = Caller::default;
    let unknown = (403, "InvalidClientTokenId".to_owned());
    let mismatch = (403, "SignatureDoesNotMatch".to_owned());
    assert_eq!(
        refused(Caller {
            key: "AKIAUNKNOWN".into(),
            ..default()
        })
        .await,
        unknown
    );
    assert_eq!(
        refused(Caller {
            secret: "wrong".into(),
            ..default()
        })
        .await,
        mismatch
    );
    assert_eq!(
        refused(Caller {
            skew: -310,
            ..default()
        })
        .await,
        mismatch
    );
    assert_eq!(
        refused(Caller {
            service: Some("ecr"),
            ..default()
        })
        .await,
        mismatch
    );
}

#[tokio::test]
async fn unknown_action_or_version_is_refused() {
    let world = world().await;
    for fields in [
        [("Action", "GetSessionToken"), ("Version", "2011-06-15")],
        [("Action", "GetCallerIdentity"), ("Version", "2010-01-01")],
    ] {
        let answer = Caller::default().sts(&world, &fields).await;
        assert_eq!(answer.sts_error().1, "InvalidAction");
    }
}

#[tokio::test]
async fn trusted_callers_session_acts_in_the_roles_account() {
    let world = world_with(role()).await;
    let answer = Caller::default().assume(&world, &[]).await;
    assert!(answer.xml("AccessKeyId").starts_with("ASIA"));
    assert_eq!(answer.xml("Arn"), SESSION);
    let session = Caller::session(&answer);
    assert_eq!(identity(&world, &session).await.xml("Arn"), SESSION);
    let endpoint = "https://210987654321.dkr.ecr.test-land-1.amazonaws.com";
    assert_eq!(
        session.mint(&world).await.authorization()["proxyEndpoint"],
        endpoint
    );
}

#[tokio::test]
async fn session_key_is_refused_without_its_token() {
    let world = world_with(role()).await;
    let session = Caller::session(&Caller::default().assume(&world, &[]).await);
    for token in [None, Some("another".to_owned())] {
        let caller = Caller {
            session_token: token,
            ..session.clone()
        };
        assert_eq!(
            caller.mint(&world).await.ecr_error().1,
            "UnrecognizedClientException"
        );
        assert_eq!(
            identity(&world, &caller).await.sts_error().1,
            "InvalidClientTokenId"
        );
    }
}

#[tokio::test]
async fn expired_session_is_refused_by_both_services() {
    let world = world_with(role()).await;
    let session = Caller::session(&Caller::default().assume(&world, &[]).await);
    let expire = Expire {
        sessions: true,
        principal: Some(ROLE.to_owned()),
        region: None,
    };
    world.client.expire(&expire).await.unwrap();
    let (status, code, message) = session.mint(&world).await.ecr_error();
    assert_eq!((status, code.as_str()), (400, "ExpiredTokenException"));
    assert_eq!(
        message,
        "The security token included in the request is expired"
    );
    assert_eq!(
        identity(&world, &session).await.sts_error().1,
        "ExpiredToken"
    );
}

#[tokio::test]
async fn session_expires_by_itself() {
    let world = world_with(role()).await;
    let rule = FaultRule {
        action: Some(Action::AssumeRole),
        ..world.region.rule(Fault::Lifetime { seconds: 0 })
    };
    world.client.fault(&rule).await.unwrap();
    let session = Caller::session(&Caller::default().assume(&world, &[]).await);
    assert_eq!(
        session.mint(&world).await.ecr_error().1,
        "ExpiredTokenException"
    );
}

#[tokio::test]
async fn unknown_and_untrusting_role_are_refused_alike() {
    let world = world_with(Role {
        trusts: vec!["999999999999".into()],
        ..role()
    })
    .await;
    let expected =
        format!("User: {USER} is not authorized to perform: sts:AssumeRole on resource: ");
    for arn in [ROLE, "arn:aws:iam::210987654321:role/unknown"] {
        let answer = Caller::default().assume(&world, &[("RoleArn", arn)]).await;
        assert_eq!(
            answer.sts_error(),
            (403, "AccessDenied", format!("{expected}{arn}").as_str())
        );
    }
}

#[tokio::test]
async fn role_trusts_by_account_user_or_role() {
    let (stranger, as_stranger) = user("999999999999", "stranger");
    let hop = "arn:aws:iam::123456789012:role/hop";
    for (trust, user_may, session_may, stranger_may) in [
        ("123456789012", true, true, false),
        (USER, true, false, false),
        (hop, false, true, false),
        (
            "arn:aws:sts::123456789012:assumed-role/hop/*",
            false,
            true,
            false,
        ),
        ("*", true, true, true),
    ] {
        let world = world_with(Role {
            trusts: vec![trust.into()],
            ..role()
        })
        .await;
        world.client.user(&stranger).await.unwrap();
        world
            .client
            .role(&Role {
                arn: hop.into(),
                ..role()
            })
            .await
            .unwrap();
        let session = Caller::session(&Caller::default().assume(&world, &[("RoleArn", hop)]).await);
        let may = async |caller: &Caller| caller.assume(&world, &[]).await.status == 200;
        assert_eq!(may(&Caller::default()).await, user_may, "{trust}");
        assert_eq!(may(&session).await, session_may, "{trust}");
        assert_eq!(may(&as_stranger).await, stranger_may, "{trust}");
    }
}

#[tokio::test]
async fn external_id_must_match_the_roles() {
    let world = world_with(Role {
        external_id: Some("our-id".into()),
        ..role()
    })
    .await;
    let caller = Caller::default();
    assert_eq!(
        caller.assume(&world, &[]).await.sts_error().1,
        "AccessDenied"
    );
    assert_eq!(
        caller
            .assume(&world, &[("ExternalId", "other")])
            .await
            .sts_error()
            .1,
        "AccessDenied"
    );
    assert_eq!(
        caller
            .assume(&world, &[("ExternalId", "our id")])
            .await
            .sts_error()
            .1,
        "ValidationError"
    );
    assert_eq!(
        caller
            .assume(&world, &[("ExternalId", "our-id")])
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn names_and_durations_follow_the_api_model() {
    let world = world_with(role()).await;
    let long = "x".repeat(65);
    for (field, value) in [
        ("RoleSessionName", "x"),
        ("RoleSessionName", long.as_str()),
        ("RoleSessionName", "with blank"),
        ("RoleSessionName", "slash/ed"),
        ("RoleSessionName", "ümlaut"),
        ("RoleArn", "not-an-arn-at-all-but-long"),
        ("DurationSeconds", "899"),
        ("DurationSeconds", "43201"),
        // Within the API's limits, but beyond the role's.
        ("DurationSeconds", "7201"),
    ] {
        let answer = Caller::default().assume(&world, &[(field, value)]).await;
        assert_eq!(
            (answer.status.as_u16(), answer.xml("Code")),
            (400, "ValidationError"),
            "{value}"
        );
    }
    for (field, value) in [
        ("RoleSessionName", "a_b+c=d,e.f@g-h"),
        ("DurationSeconds", "900"),
        ("DurationSeconds", "7200"),
    ] {
        let answer = Caller::default().assume(&world, &[(field, value)]).await;
        assert_eq!(answer.status, 200, "{value}: {}", answer.text());
    }
}

#[tokio::test]
async fn chained_session_lives_at_most_an_hour() {
    let world = world_with(Role {
        trusts: vec!["*".into()],
        ..role()
    })
    .await;
    let session = Caller::session(&Caller::default().assume(&world, &[]).await);
    let answer = session.assume(&world, &[("DurationSeconds", "3601")]).await;
    let (status, code, message) = answer.sts_error();
    assert_eq!((status, code), (400, "ValidationError"));
    assert!(
        message.contains("1 hour session limit for roles assumed by role chaining"),
        "{message}"
    );
    assert_eq!(
        session
            .assume(&world, &[("DurationSeconds", "3600")])
            .await
            .status,
        200
    );
}
