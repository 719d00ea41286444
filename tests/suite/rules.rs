//! Rules: which namespace gets which registry, with which identity.

use std::sync::Arc;

use aws_stand_in::spec::{Action, Role};
use ecr_pull_secrets_core::cause::Cause;
use serde_json::{Value, json};

use crate::frame::trials;
use crate::harness::namespace::{Namespace, pod};
use crate::harness::replica::Replica;
use crate::harness::{LIMIT, Outcome, World, docker, eventually, review};
use crate::ownership::ask;

trials!(
    pod_with_only_denied_registries_gets_no_reference,
    pod_with_a_denied_registry_gets_the_rest,
    registry_without_a_rule_is_denied,
    role_is_assumed_with_its_external_id,
    refused_role_is_named_and_recovers,
    two_identities_of_a_namespace_stay_apart,
);

/// Starts a replica with these rules.
async fn with_rules(world: &World, name: &str, rules: Value) -> Replica {
    let config =
        json!({ "apiVersion": "ecr-pull-secrets.dev/v1", "kind": "Config", "rules": rules });
    let replica = world.replica(name).config(&config.to_string()).start();
    replica.ready().await;
    replica
}

/// A replica's answer to a pod with images of both registries.
async fn ask_for_both(replica: &Replica, namespace: &Namespace, other: &Namespace) -> Value {
    let mut pod = pod("pod", &namespace.image("app"));
    pod["spec"]["initContainers"] = json!([{ "name": "init", "image": other.image("init") }]);
    review::answer(replica, &review::of_pod(&namespace.name, &pod)).await
}

async fn calls(namespace: &Namespace) -> u64 {
    let total = namespace.region.total(Action::GetAuthorizationToken).await;
    total.expect("the stand-in counts").total
}

fn assert_denied(answer: &Value) {
    assert!(answer["patch"].is_null(), "{answer}");
    assert_eq!(review::warnings(answer), Cause::DeniedByRule.warning());
    assert_eq!(answer["auditAnnotations"]["outcome"], "degraded");
    assert_eq!(
        answer["auditAnnotations"]["cause"],
        Cause::DeniedByRule.name()
    );
}

async fn pod_with_only_denied_registries_gets_no_reference(world: Arc<World>) -> Outcome {
    let allowed = Namespace::new(&world).await;
    let denied = Namespace::in_region(&world, allowed.region.clone(), json!({})).await;
    // The same registry: the namespace and the first matching rule decide.
    let rules = json!([{ "namespaces": [&denied.name], "deny": {} }, { "ambient": {} }]);
    let replica = with_rules(&world, "denies", rules).await;
    assert_denied(&ask(&replica, &denied).await);
    assert_eq!(calls(&denied).await, 0);
    assert_eq!(review::warnings(&ask(&replica, &allowed).await), "");
    allowed.assert_opens().await;
    assert!(denied.secret().await.is_none());
    Ok(())
}

async fn pod_with_a_denied_registry_gets_the_rest(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let denied = Namespace::new(&world).await;
    let rules = json!([{ "regions": [denied.region.name()], "deny": {} }, { "ambient": {} }]);
    let replica = with_rules(&world, "denies-partly", rules).await;
    let answer = ask_for_both(&replica, &namespace, &denied).await;
    assert!(review::adds_reference(&answer));
    assert_eq!(review::warnings(&answer), Cause::DeniedByRule.warning());
    let secret = namespace.assert_opens().await;
    assert_eq!(docker::hosts(&secret), [namespace.host()]);
    assert_eq!(calls(&denied).await, 0);
    Ok(())
}

async fn registry_without_a_rule_is_denied(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let rules = json!([{ "accounts": ["210987654321"], "ambient": {} }]);
    let replica = with_rules(&world, "denies-the-rest", rules).await;
    assert_denied(&ask(&replica, &namespace).await);
    let image = namespace
        .image("app")
        .replace("123456789012", "210987654321");
    let review = review::of_pod(&namespace.name, &pod("pod", &image));
    let answer = review::answer(&replica, &review).await;
    assert!(review::adds_reference(&answer));
    assert_eq!(review::warnings(&answer), "");
    Ok(())
}

/// Creates a role that the default user may assume.
fn role(name: &str, external_id: &str) -> Role {
    Role {
        arn: format!("arn:aws:iam::210987654321:role/{name}"),
        external_id: Some(external_id.to_owned()),
        trusts: vec![aws_stand_in::DEFAULT_ARN.to_owned()],
        web_identities: Vec::new(),
        max_session_seconds: 3600,
    }
}

fn assumes(role: &Role, external_id: &str) -> Value {
    json!({ "roleArn": role.arn, "externalId": external_id, "sessionName": "suite" })
}

/// Identities that called in the namespace's region.
async fn principals(namespace: &Namespace) -> Vec<String> {
    let calls = namespace.region.calls().await.expect("the stand-in counts");
    let mints = calls
        .into_iter()
        .filter(|call| call.action == "GetAuthorizationToken");
    mints.map(|call| call.principal).collect()
}

async fn role_is_assumed_with_its_external_id(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let role = role("puller", "an-id");
    world.aws.role(&role).await?;
    let rules = json!([{ "namespaces": [&namespace.name], "assumeRole": assumes(&role, "an-id") }]);
    let replica = with_rules(&world, "assumes", rules).await;
    assert_eq!(review::warnings(&ask(&replica, &namespace).await), "");
    let secret = namespace.assert_opens().await;
    assert_eq!(docker::annotation(&secret, "identity"), role.arn);
    let session = "arn:aws:sts::210987654321:assumed-role/puller/suite";
    assert_eq!(principals(&namespace).await, [session]);
    Ok(())
}

async fn refused_role_is_named_and_recovers(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let other = role("strict", "another-id");
    world.aws.role(&other).await?;
    let rules = json!([{ "assumeRole": assumes(&other, "an-id") }]);
    let replica = with_rules(&world, "assumes-wrongly", rules).await;
    let answer = ask(&replica, &namespace).await;
    assert!(review::adds_reference(&answer));
    assert_eq!(review::warnings(&answer), Cause::AwsRoleRefused.warning());
    assert_eq!(calls(&namespace).await, 0);
    assert!(namespace.secret().await.is_none());
    world.aws.role(&role("strict", "an-id")).await?;
    let secret = namespace.assert_opens().await;
    assert_eq!(docker::annotation(&secret, "identity"), other.arn);
    Ok(())
}

async fn two_identities_of_a_namespace_stay_apart(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let shared = Namespace::new(&world).await;
    let role = role("tenant", "an-id");
    world.aws.role(&role).await?;
    let rules = json!([
        { "regions": [shared.region.name()], "ambient": {} },
        { "namespaces": [&namespace.name], "assumeRole": assumes(&role, "an-id") },
    ]);
    let replica = with_rules(&world, "two-identities", rules).await;
    ask_for_both(&replica, &namespace, &shared).await;
    let secret = eventually("both registries", LIMIT, || async {
        namespace
            .secret()
            .await
            .filter(|secret| docker::hosts(secret).len() == 2)
    })
    .await;
    let registries = docker::annotation(&secret, "registries").split(',');
    let identities = docker::annotation(&secret, "identity").split(' ');
    for (registry, identity) in registries.zip(identities) {
        let is_shared = registry == shared.host();
        assert_eq!(
            identity,
            if is_shared {
                "ambient"
            } else {
                role.arn.as_str()
            }
        );
    }
    assert_eq!(principals(&shared).await, [aws_stand_in::DEFAULT_ARN]);
    assert!(principals(&namespace).await[0].contains("assumed-role/tenant"));
    Ok(())
}
