//! The real AWS SDK for Rust as an outside check: the stand-in accepts its signatures, and it parses the answers.

use std::{io::Write, time::Duration};

use aws_config::{BehaviorVersion, Region, SdkConfig, sts::AssumeRoleProvider};
use aws_sdk_ecr::{
    config::{Credentials, ProvideCredentials, SharedCredentialsProvider},
    error::ProvideErrorMetadata,
};
use aws_stand_in::spec::{Action, Fault, Role, Verdict};
use serde_json::json;

use crate::support::{REGION, ROLE, USER, World, role, web_identity_token, world};

fn keys(secret: &str) -> Credentials {
    Credentials::new(
        aws_stand_in::DEFAULT_ACCESS_KEY_ID,
        secret,
        None,
        None,
        "test",
    )
}

async fn config(world: &World, credentials: impl ProvideCredentials + 'static) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(world.client.url())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .load()
        .await
}

async fn good_config(world: &World) -> SdkConfig {
    config(world, keys(aws_stand_in::DEFAULT_SECRET_ACCESS_KEY)).await
}

/// Mints with the configuration and opens the registry of `account` with the token.
async fn verdict(world: &World, config: &SdkConfig, account: &str) -> Verdict {
    let answer = aws_sdk_ecr::Client::new(config)
        .get_authorization_token()
        .send()
        .await
        .unwrap();
    let data = &answer.authorization_data()[0];
    assert_eq!(
        data.proxy_endpoint(),
        Some(format!("https://{}", world.region.host(account)).as_str())
    );
    assert!(data.expires_at().is_some());
    let host = world.region.host(account);
    world
        .client
        .registry_opens(&host, "app", data.authorization_token().unwrap())
        .await
        .unwrap()
}

#[tokio::test]
async fn long_term_keys_mint_a_valid_token() {
    let world = world().await;
    let config = good_config(&world).await;
    assert_eq!(
        verdict(&world, &config, "123456789012").await,
        Verdict::Accepted
    );
    let identity = aws_sdk_sts::Client::new(&config)
        .get_caller_identity()
        .send()
        .await
        .unwrap();
    assert_eq!(identity.arn(), Some(USER));
}

#[tokio::test]
async fn wrong_secret_is_refused_with_its_code() {
    let world = world().await;
    let config = config(&world, keys("wrong")).await;
    let error = aws_sdk_ecr::Client::new(&config)
        .get_authorization_token()
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("InvalidSignatureException"));
    let error = aws_sdk_sts::Client::new(&config)
        .get_caller_identity()
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("SignatureDoesNotMatch"));
}

#[tokio::test]
async fn role_is_assumed_with_its_external_id() {
    let world = world().await;
    world
        .client
        .role(&Role {
            external_id: Some("our-id".into()),
            ..role()
        })
        .await
        .unwrap();
    let base = good_config(&world).await;
    let provider = |id: &str| {
        AssumeRoleProvider::builder(ROLE)
            .session_name("session")
            .external_id(id)
            .session_length(Duration::from_secs(900))
            .configure(&base)
            .build()
    };
    let assumed = config(&world, provider("our-id").await).await;
    assert_eq!(
        verdict(&world, &assumed, "210987654321").await,
        Verdict::Accepted
    );

    let refused = config(&world, provider("other").await).await;
    let error = aws_sdk_ecr::Client::new(&refused)
        .get_authorization_token()
        .send()
        .await
        .unwrap_err();
    assert!(format!("{error:?}").contains("AccessDenied"), "{error:?}");
}

/// The default chain runs in its own process, because the SDK reads only the process's environment.
#[tokio::test]
async fn default_chain_reads_environment_credentials() {
    let world = world().await;
    world.client.role(&role()).await.unwrap();
    let mut token = tempfile::NamedTempFile::new().unwrap();
    write!(token, "{}", web_identity_token(&json!({}))).unwrap();
    let token = token.path().to_str().unwrap();
    let keys = [
        ("AWS_ACCESS_KEY_ID", aws_stand_in::DEFAULT_ACCESS_KEY_ID),
        (
            "AWS_SECRET_ACCESS_KEY",
            aws_stand_in::DEFAULT_SECRET_ACCESS_KEY,
        ),
    ];
    let web_identity = [
        ("AWS_ROLE_ARN", ROLE),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token),
    ];
    for environment in [keys, web_identity] {
        let output = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "aws_sdk::environment_credentials_mint_a_token",
                "--ignored",
            ])
            .env_clear()
            .env("AWS_REGION", REGION)
            .env("AWS_ENDPOINT_URL_ECR", world.client.url())
            .env("AWS_ENDPOINT_URL_STS", world.region.endpoint())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(environment)
            .output()
            .await
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
    let calls = world.region.calls().await.unwrap();
    let mut minted: Vec<_> = calls
        .iter()
        .filter(|count| count.action == "GetAuthorizationToken" && count.succeeded == 1)
        .map(|count| &count.principal)
        .collect();
    minted.sort();
    assert_eq!(minted.len(), 2, "{minted:?}");
    assert_eq!(minted[0], USER);
    assert!(
        minted[1].starts_with("arn:aws:sts::210987654321:assumed-role/puller/web-identity-token-")
    );
    assert_eq!(
        world
            .region
            .total(Action::AssumeRoleWithWebIdentity)
            .await
            .unwrap()
            .succeeded,
        1
    );
}

#[tokio::test]
#[ignore = "the test above starts it with an environment"]
async fn environment_credentials_mint_a_token() {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    aws_sdk_ecr::Client::new(&config)
        .get_authorization_token()
        .send()
        .await
        .unwrap();
}

#[tokio::test]
async fn throttling_is_retried_except_as_429() {
    let world = world().await;
    let config = good_config(&world).await;
    let ecr = aws_sdk_ecr::Client::new(&config);
    world
        .region
        .fault_times(Fault::Throttling, 1)
        .await
        .unwrap();
    ecr.get_authorization_token().send().await.unwrap();
    assert_eq!(
        world
            .region
            .total(Action::GetAuthorizationToken)
            .await
            .unwrap()
            .total,
        2
    );

    world.region.clear_counts().await.unwrap();
    world
        .region
        .fault_times(Fault::ThrottleException, 1)
        .await
        .unwrap();
    let error = ecr.get_authorization_token().send().await.unwrap_err();
    assert_eq!(error.code(), Some("ThrottleException"));
    assert_eq!(
        world
            .region
            .total(Action::GetAuthorizationToken)
            .await
            .unwrap()
            .total,
        1
    );
}

#[tokio::test]
async fn sdk_reports_odd_answers_as_documented() {
    let world = world().await;
    let config = good_config(&world).await;
    let ecr = aws_sdk_ecr::Client::new(&config);
    world.region.fault_times(Fault::Empty, 1).await.unwrap();
    let answer = ecr.get_authorization_token().send().await.unwrap();
    assert!(answer.authorization_data().is_empty());
    world.region.fault_times(Fault::NoExpiry, 1).await.unwrap();
    let answer = ecr.get_authorization_token().send().await.unwrap();
    assert!(answer.authorization_data()[0].expires_at().is_none());
    world.region.fault_times(Fault::Malformed, 1).await.unwrap();
    assert!(ecr.get_authorization_token().send().await.is_err());
}
