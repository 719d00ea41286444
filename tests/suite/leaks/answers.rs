//! Answers of ECR, STS, container credentials and the metadata service that no service of AWS gives: each has its cause,
//! and no log holds what was sent or answered.

use std::sync::Arc;

use aws_stand_in::spec::{Action, Fault, FaultRule, HostileAnswer, Role, WebIdentity};
use ecr_pull_secrets_core::cause::Cause;
use futures::future::join_all;
use serde_json::json;

use super::{
    ISSUER, ask, assert_nothing_leaks, file, in_each_way, log, web_identity, without_keys,
};
use crate::frame::trials;
use crate::harness::launch::Launch;
use crate::harness::namespace::Namespace;
use crate::harness::{Outcome, World, review};

trials!(
    hostile_answer_of_ecr_has_a_cause_and_leaks_nothing,
    hostile_answer_about_a_role_leaks_nothing,
    hostile_answer_to_a_web_identity_leaks_nothing,
    hostile_container_credentials_leak_nothing,
    hostile_instance_metadata_leaks_nothing,
);

/// Where the hostile answer comes from, and the cause of a refusal that quotes.
struct Source<C, R> {
    name: &'static str,
    /// Gives a replica its credentials.
    change: C,
    /// Limits the fault for a region of the registry.
    rule: R,
    quoting: Cause,
}

impl<C, R> Source<C, R>
where
    C: Fn(Launch) -> Launch,
    R: Fn(FaultRule) -> FaultRule,
{
    /// Lets each kind of answer meet a replica of each way to log.
    async fn try_all(self, world: &Arc<World>) -> Outcome {
        let namespace = Namespace::new(world).await;
        let replicas = in_each_way(world, self.name, self.change).await;
        for answer in HostileAnswer::ALL {
            // A region has its own client, and so asks for credentials again.
            let kind = format!("{answer:?}").to_lowercase();
            let region = namespace.region.name().replace("land", &kind);
            let region = world.aws.region(&region);
            let fault = (self.rule)(region.rule(Fault::Hostile { answer }));
            world.aws.fault(&fault).await?;
            let cause = match answer {
                HostileAnswer::Quoting => self.quoting,
                _ => Cause::AwsAnswerUnusable,
            };
            let answers = replicas
                .iter()
                .map(|replica| ask(replica, &namespace, region.name()));
            for (replica, given) in replicas.iter().zip(join_all(answers).await) {
                let warning = review::warnings(&given);
                assert_eq!(warning, cause.warning(), "{} {answer:?}", replica.name);
            }
        }
        for replica in &replicas {
            let (name, text) = log(replica);
            for cause in [Cause::AwsAnswerUnusable, self.quoting] {
                assert!(text.contains(cause.name()), "{name}: {}", cause.name());
            }
            assert!(text.contains("cannot mint a token"), "{name}");
            assert!(!text.contains("panicked"), "{name}");
        }
        assert_nothing_leaks(world, &replicas, &[]).await;
        let calls = world.aws.calls().await?;
        let redirected = calls.iter().find(|call| call.action == "Redirected");
        assert!(redirected.is_none(), "a redirect was followed");
        Ok(())
    }
}

async fn hostile_answer_of_ecr_has_a_cause_and_leaks_nothing(world: Arc<World>) -> Outcome {
    let source = Source {
        name: "hostile-ecr",
        change: |launch| launch,
        rule: |rule| FaultRule {
            action: Some(Action::GetAuthorizationToken),
            ..rule
        },
        quoting: Cause::AwsSignatureRefused,
    };
    source.try_all(&world).await
}

async fn hostile_answer_about_a_role_leaks_nothing(world: Arc<World>) -> Outcome {
    let arn = "arn:aws:iam::210987654321:role/hostile-assumed";
    world.aws.role(&role(arn, "")).await?;
    let config = json!({
        "apiVersion": "ecr-pull-secrets.dev/v1",
        "kind": "Config",
        "rules": [{ "assumeRole": { "roleArn": arn } }],
    })
    .to_string();
    let source = Source {
        name: "hostile-role",
        change: |launch: Launch| launch.config(&config),
        rule: |rule| FaultRule {
            action: Some(Action::AssumeRole),
            ..rule
        },
        quoting: Cause::AwsSignatureRefused,
    };
    source.try_all(&world).await
}

async fn hostile_answer_to_a_web_identity_leaks_nothing(world: Arc<World>) -> Outcome {
    let arn = "arn:aws:iam::210987654321:role/hostile-web-identity";
    world.aws.role(&role(arn, "hostile")).await?;
    let token = file(&world, "hostile-web-identity", &web_identity("hostile"));
    let source = Source {
        name: "hostile-web-identity",
        change: |launch| {
            without_keys(launch)
                .env("AWS_ROLE_ARN", arn)
                .env("AWS_WEB_IDENTITY_TOKEN_FILE", token.display().to_string())
        },
        // The call is not signed, and so names no region.
        rule: |rule| FaultRule {
            region: None,
            principal: Some(arn.to_owned()),
            action: Some(Action::AssumeRoleWithWebIdentity),
            ..rule
        },
        quoting: Cause::AwsSignatureRefused,
    };
    source.try_all(&world).await
}

async fn hostile_container_credentials_leak_nothing(world: Arc<World>) -> Outcome {
    let token = file(&world, "hostile-container", &web_identity("container"));
    let url = format!("{}/credentials/hostile", world.aws.url());
    let source = Source {
        name: "hostile-container",
        change: |launch| {
            without_keys(launch)
                .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str())
                .env(
                    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
                    token.display().to_string(),
                )
        },
        rule: |rule| FaultRule {
            region: Some("hostile".to_owned()),
            action: Some(Action::ContainerCredentials),
            ..rule
        },
        quoting: Cause::AwsCredentialsMissing,
    };
    source.try_all(&world).await
}

async fn hostile_instance_metadata_leaks_nothing(world: Arc<World>) -> Outcome {
    let url = format!("{}/metadata/hostile", world.aws.url());
    let source = Source {
        name: "hostile-metadata",
        change: |launch| {
            without_keys(launch)
                .env("AWS_EC2_METADATA_DISABLED", "false")
                .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str())
        },
        rule: |rule| FaultRule {
            region: Some("hostile".to_owned()),
            action: Some(Action::InstanceMetadata),
            ..rule
        },
        quoting: Cause::AwsCredentialsMissing,
    };
    source.try_all(&world).await
}

/// A role that the default user and this subject may assume.
pub fn role(arn: &str, subject: &str) -> Role {
    Role {
        arn: arn.to_owned(),
        external_id: None,
        trusts: vec![crate::harness::namespace::ACCOUNT.to_owned()],
        web_identities: vec![WebIdentity {
            issuer: ISSUER.to_owned(),
            subject: subject.to_owned(),
        }],
        max_session_seconds: 3600,
    }
}
