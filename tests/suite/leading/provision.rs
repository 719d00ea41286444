//! Namespaces get the pull Secret without a pod, as the configuration says.

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_stand_in::spec::Fault;
use ecr_pull_secrets_core::config::provision::{Provision, ProvisionEntry};
use k8s_openapi::api::core::v1::{Namespace as V1Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::{Expression, Selector, SelectorExt as _};
use serde_json::{Value, json};

use super::leader::{candidate, grant, leads};
use crate::frame::trials;
use crate::harness::namespace::{Namespace, SECRET};
use crate::harness::world::OURS;
use crate::harness::{LIMIT, Outcome, World, docker, eventually};

trials!(
    namespace_gets_registries_of_matching_entries,
    older_namespace_is_provisioned_too,
    later_label_counts,
    configuration_wins_over_the_opt_out_label,
    denied_registry_is_omitted_and_logged,
    terminating_namespace_is_left_alone,
    our_own_namespace_gets_nothing,
    failing_region_delays_no_other,
    selector_matches_as_the_api_server_does,
);

/// Configuration of the replicas of this cluster.
pub const CONFIG: &str = "
apiVersion: ecr-pull-secrets.dev/v1
kind: Config
rules:
- {namespaces: [denied-*], regions: [provision-land-2], deny: {}}
- {ambient: {}}
provision:
- {namespaces: [glob-*, denied-*], registries: [123456789012.dkr.ecr.provision-land-1.amazonaws.com]}
- selector:
    matchExpressions:
    - {key: provision, operator: In, values: ['yes', always]}
    - {key: frozen, operator: DoesNotExist}
  registries:
  - 123456789012.dkr.ecr.provision-land-1.amazonaws.com
  - 123456789012.dkr.ecr.provision-land-2.amazonaws.com
- {namespaces: [trouble-*], registries: [123456789012.dkr.ecr.provision-land-3.amazonaws.com]}
";

/// Registries of both regions.
const ALL: [&str; 2] = [
    "123456789012.dkr.ecr.provision-land-1.amazonaws.com",
    "123456789012.dkr.ecr.provision-land-2.amazonaws.com",
];

fn namespaces(world: &World) -> Api<V1Namespace> {
    Api::all(world.cluster.client.clone())
}

/// Creates a namespace with labels. Its region is the first one.
async fn namespace(world: &World, name: &str, labels: Value) -> Namespace {
    let metadata = json!({ "metadata": { "name": name, "labels": labels } });
    let metadata = serde_json::from_value(metadata).expect("a namespace");
    namespaces(world)
        .create(&PostParams::default(), &metadata)
        .await
        .expect("a namespace");
    Namespace {
        name: name.to_owned(),
        region: world.aws.region("provision-land-1"),
        client: world.cluster.client.clone(),
    }
}

async fn change(world: &World, name: &str, metadata: Value) {
    let patch = Patch::Merge(json!({ "metadata": metadata }));
    namespaces(world)
        .patch(name, &PatchParams::default(), &patch)
        .await
        .expect("a change");
}

async fn opens(namespace: &Namespace, hosts: &[&str]) -> Secret {
    eventually("the pull Secret with all registries", LIMIT, || async {
        let secret = namespace.secret().await;
        secret.filter(|secret| docker::hosts(secret) == hosts)
    })
    .await;
    namespace.assert_opens().await
}

/// Waits until the leader has seen all earlier changes.
async fn passes(world: &World, fence: &str) {
    let fence = namespace(world, &format!("glob-{fence}"), json!({})).await;
    opens(&fence, &ALL[..1]).await;
}

async fn namespace_gets_registries_of_matching_entries(world: Arc<World>) -> Outcome {
    let by_name = namespace(&world, "glob-1", json!({})).await;
    let by_label = namespace(&world, "label-1", json!({ "provision": "yes" })).await;
    let by_both = namespace(&world, "glob-2", json!({ "provision": "always" })).await;
    let neither = namespace(&world, "other-1", json!({ "provision": "no" })).await;
    let frozen = json!({ "provision": "yes", "frozen": "" });
    let frozen = namespace(&world, "other-2", frozen).await;
    opens(&by_name, &ALL[..1]).await;
    opens(&by_label, &ALL).await;
    opens(&by_both, &ALL).await;
    passes(&world, "fence-1").await;
    assert!(neither.secret().await.is_none());
    assert!(frozen.secret().await.is_none());
    let written = async |replica: usize| {
        let labels = ["trigger=\"provision\"", "result=\"ok\""];
        world.replicas()[replica]
            .metric("ecr_pull_secrets_secret_applies_total", &labels)
            .await
    };
    assert!(written(0).await + written(1).await >= 4.0);
    Ok(())
}

async fn older_namespace_is_provisioned_too(world: Arc<World>) -> Outcome {
    let old = namespace(&world, "old-1", json!({})).await;
    let own = Namespace::new(&world).await;
    grant(&own, true).await;
    let config = CONFIG.replace("glob-*", "old-*");
    let replica = candidate(&world, &own, &config);
    opens(&old, &ALL[..1]).await;
    assert_eq!(leads(&replica).await, Some(true));
    Ok(())
}

async fn later_label_counts(world: Arc<World>) -> Outcome {
    let namespace = namespace(&world, "label-2", json!({})).await;
    passes(&world, "fence-2").await;
    assert!(namespace.secret().await.is_none());
    let labels = json!({ "labels": { "provision": "yes" } });
    change(&world, &namespace.name, labels).await;
    let secret = opens(&namespace, &ALL).await;
    // A namespace that no longer matches keeps its Secret.
    let labels = json!({ "labels": { "provision": null } });
    change(&world, &namespace.name, labels).await;
    passes(&world, "fence-3").await;
    let kept = namespace.secret().await.expect("it stays");
    assert_eq!(kept.metadata.uid, secret.metadata.uid);
    Ok(())
}

async fn configuration_wins_over_the_opt_out_label(world: Arc<World>) -> Outcome {
    let labels = json!({ "provision": "yes", "ecr-pull-secrets.dev/inject": "false" });
    let namespace = namespace(&world, "label-3", labels).await;
    opens(&namespace, &ALL).await;
    Ok(())
}

async fn denied_registry_is_omitted_and_logged(world: Arc<World>) -> Outcome {
    for number in 1..=3 {
        let labels = json!({ "provision": "yes" });
        let namespace = namespace(&world, &format!("denied-{number}"), labels).await;
        opens(&namespace, &ALL[..1]).await;
    }
    let told = |replica: usize| {
        let log = std::fs::read_to_string(&world.replicas()[replica].log).expect("a log");
        let lines = log
            .lines()
            .filter(|line| line.contains("the rules deny a registry") && line.contains(ALL[1]));
        lines.count()
    };
    assert_eq!(told(0) + told(1), 1);
    Ok(())
}

async fn terminating_namespace_is_left_alone(world: Arc<World>) -> Outcome {
    let namespace = namespace(&world, "ends-1", json!({})).await;
    let finalizers = json!({ "finalizers": ["example.com/hold"] });
    change(&world, &namespace.name, finalizers).await;
    namespaces(&world)
        .delete(&namespace.name, &DeleteParams::default())
        .await?;
    let labels = json!({ "labels": { "provision": "yes" } });
    change(&world, &namespace.name, labels).await;
    passes(&world, "fence-5").await;
    assert!(namespace.secret().await.is_none());
    for replica in &world.replicas() {
        let refused = replica
            .metric(
                "ecr_pull_secrets_secret_applies_total",
                &["trigger=\"provision\"", "namespace_terminating"],
            )
            .await;
        assert!(refused == 0.0);
    }
    change(&world, &namespace.name, json!({ "finalizers": null })).await;
    Ok(())
}

async fn our_own_namespace_gets_nothing(world: Arc<World>) -> Outcome {
    let labels = json!({ "labels": { "provision": "yes" } });
    change(&world, OURS, labels).await;
    passes(&world, "fence-6").await;
    let secrets: Api<Secret> = Api::namespaced(world.cluster.client.clone(), OURS);
    assert!(secrets.get_opt(SECRET).await?.is_none());
    Ok(())
}

async fn failing_region_delays_no_other(world: Arc<World>) -> Outcome {
    let region = world.aws.region("provision-land-3");
    region.fault(Fault::Throttling).await?;
    // More namespaces than the leader writes at a time.
    let mut late = Vec::new();
    for number in 1..=20 {
        late.push(namespace(&world, &format!("trouble-{number}"), json!({})).await);
    }
    let both = json!({ "provision": "yes" });
    let both = namespace(&world, "trouble-0", both).await;
    opens(&both, &ALL).await;
    passes(&world, "fence-7").await;
    for namespace in &late {
        assert!(namespace.secret().await.is_none());
    }
    region.clear_faults().await?;
    for namespace in &late {
        namespace.secret_comes().await;
    }
    eventually("the third registry", LIMIT, || async {
        let secret = both.secret().await?;
        (docker::hosts(&secret).len() == 3).then_some(())
    })
    .await;
    Ok(())
}

async fn selector_matches_as_the_api_server_does(world: Arc<World>) -> Outcome {
    let all = [
        json!({ "set": "selector" }),
        json!({ "set": "selector", "team": "a", "example.com/stage": "live" }),
        json!({ "set": "selector", "team": "b", "example.com/stage": "" }),
        json!({ "set": "selector", "team": "" }),
    ];
    for (number, labels) in all.iter().enumerate() {
        namespace(&world, &format!("selector-{number}"), labels.clone()).await;
    }
    let needs = |key: &str, operator: &str, values: &[&str]| {
        let values = json!(values);
        json!({ "key": key, "operator": operator, "values": values })
    };
    let team = |operator: &str, values: &[&str]| needs("team", operator, values);
    let stage = needs("example.com/stage", "Exists", &[]);
    for selector in [
        json!({}),
        json!({ "matchLabels": { "team": "a" } }),
        json!({ "matchLabels": { "team": "" } }),
        json!({ "matchLabels": { "example.com/stage": "live" } }),
        json!({ "matchLabels": { "team": "a", "example.com/stage": "" } }),
        json!({ "matchExpressions": [team("Exists", &[])] }),
        json!({ "matchExpressions": [team("DoesNotExist", &[])] }),
        json!({ "matchExpressions": [team("In", &["a"])] }),
        json!({ "matchExpressions": [team("In", &["a", "b"])] }),
        json!({ "matchExpressions": [team("In", &["a", ""])] }),
        json!({ "matchExpressions": [team("NotIn", &["a"])] }),
        json!({ "matchExpressions": [team("NotIn", &["a", "b"])] }),
        json!({ "matchExpressions": [team("NotIn", &["a"]), &stage] }),
        json!({ "matchExpressions": [&stage, team("NotIn", &["b"])] }),
        json!({ "matchLabels": { "team": "b" }, "matchExpressions": [&stage] }),
        json!({ "matchExpressions": [needs("in", "Exists", &[])] }),
        json!({ "matchExpressions": [needs("notin", "In", &["a"])] }),
    ] {
        let theirs: LabelSelector = serde_json::from_value(selector.clone())?;
        let mut theirs: Selector = theirs.try_into()?;
        theirs.extend([Expression::Equal("set".to_owned(), "selector".to_owned())]);
        let list = ListParams::default().labels_from(&theirs);
        let listed = namespaces(&world).list(&list).await?.items;
        let listed: BTreeSet<String> = listed
            .into_iter()
            .filter_map(|namespace| namespace.metadata.name)
            .collect();
        let entry = json!({ "selector": selector, "registries": ALL });
        let entry: ProvisionEntry = serde_json::from_value(entry)?;
        let provision = Provision::new(&[entry])?;
        let matching = all.iter().enumerate().filter(|(_, labels)| {
            let labels = serde_json::from_value((*labels).clone()).expect("labels");
            let is_ours = !provision.registries("any", &labels).is_empty();
            // A second opinion without the API server.
            assert_eq!(is_ours, theirs.matches(&labels), "{selector}");
            is_ours
        });
        let matching: BTreeSet<String> = matching
            .map(|(number, _)| format!("selector-{number}"))
            .collect();
        assert_eq!(matching, listed, "{selector}");
    }
    Ok(())
}
