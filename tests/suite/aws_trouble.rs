//! Faults of AWS: pods still get their reference, the warning names the cause, and the Secret comes
//! once AWS recovers.

use std::sync::Arc;
use std::time::Duration;

use aws_stand_in::spec::{Action, Fault, Policy, Verdict};
use ecr_pull_secrets_core::cause::Cause;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::frame::trials;
use crate::harness::namespace::{Namespace, pod};
use crate::harness::{LIMIT, Outcome, World, docker, eventually, review};
use crate::leaks::{ask, log, without_keys};

trials!(
    silent_aws_delays_secret_but_not_pod,
    server_error_is_named,
    throttling_is_named_after_one_call,
    unmodelled_throttling_code_is_named,
    empty_answer_is_named,
    broken_answer_is_named,
    reset_connection_is_named,
    denied_call_is_named_and_recovers_with_policy,
    unreachable_aws_is_named,
    missing_credentials_are_named,
    empty_keys_of_metadata_are_not_kept,
    refused_regions_reload_credentials_once_a_minute,
    past_expiry_means_unknown_lifetime,
    failing_region_does_not_block_the_other,
    pod_does_not_wait_for_another_pods_region,
    token_near_expiry_is_renewed_before_use,
);

/// Creates a pod during a fault, checks the answer, clears the fault and waits for the Secret.
async fn survives(world: Arc<World>, fault: Fault, cause: Cause) -> Outcome {
    let namespace = Namespace::new(&world).await;
    namespace.region.fault(fault).await?;
    let start = Instant::now();
    let review = review::of_pod(&namespace.name, &pod("pod", &namespace.image("app")));
    let answer = review::answer(&world.replicas()[0], &review).await;
    let took = start.elapsed();
    // This limit is the timeout of the API server.
    assert!(took < Duration::from_millis(4500), "{took:?}");
    assert!(review::adds_reference(&answer), "{answer}");
    assert_eq!(review::warnings(&answer), cause.warning());
    assert_eq!(answer["auditAnnotations"]["outcome"], "degraded");
    assert_eq!(answer["auditAnnotations"]["cause"], cause.name());

    // The same through the API server.
    let stored = namespace.pod("pod", &namespace.image("app")).await;
    assert_eq!(
        crate::harness::namespace::references(&stored),
        [crate::harness::namespace::SECRET]
    );
    assert!(namespace.secret().await.is_none());
    namespace.region.clear_faults().await?;
    namespace.assert_opens().await;
    Ok(())
}

async fn silent_aws_delays_secret_but_not_pod(world: Arc<World>) -> Outcome {
    survives(world, Fault::Hang, Cause::AwsTimeout).await
}

async fn server_error_is_named(world: Arc<World>) -> Outcome {
    let (code, message) = ("ServerException".to_owned(), "try later".to_owned());
    survives(
        world,
        Fault::Error {
            code,
            status: 500,
            message,
        },
        Cause::AwsServerError,
    )
    .await
}

async fn throttling_is_named_after_one_call(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    namespace.region.fault(Fault::Throttling).await?;
    let review = review::of_pod(&namespace.name, &pod("pod", &namespace.image("app")));
    let [replica, _] = world.pair();
    let reviews = (0..50).map(|_| review::answer(&replica, &review));
    for answer in futures::future::join_all(reviews).await {
        assert!(review::adds_reference(&answer));
        assert_eq!(review::warnings(&answer), Cause::AwsThrottled.warning());
    }
    let calls = namespace
        .region
        .total(Action::GetAuthorizationToken)
        .await?;
    // One call that the SDK tries twice. A retry after the pause may have begun.
    assert!(calls.total <= 4, "{calls:?}");
    namespace.region.clear_faults().await?;
    namespace.assert_opens().await;
    Ok(())
}

async fn unmodelled_throttling_code_is_named(world: Arc<World>) -> Outcome {
    survives(world, Fault::ThrottleException, Cause::AwsThrottled).await
}

async fn empty_answer_is_named(world: Arc<World>) -> Outcome {
    survives(world, Fault::Empty, Cause::AwsAnswerUnusable).await
}

async fn broken_answer_is_named(world: Arc<World>) -> Outcome {
    survives(world, Fault::Malformed, Cause::AwsAnswerUnusable).await
}

async fn reset_connection_is_named(world: Arc<World>) -> Outcome {
    survives(world, Fault::Reset, Cause::AwsUnreachable).await
}

async fn denied_call_is_named_and_recovers_with_policy(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let denied = Policy {
        deny_get_authorization_token: true,
        ..Policy::default()
    };
    namespace.region.policy(denied).await?;
    let review = review::of_pod(&namespace.name, &pod("pod", &namespace.image("app")));
    let answer = review::answer(&world.replicas()[0], &review).await;
    assert!(review::adds_reference(&answer));
    assert_eq!(review::warnings(&answer), Cause::AwsAccessDenied.warning());
    namespace.region.policy(Policy::default()).await?;
    namespace.assert_opens().await;
    Ok(())
}

async fn unreachable_aws_is_named(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let replica = world.replica("without-aws");
    let replica = replica.env("AWS_ENDPOINT_URL", format!("http://{address}"));
    let replica = replica.start();
    // Readiness does not depend on AWS.
    replica.ready().await;
    let review = review::of_pod(&namespace.name, &pod("pod", &namespace.image("app")));
    let answer = review::answer(&replica, &review).await;
    assert!(review::adds_reference(&answer));
    assert_eq!(review::warnings(&answer), Cause::AwsUnreachable.warning());
    let failed = replica.metric(
        "ecr_pull_secrets_token_requests_total",
        &["aws_unreachable"],
    );
    assert!(failed.await >= 1.0);
    assert!(namespace.secret().await.is_none());

    // Another AWS starts at the address.
    let aws = aws_stand_in::serve(TcpListener::bind(address).await?)?;
    let secret = namespace.secret_comes().await;
    let auth = docker::auth(&secret, &namespace.host());
    let verdict = aws
        .client()
        .registry_opens(&namespace.host(), "app", &auth)
        .await?;
    assert_eq!(verdict, Verdict::Accepted);
    Ok(())
}

async fn missing_credentials_are_named(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let replica = world.replica("without-keys");
    let replica = replica.without_env("AWS_ACCESS_KEY_ID");
    let replica = replica.without_env("AWS_SECRET_ACCESS_KEY").start();
    replica.ready().await;
    let review = review::of_pod(&namespace.name, &pod("pod", &namespace.image("app")));
    let answer = review::answer(&replica, &review).await;
    assert!(review::adds_reference(&answer));
    assert_eq!(
        review::warnings(&answer),
        Cause::AwsCredentialsMissing.warning()
    );
    Ok(())
}

/// A helper that imitates the metadata service answers before it has keys.
async fn empty_keys_of_metadata_are_not_kept(world: Arc<World>) -> Outcome {
    let source = world.aws.region("empty-metadata");
    source
        .fault_of(Action::InstanceMetadata, Fault::Empty)
        .await?;
    let url = format!("{}/metadata/{}", world.aws.url(), source.name());
    let replica = without_keys(world.replica("empty-metadata"))
        .env("AWS_EC2_METADATA_DISABLED", "false")
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
        .start();
    replica.ready().await;
    let namespace = Namespace::new(&world).await;
    let answer = ask(&replica, &namespace, namespace.region.name()).await;
    let cause = Cause::AwsCredentialsUnreadable;
    assert_eq!(review::warnings(&answer), cause.warning());
    let (_, text) = log(&replica);
    assert!(text.contains("the access key id is blank"), "{text}");
    source.clear_faults().await?;
    namespace.assert_opens().await;
    Ok(())
}

/// An account has not enabled the regions that a pod author chooses.
async fn refused_regions_reload_credentials_once_a_minute(world: Arc<World>) -> Outcome {
    let source = world.aws.region("reloaded-credentials");
    let loads = async || {
        let calls = source.total(Action::ContainerCredentials).await;
        calls.expect("a count").total
    };
    let uri = format!("{}/credentials/{}", world.aws.url(), source.name());
    let replica = world.replica("reloads");
    let replica = replica
        .without_env("AWS_ACCESS_KEY_ID")
        .without_env("AWS_SECRET_ACCESS_KEY")
        .env("AWS_REGION", "eu-central-1")
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri)
        .env("AWS_CONTAINER_AUTHORIZATION_TOKEN", "pod-identity")
        .start();
    replica.ready().await;
    let start = Instant::now();
    let ask = async |namespace: &Namespace| {
        let review = review::of_pod(&namespace.name, &pod("pod", &namespace.image("app")));
        review::warnings(&review::answer(&replica, &review).await)
    };
    assert_eq!(ask(&Namespace::new(&world).await).await, "");
    assert_eq!(loads().await, 1);
    for _ in 0..8 {
        let refused = Namespace::new(&world).await;
        let fault = Fault::Error {
            code: "UnrecognizedClientException".to_owned(),
            status: 400,
            message: "The security token included in the request is invalid.".to_owned(),
        };
        refused.region.fault(fault).await?;
        let warning = ask(&refused).await;
        assert_eq!(warning, Cause::AwsCredentialsRefused.warning());
    }
    assert_eq!(ask(&Namespace::new(&world).await).await, "");
    let minutes = start.elapsed().as_secs() / 60;
    let loads = loads().await;
    assert!(loads <= 2 + minutes, "{loads} in {minutes} min");
    Ok(())
}

async fn past_expiry_means_unknown_lifetime(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    namespace
        .region
        .fault(Fault::StatedLifetime { seconds: -86_400 })
        .await?;
    namespace.pod("pod", &namespace.image("app")).await;
    let secret = namespace.assert_opens().await;
    let created = secret
        .metadata
        .creation_timestamp
        .as_ref()
        .expect("a time")
        .0;
    let expires_at: jiff::Timestamp = docker::annotation(&secret, "expires-at").parse()?;
    let life = expires_at.duration_since(created).as_hours();
    assert!((11..=12).contains(&life), "{life} h");
    // There is no tight loop: the token counts as fresh.
    namespace.pod("second", &namespace.image("app")).await;
    assert!(
        namespace
            .region
            .total(Action::GetAuthorizationToken)
            .await?
            .total
            <= 2
    );
    Ok(())
}

async fn failing_region_does_not_block_the_other(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let other = Namespace::new(&world).await;
    other.region.fault(Fault::Throttling).await?;
    let mut pod = pod("pod", &namespace.image("app"));
    pod["spec"]["initContainers"] =
        serde_json::json!([{ "name": "init", "image": other.image("init") }]);
    let review = review::of_pod(&namespace.name, &pod);
    let answer = review::answer(&world.replicas()[0], &review).await;
    assert!(review::adds_reference(&answer));
    assert_eq!(review::warnings(&answer), Cause::AwsThrottled.warning());
    let secret = namespace.assert_opens().await;
    assert_eq!(docker::hosts(&secret), [namespace.host()]);
    other.region.clear_faults().await?;
    let secret = eventually("the second registry", LIMIT, || async {
        namespace
            .secret()
            .await
            .filter(|secret| docker::hosts(secret).len() == 2)
    })
    .await;
    let auth = docker::auth(&secret, &other.host());
    let verdict = world
        .aws
        .registry_opens(&other.host(), "init", &auth)
        .await?;
    assert_eq!(verdict, Verdict::Accepted);
    Ok(())
}

async fn pod_does_not_wait_for_another_pods_region(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let hanging = Namespace::new(&world).await;
    hanging.region.fault(Fault::Hang).await?;
    let replica = &world.replicas()[0];
    let of = |image: String| review::of_pod(&namespace.name, &pod("pod", &image));
    let (first, second) = (of(hanging.image("app")), of(namespace.image("app")));
    let (delayed, prompt) = tokio::join!(review::answer(replica, &first), async {
        // The first pod's call is in progress.
        eventually("a call that hangs", LIMIT, || async {
            let calls = hanging
                .region
                .total(Action::GetAuthorizationToken)
                .await
                .ok()?;
            (calls.total > 0).then_some(())
        })
        .await;
        review::answer(replica, &second).await
    });
    assert_eq!(review::warnings(&delayed), Cause::AwsTimeout.warning());
    assert_eq!(review::warnings(&prompt), "");
    assert_eq!(
        docker::hosts(&namespace.assert_opens().await),
        [namespace.host()]
    );
    hanging.region.clear_faults().await?;
    Ok(())
}

async fn token_near_expiry_is_renewed_before_use(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    namespace
        .region
        .fault(Fault::Lifetime { seconds: 10 })
        .await?;
    let replica = &world.replicas()[0];
    let review = review::of_pod(&namespace.name, &pod("pod", &namespace.image("app")));
    review::answer(replica, &review).await;
    let before = namespace.assert_opens().await;
    namespace.region.clear_faults().await?;
    let ends: jiff::Timestamp = docker::annotation(&before, "expires-at").parse()?;
    eventually("the last tenth of the token's lifetime", LIMIT, || async {
        let left = ends.duration_since(ecr_pull_secrets::clock::now());
        (left < jiff::SignedDuration::from_millis(950)).then_some(())
    })
    .await;
    let answer = review::answer(replica, &review).await;
    assert_eq!(review::warnings(&answer), "");
    let after = namespace.assert_opens().await;
    let ends_now: jiff::Timestamp = docker::annotation(&after, "expires-at").parse()?;
    assert!(
        ends_now.duration_since(ends).as_hours() > 10,
        "{ends} {ends_now}"
    );
    assert_eq!(after.metadata.uid, before.metadata.uid);
    Ok(())
}
