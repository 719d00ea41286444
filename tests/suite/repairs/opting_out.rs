//! A namespace that opts out, and a registry that the rules deny: renewal ends at once, and our entries
//! go when their last token has expired, or when the namespace asks.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace as V1Namespace, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::belief::{renewed, restarted, short_lived, sibling, token};
use super::site::Site;
use crate::frame::trials;
use crate::harness::namespace::{Namespace, pod};
use crate::harness::replica::Replica;
use crate::harness::world::CONFIG;
use crate::harness::{LIMIT, Outcome, docker, eventually};
use crate::ownership::{ELSEWHERE, annotated, login, with_hosts};

trials!(
    opted_out_namespace_keeps_its_token_until_it_expires,
    change_to_opt_in_ends_unlabelled_renewals,
    excluded_namespace_is_not_renewed,
    annotation_removes_our_entries_at_once,
    denied_registry_leaves_the_secret,
);

const INJECT: &str = "ecr-pull-secrets.dev/inject";

/// A configuration with one more field.
fn config(field: &str) -> String {
    format!("apiVersion: ecr-pull-secrets.dev/v1\nkind: Config\n{field}\n")
}

/// Changes labels and annotations of a namespace.
async fn change(namespace: &Namespace, metadata: Value) {
    let all: Api<V1Namespace> = Api::all(namespace.client.clone());
    let patch = Patch::Merge(json!({ "metadata": metadata }));
    all.patch(&namespace.name, &PatchParams::default(), &patch)
        .await
        .expect("a change");
}

/// Waits until the Secret is gone. Until then it holds this token.
async fn goes(namespace: &Namespace, last: &str) {
    eventually("the Secret goes", LIMIT, || async {
        match namespace.secret().await {
            Some(secret) => {
                assert_eq!(token(&secret, namespace), last, "{}", namespace.name);
                None
            }
            None => Some(()),
        }
    })
    .await;
}

/// Waits until the leader has seen that the Secret is gone, and that it is to be gone.
async fn stays_away(leader: &Replica, namespace: &Namespace) {
    let of_this = format!("\"namespace\":\"{}\"", namespace.name);
    eventually("the leader checks the deletion", LIMIT, || async {
        let log = std::fs::read_to_string(&leader.log).ok()?;
        let is_it =
            |line: &str| line.contains("changed where none is to be") && line.contains(&of_this);
        log.lines().any(is_it).then_some(())
    })
    .await;
    assert!(namespace.secret().await.is_none());
}

async fn opted_out_namespace_keeps_its_token_until_it_expires(site: Arc<Site>) -> Outcome {
    let stays = short_lived(&site, json!({})).await;
    let leaves = sibling(&site, &stays, json!({})).await;
    site.open(1, CONFIG).await;
    let leader = site.swept().await;
    for namespace in [&stays, &leaves] {
        namespace.pod("pod", &namespace.image("app")).await;
        namespace.assert_opens().await;
    }
    renewed(&leaves, 1).await;
    change(&leaves, json!({ "labels": { INJECT: "false" } })).await;
    let last = token(&leaves.secret_comes().await, &leaves);
    let (_, ()) = tokio::join!(renewed(&stays, 3), goes(&leaves, &last));
    // Its pod still names the Secret.
    stays_away(&leader, &leaves).await;
    change(&leaves, json!({ "labels": { INJECT: null } })).await;
    leaves.pod("again", &leaves.image("app")).await;
    renewed(&leaves, 1).await;
    Ok(())
}

async fn change_to_opt_in_ends_unlabelled_renewals(site: Arc<Site>) -> Outcome {
    let plain = short_lived(&site, json!({})).await;
    let labelled = sibling(&site, &plain, json!({ INJECT: "true" })).await;
    let of_pod = sibling(&site, &plain, json!({})).await;
    restarted(&site, CONFIG).await;
    for namespace in [&plain, &labelled] {
        namespace.pod("pod", &namespace.image("app")).await;
        namespace.assert_opens().await;
    }
    let mut own = pod("pod", &of_pod.image("app"));
    own["metadata"]["labels"] = json!({ INJECT: "true" });
    of_pod.create::<Pod>(own).await?;
    of_pod.assert_opens().await;
    let leader = restarted(&site, &config("selection: opt-in")).await;
    let last = token(&plain.secret_comes().await, &plain);
    tokio::join!(
        renewed(&labelled, 2),
        renewed(&of_pod, 2),
        goes(&plain, &last)
    );
    stays_away(&leader, &plain).await;
    Ok(())
}

async fn excluded_namespace_is_not_renewed(site: Arc<Site>) -> Outcome {
    let stays = short_lived(&site, json!({})).await;
    let excluded = sibling(&site, &stays, json!({})).await;
    let provided = sibling(&site, &stays, json!({ INJECT: "false" })).await;
    restarted(&site, CONFIG).await;
    for namespace in [&stays, &excluded] {
        namespace.pod("pod", &namespace.image("app")).await;
        namespace.assert_opens().await;
    }
    let list = json!([&excluded.name, &provided.name]);
    let entry = json!([{ "namespaces": [&provided.name], "registries": [provided.host()] }]);
    let fields = format!("scope: {{excludedNamespaces: {list}}}\nprovision: {entry}");
    restarted(&site, &config(&fields)).await;
    let last = token(&excluded.secret_comes().await, &excluded);
    // The configuration names the namespace, so its label does not matter.
    tokio::join!(
        renewed(&stays, 2),
        renewed(&provided, 2),
        goes(&excluded, &last)
    );
    Ok(())
}

async fn annotation_removes_our_entries_at_once(site: Arc<Site>) -> Outcome {
    let alone = site.namespace(json!({})).await;
    let shared = sibling(&site, &alone, json!({})).await;
    let theirs = with_hosts([(ELSEWHERE, login("robot"))]);
    shared.foreign_secret("kubectl", annotated(theirs)).await;
    let leader = restarted(&site, CONFIG).await;
    for namespace in [&alone, &shared] {
        namespace.pod("pod", &namespace.image("app")).await;
        namespace.assert_opens().await;
    }
    let remove = json!({ "ecr-pull-secrets.dev/remove": "true" });
    // The annotation alone does nothing: the namespace has not opted out.
    change(&shared, json!({ "annotations": remove })).await;
    let out = json!({ "labels": { INJECT: "false" }, "annotations": remove });
    change(&alone, out.clone()).await;
    goes(&alone, &token(&shared.secret_comes().await, &shared)).await;
    stays_away(&leader, &alone).await;
    assert_eq!(docker::hosts(&shared.assert_opens().await).len(), 2);

    let before = shared.secret_comes().await;
    change(&shared, out).await;
    let after = eventually("our entry goes", LIMIT, || async {
        let secret = shared.secret().await.expect("the Secret stays");
        (docker::hosts(&secret) == [ELSEWHERE]).then_some(secret)
    })
    .await;
    assert_eq!(after.metadata.uid, before.metadata.uid);
    assert_eq!(docker::config(&after)["auths"][ELSEWHERE], login("robot"));

    // A namespace that opts in again gets everything back. The annotation may stay.
    for namespace in [&alone, &shared] {
        change(namespace, json!({ "labels": { INJECT: null } })).await;
        namespace.pod("again", &namespace.image("app")).await;
        namespace.assert_opens().await;
    }
    let again = shared.secret_comes().await;
    assert_eq!(docker::config(&again)["auths"][ELSEWHERE], login("robot"));
    Ok(())
}

async fn denied_registry_leaves_the_secret(site: Arc<Site>) -> Outcome {
    let denied = short_lived(&site, json!({})).await;
    let allowed = short_lived(&site, json!({})).await;
    restarted(&site, CONFIG).await;
    let mut both = pod("pod", &denied.image("app"));
    both["spec"]["initContainers"] = json!([{ "name": "init", "image": allowed.image("init") }]);
    denied.create::<Pod>(both).await?;
    let before = eventually("both registries", LIMIT, || async {
        let secret = denied.secret().await?;
        (docker::hosts(&secret).len() == 2).then_some(secret)
    })
    .await;
    let rules = json!([{ "regions": [denied.region.name()], "deny": {} }, { "ambient": {} }]);
    restarted(&site, &config(&format!("rules: {rules}"))).await;
    let last = token(&denied.secret_comes().await, &denied);
    let after = eventually("the denied registry goes", LIMIT, || async {
        let secret = denied.secret().await.expect("the Secret stays");
        let held = token(&secret, &denied);
        assert!(held == last || held.is_empty(), "a denied token");
        (docker::hosts(&secret) == [allowed.host()]).then_some(secret)
    })
    .await;
    assert_eq!(after.metadata.uid, before.metadata.uid);
    assert_eq!(docker::annotation(&after, "registries"), allowed.host());
    assert_eq!(docker::annotation(&after, "exclusive"), "true");
    Ok(())
}
