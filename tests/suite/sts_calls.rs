//! STS: where it is asked, how long it may take, and what each of its refusals is called.

use std::fs;
use std::sync::Arc;

use aws_stand_in::client::Region;
use aws_stand_in::spec::{Action, Fault, FaultRule};
use ecr_pull_secrets_core::cause::Cause;
use serde_json::json;

use crate::frame::trials;
use crate::harness::launch::Launch;
use crate::harness::namespace::Namespace;
use crate::harness::replica::Replica;
use crate::harness::{Outcome, World, review};
use crate::leaks::answers::role;
use crate::leaks::{ask, file, log, web_identity, without_keys};

trials!(
    role_is_assumed_at_home_within_the_partition,
    configured_sts_wins_over_the_environment,
    mounted_profile_assumes_its_roles,
    slow_sts_delays_the_token_alone,
    each_refusal_of_a_web_identity_is_named,
    each_refusal_of_a_role_is_named,
    throttled_sts_is_asked_again_before_a_refusing_one,
);

/// A configuration whose one rule assumes this role, with more sections.
fn assuming(arn: &str, more: serde_json::Value) -> String {
    let mut config = json!({
        "apiVersion": "ecr-pull-secrets.dev/v1",
        "kind": "Config",
        "rules": [{ "assumeRole": { "roleArn": arn } }],
    });
    let (config, more) = (config.as_object_mut(), more.as_object());
    let config = config.expect("an object");
    config.extend(more.expect("an object").clone());
    json!(config).to_string()
}

/// Gives a replica a web identity that this role trusts.
fn identified(world: &Arc<World>, launch: Launch, arn: &str, subject: &str) -> Launch {
    let token = file(world, subject, &web_identity(subject));
    without_keys(launch)
        .env("AWS_ROLE_ARN", arn)
        .env("AWS_WEB_IDENTITY_TOKEN_FILE", token.display().to_string())
}

async fn assumed(region: &Region) -> u64 {
    let calls = region.total(Action::AssumeRole).await.expect("a count");
    calls.total
}

async fn role_is_assumed_at_home_within_the_partition(world: Arc<World>) -> Outcome {
    let arn = "arn:aws:iam::210987654321:role/at-home";
    world.aws.role(&role(arn, "")).await?;
    let home = world.aws.region("home-land-1");
    let replica = world.replica("at-home");
    let replica = replica
        .config(&assuming(arn, json!({})))
        .env("AWS_REGION", home.name())
        .start();
    replica.ready().await;
    let namespace = Namespace::new(&world).await;
    let answer = ask(&replica, &namespace, namespace.region.name()).await;
    assert_eq!(review::warnings(&answer), "");
    assert_eq!(assumed(&home).await, 1);
    assert_eq!(assumed(&namespace.region).await, 0);

    let china = world.aws.region("cn-home-land-1");
    let answer = ask(&replica, &namespace, china.name()).await;
    assert_eq!(review::warnings(&answer), "");
    assert_eq!((assumed(&home).await, assumed(&china).await), (1, 1));
    Ok(())
}

async fn configured_sts_wins_over_the_environment(world: Arc<World>) -> Outcome {
    let arn = "arn:aws:iam::210987654321:role/configured-sts";
    world.aws.role(&role(arn, "configured-sts")).await?;
    let namespace = Namespace::new(&world).await;
    let endpoints = json!({ namespace.region.name(): { "sts": world.aws.url() } });
    let more = json!({ "endpoints": endpoints });
    let with_role = world.replica("configured-sts-role");
    let with_role = with_role.config(&assuming(arn, more.clone()));
    let config = json!({
        "apiVersion": "ecr-pull-secrets.dev/v1",
        "kind": "Config",
        "endpoints": endpoints,
    });
    let with_token = world.replica("configured-sts-token");
    let with_token = identified(&world, with_token, arn, "configured-sts");
    let with_token = with_token.config(&config.to_string());
    for launch in [with_role, with_token] {
        // No server is there.
        let replica = launch
            .env("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
            .start();
        replica.ready().await;
        let answer = ask(&replica, &namespace, namespace.region.name()).await;
        assert_eq!(review::warnings(&answer), "", "{}", replica.name);
    }
    Ok(())
}

async fn mounted_profile_assumes_its_roles(world: Arc<World>) -> Outcome {
    let name = |number| format!("arn:aws:iam::21098765432{number}:role/of-profile");
    let mut first = role(&name(1), "");
    world.aws.role(&first).await?;
    // The second trusts the first alone.
    first.trusts = vec![name(1)];
    first.arn = name(2);
    world.aws.role(&first).await?;
    let directory = world.directory().join("mounted-profile");
    fs::create_dir(&directory)?;
    let profiles = format!(
        "[default]\nrole_arn = {}\nsource_profile = first\n[first]\nrole_arn = {}\nsource_profile = keys\n\
         [keys]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        name(2),
        name(1),
        aws_stand_in::DEFAULT_ACCESS_KEY_ID,
        aws_stand_in::DEFAULT_SECRET_ACCESS_KEY,
    );
    fs::write(directory.join("credentials"), profiles)?;
    let replica = without_keys(world.replica("mounted-profile"))
        .env(
            "ECR_PULL_SECRETS_AWS_CREDENTIALS_DIR",
            directory.display().to_string(),
        )
        .start();
    replica.ready().await;
    let namespace = Namespace::new(&world).await;
    let answer = ask(&replica, &namespace, namespace.region.name()).await;
    assert_eq!(review::warnings(&answer), "");
    assert_eq!(assumed(&namespace.region).await, 2);
    let minted = namespace.region.calls().await?;
    let by_role = minted.iter().find(|call| {
        call.action == Action::GetAuthorizationToken.name()
            && call.principal.contains("210987654322")
    });
    assert_eq!(by_role.map(|call| call.succeeded), Some(1), "{minted:?}");
    Ok(())
}

/// Each call takes longer than a pod waits, and all of them longer than any one attempt.
async fn slow_sts_delays_the_token_alone(world: Arc<World>) -> Outcome {
    let web = "arn:aws:iam::123456789012:role/slow-web-identity";
    let assumed = "arn:aws:iam::210987654321:role/slow-role";
    world.aws.role(&role(web, "slow-sts")).await?;
    world.aws.role(&role(assumed, "")).await?;
    let namespace = Namespace::new(&world).await;
    let delay = |milliseconds| Fault::Delay { milliseconds };
    let exchange = FaultRule {
        region: None,
        principal: Some(web.to_owned()),
        action: Some(Action::AssumeRoleWithWebIdentity),
        ..namespace.region.rule(delay(8_000))
    };
    world.aws.fault(&exchange).await?;
    for action in [Action::AssumeRole, Action::GetAuthorizationToken] {
        namespace.region.fault_of(action, delay(2_500)).await?;
    }
    let launch = identified(&world, world.replica("slow-sts"), web, "slow-sts");
    let replica = launch.config(&assuming(assumed, json!({}))).start();
    replica.ready().await;
    let answer = ask(&replica, &namespace, namespace.region.name()).await;
    assert_eq!(review::warnings(&answer), Cause::AwsTimeout.warning());
    namespace.assert_opens().await;
    let (_, text) = log(&replica);
    assert!(!text.contains("cannot mint a token"), "one call is enough");
    Ok(())
}

/// An error of STS, and what it is called.
const TRANSIENT: [(&str, u16, Cause); 4] = [
    ("Throttling", 400, Cause::AwsThrottled),
    ("ServiceUnavailable", 503, Cause::AwsServerError),
    ("", 502, Cause::AwsServerError),
    ("RegionDisabledException", 403, Cause::AwsRegionDisabled),
];

/// Lets each error meet a replica. `rule` limits the fault for a region of the registry.
async fn assert_named(
    world: &Arc<World>,
    replica: &Replica,
    cases: impl Iterator<Item = (&str, u16, Cause)>,
    rule: impl Fn(FaultRule) -> FaultRule,
) -> Outcome {
    for (code, status, cause) in cases {
        let namespace = Namespace::new(world).await;
        let message = format!("told by STS about {}", namespace.name);
        let fault = Fault::Error {
            code: code.to_owned(),
            status,
            message: message.clone(),
        };
        world.aws.fault(&rule(namespace.region.rule(fault))).await?;
        let answer = ask(replica, &namespace, namespace.region.name()).await;
        let warning = review::warnings(&answer);
        assert_eq!(warning, cause.warning(), "{code} {status}");
        let (_, text) = log(replica);
        let said = if code.is_empty() {
            format!("STS: status {status}: {message}")
        } else {
            format!("STS: {code}: {message}")
        };
        let mut lines = text.lines();
        let is_said = |line: &str| line.contains(cause.name()) && line.contains(&said);
        assert!(lines.any(is_said), "no line with {said}");
    }
    Ok(())
}

async fn each_refusal_of_a_web_identity_is_named(world: Arc<World>) -> Outcome {
    let arn = "arn:aws:iam::210987654321:role/refused-web-identity";
    world.aws.role(&role(arn, "refused")).await?;
    let replica = identified(&world, world.replica("refused-web"), arn, "refused").start();
    replica.ready().await;
    let refused = Cause::AwsWebIdentityRefused;
    let cases = [
        ("InvalidIdentityToken", 400, refused),
        ("ExpiredTokenException", 400, Cause::AwsWebIdentityExpired),
        ("IDPRejectedClaim", 403, refused),
        ("AccessDenied", 403, refused),
        (
            "IDPCommunicationError",
            400,
            Cause::AwsOidcIssuerUnreachable,
        ),
    ];
    // The call is not signed, and so names no region.
    let rule = |rule| FaultRule {
        region: None,
        principal: Some(arn.to_owned()),
        action: Some(Action::AssumeRoleWithWebIdentity),
        ..rule
    };
    assert_named(&world, &replica, cases.into_iter().chain(TRANSIENT), rule).await
}

async fn each_refusal_of_a_role_is_named(world: Arc<World>) -> Outcome {
    let arn = "arn:aws:iam::210987654321:role/refused-role";
    world.aws.role(&role(arn, "")).await?;
    let replica = world.replica("refused-role");
    let replica = replica.config(&assuming(arn, json!({}))).start();
    replica.ready().await;
    let cases = [
        ("AccessDenied", 403, Cause::AwsRoleRefused),
        ("InvalidClientTokenId", 403, Cause::AwsCredentialsRefused),
        ("ExpiredToken", 403, Cause::AwsCredentialsExpired),
        ("InternalFailure", 500, Cause::AwsServerError),
    ];
    let rule = |rule| FaultRule {
        action: Some(Action::AssumeRole),
        ..rule
    };
    assert_named(&world, &replica, cases.into_iter().chain(TRANSIENT), rule).await
}

/// Both refuse the same number of attempts.
async fn throttled_sts_is_asked_again_before_a_refusing_one(world: Arc<World>) -> Outcome {
    let refusal = Fault::Error {
        code: "AccessDenied".to_owned(),
        status: 403,
        message: "not yet".to_owned(),
    };
    let mut namespaces = Vec::new();
    // The SDK repeats a throttled call once within an attempt.
    for (name, fault, times) in [
        ("throttling", Fault::Throttling, 8),
        ("refusing", refusal, 4),
    ] {
        let arn = format!("arn:aws:iam::210987654321:role/{name}");
        world.aws.role(&role(&arn, name)).await?;
        let replica = identified(&world, world.replica(name), &arn, name).start();
        replica.ready().await;
        let rule = FaultRule {
            region: None,
            principal: Some(arn),
            action: Some(Action::AssumeRoleWithWebIdentity),
            times: Some(times),
            fault,
        };
        world.aws.fault(&rule).await?;
        namespaces.push((Namespace::new(&world).await, replica));
    }
    for (namespace, replica) in &namespaces {
        let answer = ask(replica, namespace, namespace.region.name()).await;
        assert_ne!(review::warnings(&answer), "");
    }
    let [(throttled, _), (refused, _)] = &namespaces[..] else {
        unreachable!("two were pushed")
    };
    throttled.assert_opens().await;
    assert!(refused.secret().await.is_none());
    Ok(())
}
