//! Tokens that are replaced before half of their lifetime: another identity's, rejected ones, and those
//! that the leader cannot renew.

use std::sync::Arc;
use std::time::Duration;

use aws_stand_in::spec::{Action, Fault, Role, Verdict};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ecr_pull_secrets::clock;
use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::token::shards::NAMES;
use ecr_pull_secrets_core::token::stored;
use futures::try_join;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::failed_pulls::failed;
use super::site::{Site, logged, refused, set_status};
use crate::frame::trials;
use crate::harness::launch::free_address;
use crate::harness::namespace::{ACCOUNT, Namespace, SECRET, pod};
use crate::harness::world::{CONFIG, OURS};
use crate::harness::{LIMIT, Outcome, docker, eventually, review};

trials!(
    changed_identity_changes_tokens_at_once,
    changed_rule_changes_two_identities_at_once,
    token_that_ecr_rejects_is_replaced,
    follower_renews_what_the_leader_cannot,
);

/// Longer than the lifetime of a token here, and than the age that a pod must have.
const LONG: Duration = Duration::from_secs(180);

async fn calls(namespace: &Namespace) -> u64 {
    let calls = namespace.region.total(Action::GetAuthorizationToken).await;
    calls.expect("a count").total
}

async fn changed_identity_changes_tokens_at_once(site: Arc<Site>) -> Outcome {
    let namespaces = [
        site.namespace(json!({})).await,
        site.namespace(json!({})).await,
    ];
    site.open(1, CONFIG).await;
    for namespace in &namespaces {
        namespace.pod("pod", &namespace.image("app")).await;
        let secret = namespace.assert_opens().await;
        assert_eq!(docker::annotation(&secret, "identity"), "ambient");
    }
    site.close().await;
    let role = role(&site, "changed").await;
    let [changed, same] = &namespaces;
    let rules = json!([
        { "namespaces": [&changed.name], "assumeRole": { "roleArn": role.arn } },
        { "ambient": {} },
    ]);
    let config =
        json!({ "apiVersion": "ecr-pull-secrets.dev/v1", "kind": "Config", "rules": rules });
    let before = same.secret_comes().await;
    site.open(1, &config.to_string()).await;
    let secret = eventually("the role's token", LIMIT, || async {
        let secret = changed.secret().await?;
        (docker::annotation(&secret, "identity") == role.arn).then_some(secret)
    })
    .await;
    assert_eq!(changed.verdict(&secret, "app").await, Verdict::Accepted);
    assert_eq!(calls(changed).await, 2);
    // The other namespace's identity is unchanged, and so is its Secret.
    let after = same.secret_comes().await;
    docker::assert_unwritten(&before, &after);
    assert_eq!(calls(same).await, 1);
    Ok(())
}

/// A role that the replicas may assume.
async fn role(site: &Site, name: &str) -> Role {
    let role = Role {
        arn: format!("arn:aws:iam::210987654321:role/{name}"),
        external_id: None,
        trusts: vec![aws_stand_in::DEFAULT_ARN.to_owned()],
        web_identities: Vec::new(),
        max_session_seconds: 3600,
    };
    site.aws.role(&role).await.expect("the stand-in listens");
    role
}

async fn changed_rule_changes_two_identities_at_once(site: Arc<Site>) -> Outcome {
    let changed = site.namespace(json!({})).await;
    let second = site.aws.region(&format!("{}1", changed.region.name()));
    let user = Namespace::in_region(&site, changed.region.clone(), json!({})).await;
    let (old, new) = (role(&site, "two-old").await, role(&site, "two-new").await);
    let config = |of_changed: Value| {
        let mut rules = of_changed.as_array().expect("rules").clone();
        // The new role has a token already when the rules change.
        rules.push(json!({ "namespaces": [&user.name], "assumeRole": { "roleArn": new.arn } }));
        let rules = json!(rules);
        json!({ "apiVersion": "ecr-pull-secrets.dev/v1", "kind": "Config", "rules": rules })
            .to_string()
    };
    let of_changed = |role: &Role| json!({ "namespaces": [&changed.name], "assumeRole": { "roleArn": role.arn } });
    let by_old = json!({ "regions": [second.name()], "namespaces": [&changed.name], "assumeRole": { "roleArn": old.arn } });
    let ambient = json!({ "namespaces": [&changed.name], "ambient": {} });
    site.open(1, &config(json!([by_old, ambient]))).await;
    let mut two = pod("pod", &changed.image("app"));
    let image = format!("{}/app:v1", second.host(ACCOUNT));
    two["spec"]["initContainers"] = json!([{ "name": "second", "image": image }]);
    let _: Pod = changed.create(two).await?;
    let identities = async |wanted: &[&str]| {
        eventually("the identities of both tokens", LIMIT, || async {
            let secret = changed.secret().await?;
            (docker::annotation(&secret, "identity") == wanted.join(" ")).then_some(())
        })
        .await;
    };
    identities(&["ambient", &old.arn]).await;
    // Its token expires before those that it replaces.
    let fault = Fault::Lifetime { seconds: 3600 };
    changed.region.fault(fault).await?;
    user.pod("pod", &user.image("app")).await;
    user.assert_opens().await;
    site.close().await;
    site.open(1, &config(json!([of_changed(&new)]))).await;
    identities(&[&new.arn]).await;
    changed.region.clear_faults().await?;
    Ok(())
}

/// Makes the token of a namespace's region older in the store. Its expiry is a second later, so that
/// every replica takes this version.
async fn age(namespace: &Namespace, by: SignedDuration) {
    let stores: Api<Secret> = Api::namespaced(namespace.client.clone(), OURS);
    eventually("the token is in the store", LIMIT, || async {
        // Other tests may have filled the first Secret.
        for name in NAMES {
            let secret = stores.get_opt(name).await.expect("an answer");
            let data = secret.and_then(|secret| secret.data).unwrap_or_default();
            let entry = data.into_iter().find_map(|(data_key, value)| {
                let entry = stored::decode(&data_key, &value.0).ok()?;
                (*entry.0.region == *namespace.region.name()).then_some((data_key, entry))
            });
            let Some((data_key, (key, mut token))) = entry else {
                continue;
            };
            token.minted_at -= by;
            token.expires_at += SignedDuration::from_secs(1);
            let value = BASE64_STANDARD.encode(stored::encode(&key, &token).expose_secret());
            let patch = Patch::Merge(json!({ "data": { data_key: value } }));
            let patched = stores.patch(name, &PatchParams::default(), &patch).await;
            return patched.ok().map(drop);
        }
        None
    })
    .await;
}

async fn token_that_ecr_rejects_is_replaced(site: Arc<Site>) -> Outcome {
    site.open(2, CONFIG).await;
    site.swept().await;
    let expired = "denied: Your authorization token has expired.";
    // The answer to a HEAD says no more. This pod runs already.
    let bare =
        "unexpected status from HEAD request to https://HOST/v2/app/manifests/v1: 403 Forbidden";
    let pending = assert_replaced(&site, "Pending", expired, Cause::TokenExpired);
    let running = assert_replaced(&site, "Running", bare, Cause::PullRefused);
    try_join!(pending, running)?;
    Ok(())
}

async fn assert_replaced(site: &Site, phase: &str, message: &str, cause: Cause) -> Outcome {
    let namespace = site.namespace(json!({})).await;
    let image = namespace.image("app");
    let message = &message.replace("HOST", &namespace.host());
    let made: Pod = namespace.pod("pod", &image).await;
    let first = namespace.assert_opens().await;
    age(&namespace, SignedDuration::from_mins(20)).await;
    let uid = made.metadata.uid.clone().expect("a uid");
    let refuse = async |attempt: u32| {
        let mut status = refused(&image, &format!("{message} {attempt}"));
        status["phase"] = json!(phase);
        set_status(&namespace.api(), "pod", status).await;
        failed(&namespace, "pod", &uid).await;
    };
    let mut attempt = 0;
    let next = eventually("the next token", LONG, || {
        attempt += 1;
        let (namespace, first, refuse) = (&namespace, &first, &refuse);
        async move {
            refuse(attempt).await;
            let secret = namespace.secret().await?;
            let host = namespace.host();
            (docker::auth(&secret, &host) != docker::auth(first, &host)).then_some(secret)
        }
    })
    .await;
    assert_eq!(namespace.verdict(&next, "app").await, Verdict::Accepted);
    // Not before the pod is old enough for its node to have the current Secret.
    let created = made.metadata.creation_timestamp.expect("a time").0;
    assert!(clock::now().duration_since(created) > SignedDuration::from_secs(60));
    // A repeated failure changes nothing: the new token is too young to be rejected.
    for again in 0..20 {
        refuse(attempt + again).await;
    }
    assert_eq!(calls(&namespace).await, 2);
    let about = eventually("an Event", LIMIT, || async {
        let events = namespace.api::<Event>();
        let all = events.list(&ListParams::default()).await.expect("Events");
        let mut all = all.items.into_iter();
        all.find(|event| event.reason.as_deref() == Some(cause.reason()))
    })
    .await;
    assert_eq!(about.regarding.and_then(|pod| pod.uid), Some(uid));
    let note = about.note.unwrap_or_default();
    assert!(note.contains(cause.remedy()), "{note}");
    Ok(())
}

async fn follower_renews_what_the_leader_cannot(site: Arc<Site>) -> Outcome {
    let namespace = site.namespace(json!({})).await;
    namespace
        .region
        .fault(Fault::Lifetime { seconds: 90 })
        .await?;
    // Nothing listens at its address of AWS.
    let cut_off = site.add(CONFIG, &format!("http://{}", free_address()));
    cut_off.ready().await;
    site.leader().await;
    let other = site.add(CONFIG, site.aws.url());
    other.ready().await;
    let request = review::of_pod(&namespace.name, &pod("pod", &namespace.image("app")));
    let answer = review::answer(&other, &request).await;
    assert_eq!(review::warnings(&answer), "");
    let first = namespace.assert_opens().await;
    // The API server calls neither replica.
    let mut naming = pod("pod", &namespace.image("app"));
    naming["spec"]["imagePullSecrets"] = json!([{ "name": SECRET }]);
    naming["spec"]["schedulerName"] = json!("none");
    namespace.create::<Pod>(naming).await?;
    let next = eventually("the next token", LONG, || async {
        let secret = namespace.secret().await?;
        let host = namespace.host();
        (docker::auth(&secret, &host) != docker::auth(&first, &host)).then_some(secret)
    })
    .await;
    // In time, and although the leader could not renew it.
    let end = docker::annotation(&first, "expires-at").parse::<Timestamp>()?;
    assert!(clock::now() < end);
    assert_eq!(namespace.verdict(&next, "app").await, Verdict::Accepted);
    assert_eq!(logged(&other, "renewed a token in the leader's place"), 1);
    assert!(Arc::ptr_eq(&site.leader().await, &cut_off));
    assert_eq!(calls(&namespace).await, 2);
    Ok(())
}
