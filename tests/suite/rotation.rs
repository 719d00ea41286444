//! Tokens with lifetimes of seconds, and Secrets that always hold a valid one. The leader renews them in
//! place, with one call of AWS for each token, through faults of single namespaces.

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_stand_in::spec::{Action, Fault, Verdict};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::time::Instant;

use crate::frame::trials;
use crate::harness::namespace::{Namespace, SECRET, pod, references};
use crate::harness::{LIMIT, Outcome, World, docker, eventually};
use crate::ownership::{data, edit, login};

trials!(
    each_token_is_renewed_by_one_call,
    region_that_is_not_due_is_unchanged,
    unwritable_namespace_delays_no_other,
    namespaces_with_a_broken_webhook_delay_no_other,
    failed_renewal_keeps_the_token_and_backs_off,
    rotation_does_not_recreate_a_deleted_secret,
    edit_is_kept_until_the_next_token,
    impossible_lifetime_claim_pins_no_token,
    next_leader_writes_only_stale_secrets,
);

/// Lifetime of a token that is renewed while a test waits.
const LIFE: i64 = 20;

/// Creates a namespace whose region mints tokens with lifetimes of seconds.
async fn short_lived(world: &Arc<World>) -> Namespace {
    let namespace = Namespace::new(world).await;
    lives(&namespace, LIFE).await;
    namespace
}

async fn lives(namespace: &Namespace, seconds: i64) {
    let fault = Fault::Lifetime { seconds };
    namespace.region.fault(fault).await.expect("a lifetime");
}

/// Creates a pod that wants the registry. No scheduler reports about it.
async fn runs(namespace: &Namespace) {
    let mut pod = pod("pod", &namespace.image("app"));
    pod["spec"]["schedulerName"] = json!("none");
    let pod: Pod = namespace.create(pod).await.expect("the pod is admitted");
    assert_eq!(references(&pod), [SECRET]);
}

fn token(secret: &Secret, namespace: &Namespace) -> String {
    docker::auth(secret, &namespace.host())
}

/// Waits until the Secret holds another token than `last`.
async fn renewed(namespace: &Namespace, last: &str) -> Secret {
    eventually("the next token", LIMIT, || async {
        let secret = namespace.secret().await?;
        (token(&secret, namespace) != last).then_some(secret)
    })
    .await
}

async fn calls(namespace: &Namespace) -> u64 {
    let calls = namespace.region.total(Action::GetAuthorizationToken).await;
    calls.expect("a count").total
}

async fn each_token_is_renewed_by_one_call(world: Arc<World>) -> Outcome {
    let third = world.replica("rotation-third").start();
    third.ready().await;
    let namespace = short_lived(&world).await;
    namespace.pod("pod", &namespace.image("app")).await;
    let first = namespace.assert_opens().await;
    let mut tokens = BTreeSet::from([token(&first, &namespace)]);
    let mut last = first.clone();
    for _ in 0..3 {
        last = renewed(&namespace, &token(&last, &namespace)).await;
        assert!(
            tokens.insert(token(&last, &namespace)),
            "an old token again"
        );
        assert_eq!(last.metadata.uid, first.metadata.uid);
        assert_eq!(docker::annotation(&last, "exclusive"), "true");
        assert_eq!(namespace.verdict(&last, "app").await, Verdict::Accepted);
    }
    // The Secret held every token that AWS minted.
    let made = calls(&namespace).await;
    let held = tokens.len() as u64;
    assert!(made == held || made == held + 1, "{made} calls for {held}");
    let managed = last.metadata.managed_fields.expect("managers");
    assert_eq!(managed.len(), 1, "{managed:?}");
    Ok(())
}

async fn region_that_is_not_due_is_unchanged(world: Arc<World>) -> Outcome {
    let namespace = short_lived(&world).await;
    let lasting = Namespace::new(&world).await;
    let mut both = pod("pod", &namespace.image("app"));
    both["spec"]["initContainers"] = json!([{ "name": "init", "image": lasting.image("init") }]);
    namespace.create::<Pod>(both).await?;
    let first = eventually("both registries", LIMIT, || async {
        let secret = namespace.secret().await?;
        (docker::hosts(&secret).len() == 2).then_some(secret)
    })
    .await;
    let second = renewed(&namespace, &token(&first, &namespace)).await;
    let third = renewed(&namespace, &token(&second, &namespace)).await;
    let other = |secret: &Secret| docker::auth(secret, &lasting.host());
    assert_eq!(other(&third), other(&first));
    assert_eq!(calls(&lasting).await, 1);
    assert_eq!(third.metadata.uid, first.metadata.uid);
    assert_eq!(namespace.verdict(&third, "app").await, Verdict::Accepted);
    assert_eq!(docker::hosts(&third).len(), 2);
    Ok(())
}

async fn unwritable_namespace_delays_no_other(world: Arc<World>) -> Outcome {
    let bad = short_lived(&world).await;
    let good = Namespace::in_region(&world, bad.region.clone(), json!({})).await;
    for namespace in [&bad, &good] {
        runs(namespace).await;
        namespace.assert_opens().await;
    }
    edit(&bad, "kubectl-patch", &json!({ "immutable": true })).await;
    let stuck = bad.secret_comes().await;
    let mut last = good.secret_comes().await;
    for _ in 0..3 {
        last = renewed(&good, &token(&last, &good)).await;
        assert_eq!(good.verdict(&last, "app").await, Verdict::Accepted);
    }
    // The Event names the cause, and not the policy of another owner.
    let events = bad.api::<Event>();
    eventually("an Event", LIMIT, || async {
        let events = events.list(&ListParams::default()).await.expect("Events");
        let is_it = |event: &Event| event.reason.as_deref() == Some("ForeignImmutable");
        events.iter().any(is_it).then_some(())
    })
    .await;
    let still = bad.secret_comes().await;
    docker::assert_unwritten(&stuck, &still);
    Ok(())
}

/// The API server answers 500 for each write, as it does when it fails itself.
async fn namespaces_with_a_broken_webhook_delay_no_other(world: Arc<World>) -> Outcome {
    let good = short_lived(&world).await;
    let labels = json!({ "webhook": "down" });
    let mut all = vec![];
    for _ in 0..8 {
        all.push(Namespace::in_region(&world, good.region.clone(), labels.clone()).await);
    }
    for namespace in all.iter().chain([&good]) {
        runs(namespace).await;
        namespace.assert_opens().await;
    }
    let webhook = serde_json::from_value(json!({
        "metadata": { "name": "down" },
        "webhooks": [{
            "name": "down.example.com",
            "admissionReviewVersions": ["v1"],
            "clientConfig": { "url": "https://127.0.0.1:1/" },
            "failurePolicy": "Fail",
            "namespaceSelector": { "matchLabels": labels },
            "rules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                "resources": ["secrets"],
            }],
            "sideEffects": "None",
        }],
    }))?;
    let webhooks: Api<ValidatingWebhookConfiguration> = Api::all(world.cluster.client.clone());
    webhooks.create(&PostParams::default(), &webhook).await?;
    refused(&all[0]).await;
    let mut last = good.secret_comes().await;
    for _ in 0..2 {
        last = renewed(&good, &token(&last, &good)).await;
        assert_eq!(good.verdict(&last, "app").await, Verdict::Accepted);
    }
    let newest = token(&last, &good);
    for namespace in &all {
        let old = namespace.secret_comes().await;
        assert_ne!(token(&old, namespace), newest);
    }
    webhooks.delete("down", &DeleteParams::default()).await?;
    for namespace in &all {
        let old = namespace.secret_comes().await;
        let secret = renewed(namespace, &token(&old, namespace)).await;
        assert_eq!(namespace.verdict(&secret, "app").await, Verdict::Accepted);
    }
    Ok(())
}

async fn failed_renewal_keeps_the_token_and_backs_off(world: Arc<World>) -> Outcome {
    let namespace = short_lived(&world).await;
    runs(&namespace).await;
    namespace.assert_opens().await;
    let refused = Fault::Error {
        code: "ServerException".to_owned(),
        status: 500,
        message: "try later".to_owned(),
    };
    namespace.region.clear_faults().await?;
    namespace.region.fault(refused).await?;
    let before = calls(&namespace).await;
    let begun = Instant::now();
    // Until then a replica that minted beside the other one may have written its own token.
    let first = eventually("a renewal fails", LIMIT, || async {
        let is_begun = calls(&namespace).await > before;
        namespace.secret().await.filter(|_| is_begun)
    })
    .await;
    let ends: jiff::Timestamp = docker::annotation(&first, "expires-at").parse()?;
    eventually("the last token expires", LIMIT, || async {
        (ecr_pull_secrets::clock::now() > ends).then_some(())
    })
    .await;
    let last = namespace.secret_comes().await;
    docker::assert_unwritten(&first, &last);
    let made = calls(&namespace).await - before;
    // Calls begin at half of the lifetime, with pauses. The SDK tries each twice.
    let most = 2 * begun.elapsed().as_secs() + 2;
    assert!((2..=most).contains(&made), "{made} calls, {most} at most");
    namespace.region.clear_faults().await?;
    let next = renewed(&namespace, &token(&last, &namespace)).await;
    assert_eq!(namespace.verdict(&next, "app").await, Verdict::Accepted);
    assert_eq!(next.metadata.uid, first.metadata.uid);
    Ok(())
}

async fn rotation_does_not_recreate_a_deleted_secret(world: Arc<World>) -> Outcome {
    let deleted = short_lived(&world).await;
    let other = Namespace::in_region(&world, deleted.region.clone(), json!({})).await;
    for namespace in [&deleted, &other] {
        runs(namespace).await;
        namespace.assert_opens().await;
    }
    let mut last = other.secret_comes().await;
    // Until the next sweep, the leader does not know that the pod is gone. A repair finds out.
    let now = DeleteParams::default().grace_period(0);
    deleted.api::<Pod>().delete("pod", &now).await?;
    eventually("the pod is gone", LIMIT, || async {
        let pod = deleted
            .api::<Pod>()
            .get_opt("pod")
            .await
            .expect("an answer");
        pod.is_none().then_some(())
    })
    .await;
    let secrets = deleted.api::<Secret>();
    secrets.delete(SECRET, &DeleteParams::default()).await?;
    for _ in 0..3 {
        last = renewed(&other, &token(&last, &other)).await;
        assert!(deleted.secret().await.is_none());
    }
    Ok(())
}

async fn edit_is_kept_until_the_next_token(world: Arc<World>) -> Outcome {
    let namespace = short_lived(&world).await;
    runs(&namespace).await;
    let first = namespace.assert_opens().await;
    let theirs = json!({ "auths": {
        namespace.host(): login("AWS"),
        "ghcr.io": login("joe"),
    } });
    edit(
        &namespace,
        "kubectl-edit",
        &json!({ "data": data(&theirs) }),
    )
    .await;
    let edited = namespace.secret_comes().await;
    let after = renewed(&namespace, &token(&edited, &namespace)).await;
    assert_eq!(namespace.verdict(&after, "app").await, Verdict::Accepted);
    assert_ne!(token(&after, &namespace), token(&first, &namespace));
    assert_eq!(docker::config(&after)["auths"]["ghcr.io"], login("joe"));
    assert_eq!(docker::annotation(&after, "exclusive"), "");
    assert_eq!(after.metadata.uid, first.metadata.uid);
    // A shared Secret is renewed as well, and keeps its other logins.
    let later = renewed(&namespace, &token(&after, &namespace)).await;
    assert_eq!(docker::config(&later)["auths"]["ghcr.io"], login("joe"));
    assert_eq!(namespace.verdict(&later, "app").await, Verdict::Accepted);
    Ok(())
}

async fn impossible_lifetime_claim_pins_no_token(world: Arc<World>) -> Outcome {
    let namespace = short_lived(&world).await;
    runs(&namespace).await;
    namespace.assert_opens().await;
    let claim = json!({ "metadata": { "annotations": {
        "ecr-pull-secrets.dev/lifetimes": "2020-01-01T00:00:00Z/2199-01-01T00:00:00Z",
    } } });
    edit(&namespace, "kubectl-annotate", &claim).await;
    // A renewal may have come just before the edit.
    let edited = namespace.secret_comes().await;
    let after = renewed(&namespace, &token(&edited, &namespace)).await;
    assert_eq!(namespace.verdict(&after, "app").await, Verdict::Accepted);
    assert!(!docker::annotation(&after, "lifetimes").contains("2199"));
    Ok(())
}

/// Namespaces that are held back stand for those that the last leader did not write.
async fn next_leader_writes_only_stale_secrets(_: Arc<World>) -> Outcome {
    let world = World::builder().replicas(2).start().await;
    let first = Namespace::new(&world).await;
    lives(&first, 60).await;
    let mut namespaces = vec![first];
    for number in 1..20 {
        let region = namespaces[0].region.clone();
        let labels = match number < 10 {
            true => json!({}),
            false => json!({ "held-back": "true" }),
        };
        namespaces.push(Namespace::in_region(&world, region, labels).await);
    }
    for namespace in &namespaces {
        // A pod keeps the Secret in use.
        namespace.pod("pod", &namespace.image("app")).await;
    }
    let mut before = Vec::new();
    for namespace in &namespaces {
        before.push(namespace.assert_opens().await);
    }
    let (reached, held_back) = namespaces.split_at(10);
    hold_back(&world, &held_back[0]).await;
    for (namespace, before) in reached.iter().zip(&before) {
        renewed(namespace, &token(before, namespace)).await;
    }
    let mut half = Vec::new();
    for (namespace, before) in namespaces.iter().zip(&before) {
        let secret = namespace.secret_comes().await;
        let is_new = token(&secret, namespace) != token(before, namespace);
        assert_eq!(is_new, half.len() < 10);
        half.push(secret);
    }
    let minted = calls(&namespaces[0]).await;
    // The next leader finds nothing held back.
    world.leader().await.terminate();
    release(&world).await;
    for (namespace, old) in held_back.iter().zip(&half[10..]) {
        let secret = renewed(namespace, &token(old, namespace)).await;
        assert_eq!(token(&secret, namespace), token(&half[0], namespace));
    }
    for (namespace, written) in reached.iter().zip(&half) {
        let secret = namespace.secret_comes().await;
        docker::assert_unwritten(written, &secret);
    }
    assert_eq!(calls(&namespaces[0]).await, minted);
    world.stop();
    Ok(())
}

/// Has the API server refuse updates of Secrets in namespaces with the label.
async fn hold_back(world: &World, held_back: &Namespace) {
    let client = &world.cluster.client;
    let policy = json!({
        "metadata": { "name": "held-back" },
        "spec": {
            "matchConstraints": {
                "namespaceSelector": { "matchLabels": { "held-back": "true" } },
                "resourceRules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"],
                    "resources": ["secrets"],
                }],
            },
            "validations": [{ "expression": "false", "message": "held back" }],
        },
    });
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
    let policy = serde_json::from_value(policy).expect("a policy");
    let created = policies.create(&PostParams::default(), &policy).await;
    created.expect("a policy");
    let binding = json!({
        "metadata": { "name": "held-back" },
        "spec": { "policyName": "held-back", "validationActions": ["Deny"] },
    });
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    let binding = serde_json::from_value(binding).expect("a binding");
    let created = bindings.create(&PostParams::default(), &binding).await;
    created.expect("a binding");
    refused(held_back).await;
}

/// Waits until the API server refuses to change the pull Secret.
async fn refused(namespace: &Namespace) {
    eventually("updates are refused", LIMIT, || async {
        let params = PatchParams {
            dry_run: true,
            ..PatchParams::default()
        };
        let change = Patch::Merge(json!({ "metadata": { "annotations": { "a": "b" } } }));
        let secrets = namespace.api::<Secret>();
        let answer = secrets.patch(SECRET, &params, &change).await;
        answer.err().map(drop)
    })
    .await;
}

async fn release(world: &World) {
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(world.cluster.client.clone());
    let deleted = bindings.delete("held-back", &DeleteParams::default()).await;
    deleted.expect("there is one");
}
