//! A role for each tenant: a hundred roles share a replica and a token store, and none costs another its
//! token, also during an outage of AWS with a restart in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_stand_in::client::Region;
use aws_stand_in::spec::{Action, Fault, FaultRule, Role};
use ecr_pull_secrets_core::token::shards::{ANNOTATION, NAMES};
use ecr_pull_secrets_core::token::stored;
use futures::future::join_all;
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::frame::trials;
use crate::harness::installation::Installation;
use crate::harness::namespace::{ACCOUNT, Namespace, pod};
use crate::harness::replica::Replica;
use crate::harness::{LIMIT, Outcome, World, eventually, review};

trials!(hundred_roles_pull_through_outage_with_restart);

/// Number of roles.
const ROLES: usize = 100;
/// Concurrent namespaces.
const AT_A_TIME: usize = 16;

/// A tenant: its role, a namespace with pods, and one that comes later.
struct Tenant {
    role: Role,
    first: Namespace,
    later: Namespace,
}

async fn tenants(world: &Arc<World>, region: &Region) -> Vec<Tenant> {
    let tenant = |number| async move {
        let role = Role {
            arn: format!("arn:aws:iam::123456789012:role/tenant-{number}"),
            external_id: None,
            trusts: vec![aws_stand_in::DEFAULT_ARN.to_owned()],
            web_identities: Vec::new(),
            max_session_seconds: 3600,
        };
        world.aws.role(&role).await.expect("a role");
        let namespace = || Namespace::in_region(world, region.clone(), json!({}));
        let (first, later) = tokio::join!(namespace(), namespace());
        Tenant { role, first, later }
    };
    let tenants = stream::iter(0..ROLES).map(tenant);
    tenants.buffer_unordered(AT_A_TIME).collect().await
}

fn config(tenants: &[Tenant]) -> String {
    let rule = |tenant: &Tenant| {
        let namespaces = [&tenant.first.name, &tenant.later.name];
        json!({ "namespaces": namespaces, "assumeRole": { "roleArn": tenant.role.arn } })
    };
    let rules: Vec<Value> = tenants.iter().map(rule).collect();
    json!({ "apiVersion": "ecr-pull-secrets.dev/v1", "kind": "Config", "rules": rules }).to_string()
}

/// Sends a review of a pod in each namespace, and waits until each has a Secret that opens its registry.
async fn serve(replica: &Replica, namespaces: impl Iterator<Item = &Namespace>) {
    stream::iter(namespaces)
        .for_each_concurrent(AT_A_TIME, |namespace| async {
            let review = review::of_pod(&namespace.name, &pod("pod", &namespace.image("app")));
            assert!(review::adds_reference(
                &review::answer(replica, &review).await
            ));
            namespace.assert_opens().await;
        })
        .await;
}

/// Successful mints of each tenant's role.
async fn mints(region: &Region) -> BTreeMap<String, u64> {
    let calls = region.calls().await.expect("counts");
    let mints = calls
        .into_iter()
        .filter(|call| call.action == Action::GetAuthorizationToken.name());
    let mut by_principal = BTreeMap::new();
    for call in mints {
        *by_principal.entry(call.principal).or_default() += call.succeeded;
    }
    by_principal
}

/// Number of tokens in each Secret of the store.
async fn stored(installation: &Installation) -> Vec<usize> {
    let secrets = installation.namespace.api::<Secret>();
    let mut counts = Vec::new();
    for name in NAMES {
        let secret = secrets.get_opt(name).await.expect("an answer");
        let data = secret.and_then(|secret| secret.data).unwrap_or_default();
        let tokens = data
            .iter()
            .filter(|(key, value)| stored::decode(key, &value.0).is_ok());
        counts.push(tokens.count());
    }
    counts
}

async fn all_stored(installation: &Installation, tokens: usize) -> Vec<usize> {
    eventually("all tokens in the store", LIMIT, || async {
        let counts = stored(installation).await;
        (counts.iter().sum::<usize>() >= tokens).then_some(counts)
    })
    .await
}

/// The version of each Secret of the store.
async fn versions(installation: &Installation) -> Vec<Option<String>> {
    let secrets = installation.namespace.api::<Secret>();
    let versions = NAMES.map(|name| secrets.get(name));
    let versions = join_all(versions).await.into_iter();
    versions
        .map(|secret| secret.expect("a Secret").metadata.resource_version)
        .collect()
}

/// Brings a token of a role in another region. Its write changes the Secret that holds it, and no other.
async fn one_more_rewrites_one_secret(
    installation: &Installation,
    replica: &Replica,
    tenant: &Tenant,
) {
    let held = stored(installation).await.iter().sum::<usize>();
    let before = versions(installation).await;
    let region = tenant.first.region.client().region("hundred-land-2");
    let image = format!("{}/app:v1", region.host(ACCOUNT));
    let review = review::of_pod(&tenant.first.name, &pod("elsewhere", &image));
    review::answer(replica, &review).await;
    all_stored(installation, held + 1).await;
    let after = versions(installation).await;
    let changed = before
        .iter()
        .zip(&after)
        .filter(|(one, other)| one != other);
    assert_eq!(changed.count(), 1, "{before:?} {after:?}");
}

/// Fails unless the metrics have tokens of rules, and name no role and no account.
async fn assert_metrics_name_no_role(replica: &Replica) {
    let (_, text) = replica.get("/metrics").await.expect("metrics");
    let series = "ecr_pull_secrets_token_expiry_timestamp_seconds{";
    let of_last_rule = format!("rule=\"{}\"", ROLES - 1);
    let has_rule = |line: &str| line.starts_with(series) && line.contains(&of_last_rule);
    assert!(text.lines().any(has_rule), "{text}");
    assert!(!text.contains("arn:") && !text.contains(ACCOUNT), "{text}");
}

async fn hundred_roles_pull_through_outage_with_restart(world: Arc<World>) -> Outcome {
    let installation = Installation::new(&world, "").await;
    let region = world.aws.region("hundred-land-1");
    let tenants = tenants(&world, &region).await;
    let config = config(&tenants);
    let before = installation.launch("before").config(&config).start();
    before.ready().await;
    serve(&before, tenants.iter().map(|tenant| &tenant.first)).await;
    let once: Vec<u64> = mints(&region).await.into_values().collect();
    assert_eq!(once, [1; ROLES], "each role mints one token");
    let counts = all_stored(&installation, ROLES).await;
    assert_eq!(counts[0], 32, "{counts:?}");
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    one_more_rewrites_one_secret(&installation, &before, &tenants[0]).await;

    // A Secret of the store that is deleted comes back, and so does the note about the others.
    let secrets = installation.namespace.api::<Secret>();
    for name in [NAMES[0], NAMES[3]] {
        secrets.delete(name, &DeleteParams::default()).await?;
    }
    let whole = eventually("the store is whole again", LIMIT, || async {
        let counts = stored(&installation).await;
        let first = secrets.get_opt(NAMES[0]).await.expect("an answer")?;
        let has_note = first.metadata.annotations?.contains_key(ANNOTATION);
        (has_note && counts.iter().sum::<usize>() > ROLES).then_some(counts)
    })
    .await;
    assert!(whole[0] <= 32, "{whole:?}");
    // A replica of an older version knows the first Secret alone, and writes a token there that this
    // version keeps elsewhere. It is not minted again because of that.
    let value = moved_to_first(&secrets, &whole).await;
    let patch = Patch::Merge(json!({ "data": value }));
    secrets
        .patch(NAMES[0], &PatchParams::default(), &patch)
        .await?;

    before.stop();
    for action in [Action::GetAuthorizationToken, Action::AssumeRole] {
        let rule = FaultRule {
            principal: None,
            action: Some(action),
            ..region.rule(Fault::Reset)
        };
        world.aws.fault(&rule).await?;
    }
    let after = installation.launch("after").config(&config).start();
    after.ready().await;
    let keys = after.metric("ecr_pull_secrets_token_keys", &[]).await;
    assert!((keys - (ROLES + 1) as f64).abs() < 0.5, "{keys} keys");
    assert_metrics_name_no_role(&after).await;
    serve(&after, tenants.iter().map(|tenant| &tenant.later)).await;
    let still: Vec<u64> = mints(&region).await.into_values().collect();
    assert_eq!(still, [1; ROLES], "AWS was down");
    Ok(())
}

/// An entry of the fullest other Secret, for the first one.
async fn moved_to_first(secrets: &kube::Api<Secret>, counts: &[usize]) -> Value {
    let others = counts.iter().enumerate().skip(1);
    let (shard, _) = others.max_by_key(|(_, count)| **count).expect("some");
    let secret = secrets.get(NAMES[shard]).await.expect("a Secret");
    let (key, value) = secret.data.expect("data").pop_first().expect("a token");
    json!({ key: value })
}
