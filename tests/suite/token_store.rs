//! The token store: all replicas have what one of them minted, also one that starts while AWS is down. No
//! edit of the store keeps a pod from its token.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_stand_in::client::Region;
use aws_stand_in::spec::{Action, Fault};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ecr_pull_secrets_core::identity::Identity;
use ecr_pull_secrets_core::identity::TokenKey;
use ecr_pull_secrets_core::image::Endpoint;
use ecr_pull_secrets_core::token::Token;
use ecr_pull_secrets_core::token::stored;
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ResourceQuota, Secret};
use kube::api::{DeleteParams, Patch, PatchParams};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::frame::trials;
use crate::harness::installation::Installation;
use crate::harness::namespace::{Namespace, pod};
use crate::harness::replica::Replica;
use crate::harness::{LIMIT, Outcome, World, docker, eventually, review};

trials!(
    second_replica_serves_from_the_store,
    replica_started_without_aws_serves_stored_tokens,
    concurrent_mints_all_reach_the_store,
    edited_store_breaks_nothing_and_keeps_unknown_entries,
    later_expiry_wins,
    deleted_store_is_recreated,
    unwritable_store_is_written_later,
    replica_without_store_rights_still_serves,
);

const STORE: &str = "ecr-pull-secrets-tokens";

/// Sends a review of a namespace's first pod, which must cause no warning; the token in the new Secret.
async fn serves(replica: &Replica, namespace: &Namespace) -> String {
    let review = review::of_pod(&namespace.name, &pod("pod", &namespace.image("app")));
    let answer = review::answer(replica, &review).await;
    assert!(review::adds_reference(&answer), "{answer}");
    assert_eq!(review::warnings(&answer), "");
    docker::auth(&namespace.secret_comes().await, &namespace.host())
}

/// Creates another namespace in the same region.
async fn sibling(world: &Arc<World>, namespace: &Namespace) -> Namespace {
    Namespace::in_region(world, namespace.region.clone(), json!({})).await
}

async fn calls(region: &Region) -> u64 {
    let total = region.total(Action::GetAuthorizationToken).await;
    total.expect("counts").total
}

fn key(region: &Region) -> TokenKey {
    TokenKey {
        identity: Identity::Ambient,
        region: region.name().into(),
        endpoint: Endpoint::Standard,
    }
}

async fn store(installation: &Installation) -> Option<Secret> {
    let secrets = installation.namespace.api::<Secret>();
    secrets.get_opt(STORE).await.expect("an answer")
}

/// Tokens of the store, by region.
async fn stored(installation: &Installation) -> BTreeMap<String, Token> {
    let data = store(installation).await.and_then(|secret| secret.data);
    data.iter()
        .flatten()
        .filter_map(|(data_key, value)| stored::decode(data_key, &value.0).ok())
        .map(|(key, token)| (key.region.to_string(), token))
        .collect()
}

/// Waits until the store holds this token for a region.
async fn comes(installation: &Installation, region: &Region, text: &str) -> Token {
    eventually("the token in the store", LIMIT, || async {
        let token = stored(installation).await.remove(region.name())?;
        (token.expose_authorization() == text).then_some(token)
    })
    .await
}

/// Waits until the replica has a token of the region in memory.
async fn knows(replica: &Replica, region: &Region) {
    let name = "ecr_pull_secrets_token_expiry_timestamp_seconds";
    let label = format!("region=\"{}\"", region.name());
    eventually("the token in the replica's memory", LIMIT, || async {
        let end = replica.metric(name, &[&label]).await;
        (end > 0.0).then_some(())
    })
    .await;
}

async fn edit(installation: &Installation, data: Value) {
    let secrets = installation.namespace.api::<Secret>();
    let patch = Patch::Merge(json!({ "data": data }));
    let edited = secrets.patch(STORE, &PatchParams::default(), &patch).await;
    edited.expect("an edit");
}

async fn second_replica_serves_from_the_store(world: Arc<World>) -> Outcome {
    let installation = Installation::new(&world, "").await;
    let [one, other] = ["one", "other"].map(|name| installation.replica(name));
    for replica in [&one, &other] {
        replica.ready().await;
    }
    let first = Namespace::new(&world).await;
    let token = serves(&one, &first).await;
    first.assert_opens().await;
    comes(&installation, &first.region, &token).await;
    let secret = store(&installation).await.expect("the store");
    assert_eq!(secret.type_.as_deref(), Some("Opaque"));
    let labels = secret.metadata.labels.expect("labels");
    assert_eq!(labels["app.kubernetes.io/managed-by"], "ecr-pull-secrets");
    assert_eq!(labels.len(), 1);
    let annotations = secret.metadata.annotations.expect("annotations");
    assert_eq!(annotations["ecr-pull-secrets.dev/format"], "1");
    assert_eq!(annotations.len(), 1);

    knows(&other, &first.region).await;
    let second = sibling(&world, &first).await;
    assert_eq!(serves(&other, &second).await, token);
    second.assert_opens().await;
    assert_eq!(calls(&first.region).await, 1);
    Ok(())
}

async fn replica_started_without_aws_serves_stored_tokens(world: Arc<World>) -> Outcome {
    let installation = Installation::new(&world, "").await;
    let before = installation.replica("before");
    before.ready().await;
    let first = Namespace::new(&world).await;
    let token = serves(&before, &first).await;
    comes(&installation, &first.region, &token).await;
    // All replicas stop, and AWS fails.
    before.stop();
    first.region.fault(Fault::Reset).await?;
    let after = installation.replica("after");
    after.ready().await;
    // A ready replica has read the store, so there is nothing to wait for.
    let second = sibling(&world, &first).await;
    assert_eq!(serves(&after, &second).await, token);
    second.assert_opens().await;
    assert_eq!(calls(&first.region).await, 1);
    Ok(())
}

async fn concurrent_mints_all_reach_the_store(world: Arc<World>) -> Outcome {
    let installation = Installation::new(&world, "").await;
    let replicas = ["one", "other", "third"].map(|name| installation.replica(name));
    for replica in &replicas {
        replica.ready().await;
    }
    let namespaces = join_all((0..12).map(|_| Namespace::new(&world))).await;
    let tokens = namespaces
        .iter()
        .zip(replicas.iter().cycle())
        .map(|(namespace, replica)| async {
            // A mint may take longer than the admission waits. The Secret still comes.
            let image = namespace.image("app");
            let review = review::of_pod(&namespace.name, &pod("pod", &image));
            assert!(review::adds_reference(
                &review::answer(replica, &review).await
            ));
            docker::auth(&namespace.secret_comes().await, &namespace.host())
        });
    let tokens = join_all(tokens).await;
    for (namespace, token) in namespaces.iter().zip(&tokens) {
        comes(&installation, &namespace.region, token).await;
        assert_eq!(calls(&namespace.region).await, 1);
        for replica in &replicas {
            knows(replica, &namespace.region).await;
        }
    }
    assert_eq!(stored(&installation).await.len(), namespaces.len());
    Ok(())
}

async fn edited_store_breaks_nothing_and_keeps_unknown_entries(world: Arc<World>) -> Outcome {
    let installation = Installation::new(&world, "").await;
    let replica = installation.replica("one");
    replica.ready().await;
    let first = Namespace::new(&world).await;
    let token = serves(&replica, &first).await;
    comes(&installation, &first.region, &token).await;
    let mut later_version = json!({ "format": 2, "secrets": "of a later version" });
    later_version["region"] = json!(first.region.name());
    let unknown = BTreeMap::from([
        ("note-to-self", b"\xff\x00 no JSON".to_vec()),
        ("v2.something", later_version.to_string().into_bytes()),
        ("empty", Vec::new()),
    ]);
    let mut data: serde_json::Map<String, Value> = unknown
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(BASE64_STANDARD.encode(value))))
        .collect();
    // And the known entry is corrupt.
    let ours = stored::data_key(&key(&first.region));
    data.insert(ours, json!(BASE64_STANDARD.encode("{\"format\": 1")));
    edit(&installation, Value::Object(data)).await;
    comes(&installation, &first.region, &token).await;
    let second = sibling(&world, &first).await;
    assert_eq!(serves(&replica, &second).await, token);

    // Another replica reads all of that first, and adds an entry.
    let next = installation.replica("next");
    next.ready().await;
    let third = sibling(&world, &first).await;
    assert_eq!(serves(&next, &third).await, token);
    let elsewhere = Namespace::new(&world).await;
    let other_token = serves(&next, &elsewhere).await;
    comes(&installation, &elsewhere.region, &other_token).await;
    let data = store(&installation).await.and_then(|secret| secret.data);
    let data = data.expect("data");
    for (name, value) in unknown {
        assert_eq!(data[name].0, value, "{name}");
    }
    assert_eq!(calls(&first.region).await, 1);
    Ok(())
}

async fn later_expiry_wins(world: Arc<World>) -> Outcome {
    let installation = Installation::new(&world, "").await;
    let [one, other] = ["one", "other"].map(|name| installation.replica(name));
    for replica in [&one, &other] {
        replica.ready().await;
    }
    let first = Namespace::new(&world).await;
    let lifetime = Fault::Lifetime { seconds: 3600 };
    first.region.fault(lifetime).await?;
    let minted = serves(&one, &first).await;
    comes(&installation, &first.region, &minted).await;
    knows(&other, &first.region).await;
    let put = async |region: &Region, text: &str, hours: i64| {
        let text = BASE64_STANDARD.encode(format!("AWS:{text}"));
        let now: Timestamp = ecr_pull_secrets::clock::now();
        let end = now + SignedDuration::from_hours(hours);
        let token = Token::new(text.clone(), now, Some(end)).expect("a token");
        let key = key(region);
        let value = BASE64_STANDARD.encode(stored::encode(&key, &token).expose_secret());
        edit(&installation, json!({ stored::data_key(&key): value })).await;
        text
    };
    // For example from a replica that we do not know.
    let later = put(&first.region, "later", 6).await;
    for replica in [&one, &other] {
        eventually("the later token", LIMIT, || async {
            let namespace = sibling(&world, &first).await;
            (serves(replica, &namespace).await == later).then_some(())
        })
        .await;
    }
    // Neither an earlier expiry nor an impossible one.
    for (name, hours) in [("earlier", 1), ("incredible", 25), ("ages", 100_000)] {
        put(&first.region, name, hours).await;
        comes(&installation, &first.region, &later).await;
        for replica in [&one, &other] {
            let namespace = sibling(&world, &first).await;
            assert_eq!(serves(replica, &namespace).await, later, "{name}");
        }
    }
    assert_eq!(calls(&first.region).await, 1);

    // Not even without a better one.
    let elsewhere = Namespace::new(&world).await;
    let incredible = put(&elsewhere.region, "incredible", 25).await;
    let next = installation.replica("next");
    next.ready().await;
    let minted = serves(&next, &elsewhere).await;
    assert_ne!(minted, incredible);
    comes(&installation, &elsewhere.region, &minted).await;
    assert_eq!(calls(&elsewhere.region).await, 1);
    Ok(())
}

async fn deleted_store_is_recreated(world: Arc<World>) -> Outcome {
    let installation = Installation::new(&world, "").await;
    let replicas = ["one", "other"].map(|name| installation.replica(name));
    let namespaces = join_all(replicas.iter().map(|_| Namespace::new(&world))).await;
    let mut tokens = Vec::new();
    for (replica, namespace) in replicas.iter().zip(&namespaces) {
        replica.ready().await;
        let token = serves(replica, namespace).await;
        comes(&installation, &namespace.region, &token).await;
        tokens.push(token);
    }
    let secrets = installation.namespace.api::<Secret>();
    let before = store(&installation).await.expect("the store");
    secrets.delete(STORE, &DeleteParams::default()).await?;
    for (namespace, token) in namespaces.iter().zip(&tokens) {
        comes(&installation, &namespace.region, token).await;
        assert_eq!(calls(&namespace.region).await, 1);
    }
    let after = store(&installation).await.expect("the store");
    assert_ne!(after.metadata.uid, before.metadata.uid);
    Ok(())
}

async fn unwritable_store_is_written_later(world: Arc<World>) -> Outcome {
    let installation = Installation::new(&world, "").await;
    let quota = json!({
        "metadata": { "name": "none" },
        "spec": { "hard": { "count/secrets": "0" } },
    });
    let quotas = installation.namespace.api::<ResourceQuota>();
    let _: ResourceQuota = installation.namespace.create(quota).await?;
    eventually("the quota", LIMIT, || async {
        let status = quotas.get("none").await.expect("an answer").status?;
        status.used.filter(|used| !used.is_empty())
    })
    .await;
    let replica = installation.replica("one");
    replica.ready().await;
    let namespace = Namespace::new(&world).await;
    let token = serves(&replica, &namespace).await;
    namespace.assert_opens().await;
    eventually("a warning in the log", LIMIT, || async {
        let log = std::fs::read_to_string(&replica.log).expect("a log");
        let line = log
            .lines()
            .find(|line| line.contains("the token store cannot be written"))?;
        line.contains("quota_exceeded").then_some(())
    })
    .await;
    assert!(store(&installation).await.is_none());
    quotas.delete("none", &DeleteParams::default()).await?;
    comes(&installation, &namespace.region, &token).await;
    assert_eq!(calls(&namespace.region).await, 1);
    Ok(())
}

async fn replica_without_store_rights_still_serves(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    // Our account has no Role there.
    let home = Namespace::new(&world).await;
    let replica = world.replica("without-store");
    let replica = replica.env("ECR_PULL_SECRETS_NAMESPACE", &home.name);
    let replica = replica.start();
    replica.ready().await;
    serves(&replica, &namespace).await;
    namespace.assert_opens().await;
    let secrets = home.api::<Secret>();
    assert!(secrets.get_opt(STORE).await?.is_none());
    Ok(())
}
