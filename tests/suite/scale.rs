//! Many pods, few calls.

use std::sync::Arc;

use aws_stand_in::spec::Action;
use futures::future::join_all;
use serde_json::json;

use crate::frame::trials;
use crate::harness::namespace::{ACCOUNT, Namespace, SECRET, pod, references};
use crate::harness::{LIMIT, Outcome, World, docker, eventually, review};

trials!(
    two_hundred_pods_need_one_secret_per_namespace,
    two_concurrent_registries_both_reach_the_secret,
    second_namespace_costs_no_aws_call,
);

async fn two_hundred_pods_need_one_secret_per_namespace(world: Arc<World>) -> Outcome {
    let first = Namespace::new(&world).await;
    let others = (1..20).map(|_| Namespace::in_region(&world, first.region.clone(), json!({})));
    let mut namespaces = join_all(others).await;
    namespaces.push(first);
    let created = join_all(namespaces.iter().flat_map(|namespace| {
        (0..10).map(move |number| async move {
            namespace
                .pod(&format!("pod-{number}"), &namespace.image("app"))
                .await
        })
    }))
    .await;
    assert_eq!(created.len(), 200);
    for pod in &created {
        assert_eq!(references(pod), [SECRET]);
    }
    for namespace in &namespaces {
        let secret = namespace.assert_opens().await;
        // Written once: the managed fields have one entry.
        assert_eq!(
            secret.metadata.managed_fields.as_ref().map(Vec::len),
            Some(1)
        );
    }
    let calls = namespaces[0]
        .region
        .total(Action::GetAuthorizationToken)
        .await?;
    assert!(calls.total <= 2, "{calls:?}");
    for namespace in &namespaces {
        // The audit log may be behind.
        eventually("a write in the audit log", LIMIT, || async {
            (world.writes(&namespace.name) > 0).then_some(())
        })
        .await;
        assert_eq!(world.writes(&namespace.name), 1, "{}", namespace.name);
    }
    Ok(())
}

async fn two_concurrent_registries_both_reach_the_secret(world: Arc<World>) -> Outcome {
    let first = Namespace::new(&world).await;
    let second = world.aws.region(&format!("{}1", first.region.name()));
    for _ in 0..100 {
        let namespace = Namespace::in_region(&world, first.region.clone(), json!({})).await;
        let hosts = [namespace.host(), second.host(ACCOUNT)];
        let reviews = hosts
            .each_ref()
            .map(|host| review::of_pod(&namespace.name, &pod("pod", &format!("{host}/app:v1"))));
        let [one, other] = &world.pair();
        let answers = tokio::join!(
            review::answer(one, &reviews[0]),
            review::answer(other, &reviews[1])
        );
        for answer in [answers.0, answers.1] {
            assert!(review::adds_reference(&answer), "{answer}");
        }
        let mut wanted = hosts.to_vec();
        wanted.sort();
        eventually("both registries", LIMIT, || async {
            let secret = namespace.secret().await?;
            (docker::hosts(&secret) == wanted).then_some(())
        })
        .await;
    }
    Ok(())
}

async fn second_namespace_costs_no_aws_call(world: Arc<World>) -> Outcome {
    let first = Namespace::new(&world).await;
    // Each replica gets a review.
    for replica in &world.replicas() {
        let review = review::of_pod(&first.name, &pod("pod", &first.image("app")));
        review::answer(replica, &review).await;
    }
    first.assert_opens().await;
    let before = first.region.total(Action::GetAuthorizationToken).await?;
    let second = Namespace::in_region(&world, first.region.clone(), json!({})).await;
    for replica in &world.replicas() {
        let review = review::of_pod(&second.name, &pod("pod", &second.image("app")));
        let answer = review::answer(replica, &review).await;
        assert!(review::adds_reference(&answer));
    }
    second.assert_opens().await;
    let after = first.region.total(Action::GetAuthorizationToken).await?;
    // The replica that found the Secret fresh may hold no token yet.
    assert!(
        after.total <= 2 && after.total - before.total <= 1,
        "{before:?} {after:?}"
    );
    Ok(())
}
