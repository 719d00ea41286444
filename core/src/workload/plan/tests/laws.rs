//! What holds for every pod.

use super::*;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// Any values in the fields that decide.
fn wild() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(Value::from(image(HOST))),
    ];
    let keys = select(vec![
        "metadata",
        "labels",
        "annotations",
        "spec",
        "containers",
        "initContainers",
        "ephemeralContainers",
        "volumes",
        "image",
        "reference",
        "imagePullSecrets",
        "name",
        "serviceAccountName",
        "ecr-pull-secrets.dev/inject",
        "kubernetes.io/config.mirror",
        "future",
    ]);
    leaf.prop_recursive(5, 32, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(keys.clone(), inner, 0..6).prop_map(|map| json!(map)),
        ]
    })
}

/// Images of ECR, of other registries, and texts that are no image.
fn images() -> impl Strategy<Value = Vec<&'static str>> {
    let pool = vec![
        "123456789012.dkr.ecr.eu-central-1.amazonaws.com/app",
        "123456789012.dkr.ecr.eu-central-1.amazonaws.com/app/other:2",
        "123456789012.dkr.ecr.eu-central-1.amazonaws.com:443/app",
        "210987654321.dkr.ecr.us-east-1.amazonaws.com/app",
        "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/app",
        "123456789012.dkr.ecr.eu-central-1.amazonaws.com.evil.example/app",
        "public.ecr.aws/app",
        "nginx",
        "",
        "not an image",
    ];
    proptest::collection::vec(select(pool), 0..4)
}

fn wishes() -> impl Strategy<Value = Wish> {
    select(vec![Wish::None, Wish::In, Wish::Out])
}

fn selections() -> impl Strategy<Value = Selection> {
    select(vec![
        Selection::OptOut,
        Selection::OptIn,
        Selection::AllPods,
    ])
}

proptest! {
    #[test]
    fn every_view_has_a_plan(value in wild(), namespace in wishes(), selection in selections(), is_running in any::<bool>()) {
        let text = value.to_string();
        if let Ok(pod) = serde_json::from_str::<Pod<'_>>(&text) {
            pod.service_account();
            let workload = Workload { namespace: "team", pod: &pod, is_running };
            let facts = known(NamespaceFact::Active(namespace), AccountFact::Unrestricted);
            let plan = plan(&workload, &facts, &config(selection)).unwrap();
            prop_assert!(plan.grants.is_sorted());
            // Every pod is skipped, served, or gets a warning.
            let names_none = pod.registries().is_empty() && plan.reference != PullReference::Withheld;
            let is_served = !plan.grants.is_empty() || (selection == Selection::AllPods && names_none);
            prop_assert!(plan.skip.is_some() || is_served || !plan.causes.is_empty());
            prop_assert!(plan.skip.is_none() || plan == Plan::skip(plan.skip.unwrap()));
        }
    }

    #[test]
    fn grants_are_exactly_the_registries_of_the_images(
        containers in images(), init in images(), ephemeral in images(), volumes in images(),
    ) {
        let all = [&containers, &init, &ephemeral, &volumes];
        let mut wanted: Vec<Registry> = all
            .into_iter()
            .flatten()
            .filter_map(|image| Registry::of_image(image))
            .filter(|registry| !registry.is_public())
            .collect();
        wanted.sort();
        wanted.dedup();
        let of = |images: &[&str]| images.iter().map(|image| json!({"name": "c", "image": image})).collect::<Vec<_>>();
        let pod = json!({"spec": {
            "containers": of(&containers),
            "initContainers": of(&init),
            "ephemeralContainers": of(&ephemeral),
            "volumes": volumes.iter().map(|image| json!({"image": {"reference": image}})).collect::<Vec<_>>(),
        }});
        let wanted = if wanted.is_empty() {
            Plan::skip(Skip::NoEcrImage)
        } else {
            let hosts: Vec<&str> = wanted.iter().map(Registry::host).collect();
            serve(PullReference::Create, &hosts)
        };
        prop_assert_eq!(planned(&pod), wanted);
    }

    #[test]
    fn unknown_fields_change_nothing(
        future in wild(), fields in subsequence(vec!["/", "/metadata", "/spec", "/spec/containers/0", "/spec/imagePullSecrets/0"], 0..=5),
    ) {
        let pod = json!({
            "metadata": {"labels": {}},
            "spec": {"containers": [{"image": image(HOST)}], "imagePullSecrets": [{"name": "other"}]},
        });
        let mut extended = pod.clone();
        for field in fields {
            extended.pointer_mut(field.trim_end_matches('/')).unwrap()["futureField"] = future.clone();
        }
        prop_assert_eq!(planned(&extended), planned(&pod));
    }

    /// `false` on the pod or on its namespace wins over everything else.
    #[test]
    fn opted_out_pod_is_never_served(pod_wish in wishes(), namespace in wishes(), selection in selections()) {
        let mut pod = pod_with("nodeName", json!("node"));
        let label = match pod_wish {
            Wish::None => json!({}),
            Wish::In => json!({"ecr-pull-secrets.dev/inject": "true"}),
            Wish::Out => json!({"ecr-pull-secrets.dev/inject": "false"}),
        };
        pod["metadata"] = json!({"labels": label});
        let served = plan_in(&pod, namespace, selection).skip.is_none();
        prop_assert!(!served || (pod_wish != Wish::Out && namespace != Wish::Out));
        prop_assert_eq!(served, selection.admits(pod_wish, namespace));
    }
}
