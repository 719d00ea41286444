//! Limits on what pod authors choose: registries of a Secret, regions of a namespace. Beyond a limit the
//! new one is refused with a cause of its own, and the others stay.

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_stand_in::client::Region;
use aws_stand_in::spec::{Action, Verdict};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::identity::{Identity, TokenKey};
use ecr_pull_secrets_core::image::Endpoint;
use ecr_pull_secrets_core::token::{Token, shards, stored};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Patch, PatchParams};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::frame::trials;
use crate::harness::installation::Installation;
use crate::harness::namespace::{ACCOUNT, Namespace, SECRET, references};
use crate::harness::replica::Replica;
use crate::harness::{LIMIT, Outcome, World, docker, eventually, review};
use crate::ownership::kubectl;

trials!(
    namespace_has_at_most_a_hundred_registries,
    namespace_adds_at_most_sixteen_regions,
    regions_of_other_namespaces_evict_no_token,
    identity_with_512_tokens_gets_no_other,
    secret_that_etcd_refuses_is_no_overload,
    namespaces_of_one_region_share_one_token,
    every_cause_has_its_own_short_warning,
);

/// A pod with a container for each host.
fn pod_of(name: &str, hosts: &[String]) -> Value {
    let container = |(number, host): (usize, &String)| json!({ "name": format!("c{number}"), "image": format!("{host}/app:v1") });
    let containers: Vec<Value> = hosts.iter().enumerate().map(container).collect();
    json!({ "metadata": { "name": name }, "spec": { "containers": containers } })
}

/// Registries of a region, each of another account.
fn accounts(region: &Region, numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers
        .map(|number| region.host(&format!("{:012}", 500_000_000_000 + number)))
        .collect()
}

/// Regions that no other test uses.
fn regions(world: &World, test: &str, numbers: std::ops::Range<u32>) -> Vec<Region> {
    numbers
        .map(|number| world.aws.region(&format!("{test}-land-{number}")))
        .collect()
}

fn hosts_of(regions: &[Region]) -> Vec<String> {
    regions.iter().map(|region| region.host(ACCOUNT)).collect()
}

/// A replica's answer to a pod with these hosts, once it answers in time: a mint may take longer than
/// an admission waits.
async fn answer(
    replica: &Replica,
    namespace: &Namespace,
    hosts: &[String],
    causes: &[Cause],
) -> Value {
    let review = review::of_pod(&namespace.name, &pod_of("pod", hosts));
    let slow = [Cause::AwsTimeout.warning(), Cause::StillWorking.warning()];
    let answer = eventually("an answer in time", LIMIT, || async {
        let answer = review::answer(replica, &review).await;
        assert!(review::adds_reference(&answer));
        let warnings = review::warnings(&answer);
        (!slow.iter().any(|slow| warnings.contains(slow))).then_some(answer)
    })
    .await;
    let warnings: Vec<_> = answer["warnings"]
        .as_array()
        .into_iter()
        .flatten()
        .collect();
    let wanted: Vec<_> = causes.iter().map(|cause| cause.warning()).collect();
    assert_eq!(warnings, wanted.iter().collect::<Vec<_>>());
    assert!(wanted.iter().all(|warning| warning.len() <= 120));
    answer
}

/// Starts a replica without a token store.
pub async fn apart(world: &Arc<World>, name: &str) -> Replica {
    let ours = Namespace::new(world).await.name;
    let replica = world.replica(name).env("ECR_PULL_SECRETS_NAMESPACE", ours);
    let replica = replica.start();
    replica.ready().await;
    replica
}

async fn namespace_has_at_most_a_hundred_registries(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let hundred = accounts(&namespace.region, 0..100);
    let stored: Pod = namespace.create(pod_of("hundred", &hundred)).await?;
    assert_eq!(references(&stored), [SECRET]);
    let before = namespace.secret_comes().await;
    assert_eq!(docker::hosts(&before), hundred);
    // The accounts need one token: they share a region.
    assert_eq!(
        namespace
            .region
            .total(Action::GetAuthorizationToken)
            .await?
            .total,
        1
    );
    let auths: BTreeSet<_> = hundred
        .iter()
        .map(|host| docker::auth(&before, host))
        .collect();
    assert_eq!(auths.len(), 1);

    // The next registry, alone and beside an older one.
    let next = accounts(&namespace.region, 100..101);
    let both = [next.clone(), hundred[..1].to_vec()].concat();
    for replica in &world.replicas() {
        answer(replica, &namespace, &next, &[Cause::TooManyRegistries]).await;
        answer(replica, &namespace, &both, &[Cause::TooManyRegistries]).await;
    }
    let image = format!("{}/app:v1", next[0]);
    let (_, warnings) = kubectl(&world, &namespace, &["run", "next", "--image", &image]);
    assert!(
        warnings.contains(&Cause::TooManyRegistries.warning()),
        "{warnings}"
    );
    // The hundred are still served, and the refused one caused no write.
    for replica in &world.replicas() {
        answer(replica, &namespace, &hundred, &[]).await;
    }
    docker::assert_unwritten(&before, &namespace.secret_comes().await);
    assert_eq!(world.writes(&namespace.name), 1);
    Ok(())
}

/// A token store with tokens of this number of regions.
fn store_of(regions: u32) -> Value {
    let now = ecr_pull_secrets::clock::now();
    let entry = |number| {
        let key = TokenKey {
            identity: Identity::Ambient,
            region: format!("full-land-{number}").into(),
            endpoint: Endpoint::Standard,
        };
        let text = BASE64_STANDARD.encode(format!("AWS:full-{number}"));
        let end = now + SignedDuration::from_hours(12);
        let token = Token::new(text, now, Some(end)).expect("a token");
        let value = stored::encode(&key, &token);
        let value = BASE64_STANDARD.encode(value.expose_secret());
        (stored::data_key(&key), json!(value))
    };
    let data: serde_json::Map<String, Value> = (0..regions).map(entry).collect();
    json!({ "metadata": { "name": shards::NAMES[0] }, "data": data })
}

async fn identity_with_512_tokens_gets_no_other(world: Arc<World>) -> Outcome {
    let installation = Installation::new(&world, "").await;
    let store = store_of(512);
    installation.namespace.create::<Secret>(store).await?;
    let replica = installation.replica("full");
    replica.ready().await;
    let keys = replica.metric("ecr_pull_secrets_token_keys", &[]).await;
    assert_eq!(keys, 512.0);
    let namespace = Namespace::new(&world).await;
    let hosts = [namespace.host()];
    answer(&replica, &namespace, &hosts, &[Cause::TokenLimitReached]).await;
    let calls = namespace
        .region
        .total(Action::GetAuthorizationToken)
        .await?;
    assert_eq!(calls.total, 0);
    Ok(())
}

/// Writes into the Secret what has room there: data up to 1 MiB, and labels until etcd takes no more.
async fn fill(namespace: &Namespace) {
    let write = async |change: Value| {
        let secrets = namespace.api::<Secret>();
        let (params, change) = (PatchParams::default(), Patch::Merge(change));
        secrets.patch(SECRET, &params, &change).await.map(drop)
    };
    let data = BASE64_STANDARD.encode(vec![b'x'; 1000 << 10]);
    let data = json!({ "data": { "filler": data } });
    write(data).await.expect("a Secret holds 1 MiB");
    let (prefix, text) = ("x".repeat(200), "x".repeat(63));
    let mut number = 0;
    for labels in [256, 64, 16, 4, 1] {
        let refused = loop {
            let added = number..number + labels;
            let added = added.map(|number| (format!("{prefix}/{number}"), json!(text)));
            let added: serde_json::Map<String, Value> = added.collect();
            number += labels;
            let change = json!({ "metadata": { "labels": added } });
            if let Err(refused) = write(change).await {
                break refused.to_string();
            }
        };
        assert!(
            refused.contains("too large") || refused.contains("larger than max"),
            "{refused}"
        );
    }
}

async fn secret_that_etcd_refuses_is_no_overload(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let hosts = accounts(&namespace.region, 0..2);
    let replica = &world.replicas()[0];
    answer(replica, &namespace, &hosts[..1], &[]).await;
    namespace.secret_comes().await;
    fill(&namespace).await;
    answer(replica, &namespace, &hosts, &[Cause::SecretRefused]).await;
    Ok(())
}

async fn namespace_adds_at_most_sixteen_regions(world: Arc<World>) -> Outcome {
    let replica = apart(&world, "many-regions").await;
    let namespace = Namespace::new(&world).await;
    let regions = regions(&world, "arrival", 1..18);
    let hosts = hosts_of(&regions);
    answer(&replica, &namespace, &hosts, &[Cause::TooManyTokens]).await;
    let secret = eventually("the others", LIMIT, || async {
        namespace
            .secret()
            .await
            .filter(|secret| docker::hosts(secret).len() == 16)
    })
    .await;
    let mut left_out = None;
    for (region, host) in regions.iter().zip(&hosts) {
        let calls = region.total(Action::GetAuthorizationToken).await?;
        let auth = docker::auth(&secret, host);
        if auth.is_empty() {
            assert_eq!(calls.total, 0, "{host}");
            left_out = Some((region, host));
        } else {
            assert_eq!(
                world.aws.registry_opens(host, "app", &auth).await?,
                Verdict::Accepted
            );
        }
    }
    let (region, host) = left_out.expect("one is left out");

    // Its older regions still work, and another namespace is not affected.
    let have: Vec<_> = hosts
        .iter()
        .filter(|other| *other != host)
        .cloned()
        .collect();
    answer(&replica, &namespace, &have, &[]).await;
    let other = Namespace::in_region(&world, region.clone(), json!({})).await;
    answer(&replica, &other, &[other.host()], &[]).await;
    other.assert_opens().await;
    // Now every namespace can have the token.
    eventually("the seventeenth, without a new pod", LIMIT, || async {
        namespace
            .secret()
            .await
            .filter(|secret| docker::hosts(secret).len() == 17)
    })
    .await;
    Ok(())
}

async fn regions_of_other_namespaces_evict_no_token(world: Arc<World>) -> Outcome {
    let replica = apart(&world, "many-tokens").await;
    let honest = Namespace::new(&world).await;
    answer(&replica, &honest, &[honest.host()], &[]).await;
    for start in (1..113).step_by(16) {
        let namespace = Namespace::new(&world).await;
        let regions = regions(&world, "flood", start..start + 16);
        let hosts = hosts_of(&regions);
        answer(&replica, &namespace, &hosts, &[]).await;
        let secret = namespace.secret_comes().await;
        assert_eq!(docker::hosts(&secret).len(), 16);
        for region in &regions {
            assert_eq!(region.total(Action::GetAuthorizationToken).await?.total, 1);
        }
    }
    let next = Namespace::in_region(&world, honest.region.clone(), json!({})).await;
    answer(&replica, &next, &[next.host()], &[]).await;
    next.assert_opens().await;
    let calls = honest.region.total(Action::GetAuthorizationToken).await?;
    assert_eq!(calls.total, 1, "the first token was evicted");
    let keys = replica.metric("ecr_pull_secrets_token_keys", &[]).await;
    let limit = replica
        .metric("ecr_pull_secrets_token_keys_limit", &[])
        .await;
    assert!((keys - 113.0).abs() < 0.5 && (limit - 2048.0).abs() < 0.5);
    // Not every region has a series of its own.
    let (_, metrics) = replica.get("/metrics").await.expect("metrics");
    let name = "ecr_pull_secrets_token_expiry_timestamp_seconds{";
    let series = metrics.lines().filter(|line| line.starts_with(name));
    assert_eq!(series.count(), 65);
    Ok(())
}

async fn namespaces_of_one_region_share_one_token(world: Arc<World>) -> Outcome {
    let first = Namespace::new(&world).await;
    let second = Namespace::in_region(&world, first.region.clone(), json!({})).await;
    let elsewhere = Namespace::new(&world).await;
    for namespace in [&first, &second, &elsewhere] {
        answer(&world.replicas()[0], namespace, &[namespace.host()], &[]).await;
    }
    let auth = |secret| docker::auth(&secret, &first.host());
    let token = auth(first.assert_opens().await);
    assert!(
        auth(second.assert_opens().await) == token,
        "two tokens in one region"
    );
    assert!(docker::auth(&elsewhere.assert_opens().await, &elsewhere.host()) != token);
    assert_eq!(
        first
            .region
            .total(Action::GetAuthorizationToken)
            .await?
            .total,
        1
    );
    Ok(())
}

async fn every_cause_has_its_own_short_warning(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let denied = world.aws.region("denied-land-1");
    let config = "\
        apiVersion: ecr-pull-secrets.dev/v1\n\
        kind: Config\n\
        rules: [{regions: [denied-land-1], deny: {}}, {ambient: {}}]\n";
    let replica = world.replica("two-causes").config(config).start();
    replica.ready().await;
    let mut hosts = accounts(&namespace.region, 0..101);
    // The hundred-and-second registry of a pod is not read.
    hosts.insert(0, denied.host(ACCOUNT));
    let causes = [Cause::TooManyRegistries, Cause::DeniedByRule];
    let answer = answer(&replica, &namespace, &hosts, &causes).await;
    assert_eq!(
        answer["auditAnnotations"]["cause"],
        Cause::TooManyRegistries.name()
    );
    assert_eq!(docker::hosts(&namespace.secret_comes().await).len(), 100);
    assert_eq!(denied.total(Action::GetAuthorizationToken).await?.total, 0);
    Ok(())
}
