//! What is wanted, across restarts: by another configuration, without pods, and without a token store.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;

use super::site::Site;
use crate::belief::{INJECT, calls, delete_pod, goes, lives, renewed, sibling, stays_away, token};
use crate::frame::trials;
use crate::harness::docker;
use crate::harness::namespace::{Namespace, pod};
use crate::harness::replica::Replica;
use crate::harness::world::{CONFIG, OURS};
use crate::harness::{LIMIT, Outcome, eventually};
use aws_stand_in::spec::Verdict;

trials!(
    changed_configuration_ends_renewals,
    restart_without_a_store_renews_what_pods_want,
);

/// Creates a namespace whose region mints tokens with lifetimes of seconds.
async fn short_lived(site: &Site) -> Namespace {
    let namespace = site.namespace(json!({})).await;
    lives(&namespace.region, 12).await;
    namespace
}

async fn runs(namespace: &Namespace) {
    namespace.pod("pod", &namespace.image("app")).await;
    namespace.assert_opens().await;
}

/// Replaces the replicas: a new leader sees only the pods that are there.
async fn restarted(site: &Site, config: &str) -> Arc<Replica> {
    site.close().await;
    site.open(1, config).await;
    site.swept().await
}

/// Waits until the Secret has lost the registry. Until then it holds this token.
async fn loses(namespace: &Namespace, last: &str) -> Secret {
    eventually("the denied registry goes", LIMIT, || async {
        let secret = namespace.secret().await.expect("the Secret stays");
        let held = token(&secret, namespace);
        assert!(held == last || held.is_empty(), "a denied token");
        held.is_empty().then_some(secret)
    })
    .await
}

/// From opt-out to opt-in, with an excluded namespace, a denied registry, and a namespace that the
/// configuration provisions against its label.
async fn changed_configuration_ends_renewals(site: Arc<Site>) -> Outcome {
    let plain = short_lived(&site).await;
    let yes = || json!({ INJECT: "true" });
    let labelled = sibling(&site, &plain, yes()).await;
    let of_pod = sibling(&site, &plain, json!({})).await;
    let excluded = sibling(&site, &plain, yes()).await;
    let provided = sibling(&site, &plain, json!({ INJECT: "false" })).await;
    let lasting = site.namespace(yes()).await;
    let denied = Namespace::in_region(&site, plain.region.clone(), yes()).await;
    let forbidden = short_lived(&site).await;
    restarted(&site, CONFIG).await;
    for namespace in [&plain, &labelled, &excluded] {
        runs(namespace).await;
    }
    let mut own = pod("pod", &of_pod.image("app"));
    own["metadata"]["labels"] = yes();
    of_pod.create::<Pod>(own).await?;
    let mut both = pod("pod", &forbidden.image("app"));
    both["spec"]["initContainers"] = json!([{ "name": "init", "image": lasting.image("init") }]);
    denied.create::<Pod>(both).await?;
    // The namespace of the registry that the rules will deny.
    let denied = Namespace {
        region: forbidden.region.clone(),
        ..denied
    };
    let before = eventually("both registries", LIMIT, || async {
        let secret = denied.secret().await?;
        (docker::hosts(&secret).len() == 2).then_some(secret)
    })
    .await;

    let names = json!([&excluded.name, &provided.name]);
    let rules = json!([{ "regions": [denied.region.name()], "deny": {} }, { "ambient": {} }]);
    let entry = json!([{ "namespaces": [&provided.name], "registries": [provided.host()] }]);
    let config = json!({
        "apiVersion": "ecr-pull-secrets.dev/v1",
        "kind": "Config",
        "selection": "opt-in",
        "scope": { "excludedNamespaces": names },
        "rules": rules,
        "provision": entry,
    });
    restarted(&site, &config.to_string()).await;
    let held = async |namespace: &Namespace| {
        let secret = namespace.secret().await;
        secret.map_or(String::new(), |secret| token(&secret, namespace))
    };
    let (of_plain, of_excluded, of_denied) = (
        held(&plain).await,
        held(&excluded).await,
        held(&denied).await,
    );
    let (.., after) = tokio::join!(
        renewed(&labelled, 2),
        renewed(&of_pod, 2),
        renewed(&provided, 2),
        goes(&plain, &of_plain),
        goes(&excluded, &of_excluded),
        loses(&denied, &of_denied),
    );
    stays_away(&site, &plain).await;
    assert_eq!(after.metadata.uid, before.metadata.uid);
    assert_eq!(docker::hosts(&after), [lasting.host()]);
    assert_eq!(docker::annotation(&after, "registries"), lasting.host());
    assert_eq!(docker::annotation(&after, "exclusive"), "true");
    Ok(())
}

/// Neither store nor memory has a token, so the pods bring the keys. No foreign Secret is adopted.
async fn restart_without_a_store_renews_what_pods_want(site: Arc<Site>) -> Outcome {
    let first = short_lived(&site).await;
    let second = short_lived(&site).await;
    let quiet = sibling(&site, &first, json!({})).await;
    let copy = sibling(&site, &first, json!({})).await;
    restarted(&site, CONFIG).await;
    for namespace in [&first, &second, &quiet] {
        runs(namespace).await;
    }
    delete_pod(&quiet, "pod").await;
    site.close().await;
    let stores: Api<Secret> = Api::namespaced(first.client.clone(), OURS);
    let store = "ecr-pull-secrets-tokens";
    stores.delete(store, &DeleteParams::default()).await?;
    // A copied namespace, or a Secret from a back-up.
    let original = first.secret_comes().await;
    let copied = json!({
        "metadata": {
            "labels": original.metadata.labels, "annotations": original.metadata.annotations,
        },
        "type": original.type_,
        "data": original.data,
    });
    let old_copy = copy.foreign_secret("velero", copied).await;
    let of_second = token(&second.secret_comes().await, &second);
    let of_quiet = quiet.secret_comes().await;

    let config = "{apiVersion: ecr-pull-secrets.dev/v1, kind: Config, secret: {adopt: never}}";
    site.open(1, config).await;
    let leader = site.swept().await;
    copy.pod("pod", &copy.image("app")).await;
    for (namespace, old) in [
        (&first, token(&original, &first)),
        (&second, of_second),
        (&copy, token(&old_copy, &copy)),
    ] {
        let secret = eventually("the next token", LIMIT, || async {
            let secret = namespace.secret().await.expect("the Secret stays");
            (token(&secret, namespace) != old).then_some(secret)
        })
        .await;
        assert_eq!(namespace.verdict(&secret, "app").await, Verdict::Accepted);
    }
    assert_eq!(
        copy.secret_comes().await.metadata.uid,
        old_copy.metadata.uid
    );
    renewed(&copy, 1).await;
    serves_the_next_pod(&leader, &quiet, &first, &of_quiet).await;
    Ok(())
}

/// The namespace's pods are gone. `honest` is another one in the same region.
async fn serves_the_next_pod(
    leader: &Replica,
    quiet: &Namespace,
    honest: &Namespace,
    before: &Secret,
) {
    let applies = async |trigger: &str| {
        let labels = [format!("trigger=\"{trigger}\""), "result=\"ok\"".to_owned()];
        let labels = labels.each_ref().map(String::as_str);
        let name = "ecr_pull_secrets_secret_applies_total";
        leader.metric(name, &labels).await
    };
    // After this, the next renewal is half of a lifetime away.
    renewed(honest, 2).await;
    let stale = quiet.secret_comes().await;
    // Clean-up may have marked it as unused.
    let held = token(&stale, quiet);
    assert_eq!(held, token(before, quiet), "renewed without a pod");
    assert_ne!(quiet.verdict(&stale, "app").await, Verdict::Accepted);
    let minted = calls(&quiet.region).await;
    let (admitted, repaired) = (applies("admission").await, applies("repair").await);
    quiet.pod("next", &quiet.image("app")).await;
    let next = quiet.assert_opens().await;
    assert_eq!(next.metadata.uid, before.metadata.uid);
    assert_eq!(calls(&quiet.region).await, minted);
    assert_eq!(applies("admission").await - admitted, 1.0);
    assert_eq!(applies("repair").await, repaired);
    // From now on it is renewed again.
    renewed(quiet, 1).await;
}
