//! Pods in a namespace of which every fact is known.

mod facts;
mod laws;

use super::*;
use crate::identity::Identity;
use crate::image::Registry;
use crate::selection::{Selection, Wish};

use serde_json::{Value, json};

const NAME: &str = "ecr-registry-credentials";
const HOST: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
const OTHER: &str = "210987654321.dkr.ecr.us-east-1.amazonaws.com";

/// The default configuration with another selection.
fn config(selection: Selection) -> Config {
    let mut config = Config::default();
    config.selection = selection;
    config
}

fn known(namespace: NamespaceFact, account: AccountFact) -> Facts {
    Facts {
        namespace: Some(namespace),
        account: Some(account),
    }
}

fn plan_in(pod: &Value, namespace: Wish, selection: Selection) -> Plan {
    let text = pod.to_string();
    let pod: Pod<'_> =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let facts = known(NamespaceFact::Active(namespace), AccountFact::Unrestricted);
    let config = config(selection);
    let of = |pod| {
        let workload = Workload {
            namespace: "team",
            pod,
            is_running: false,
        };
        plan(&workload, &facts, &config).unwrap()
    };
    let planned = of(&pod);
    // The leader holds pods of a watch, and plans as admission does.
    assert_eq!(of(&pod.clone().into_owned()), planned);
    planned
}

fn planned(pod: &Value) -> Plan {
    plan_in(pod, Wish::None, Selection::OptOut)
}

fn image(host: &str) -> String {
    format!("{host}/app:1")
}

/// A pod with one container from ECR and one more field in its spec.
fn pod_with(field: &str, value: Value) -> Value {
    let mut pod = json!({"spec": {"containers": [{"image": image(HOST)}]}});
    pod["spec"][field] = value;
    pod
}

/// A plan without causes that grants these registries to the ambient identity.
fn serve(reference: PullReference, hosts: &[&str]) -> Plan {
    let grant = |host: &&str| Access {
        registry: Registry::of_host(host).unwrap(),
        identity: Identity::Ambient,
    };
    Plan {
        skip: None,
        reference,
        grants: hosts.iter().map(grant).collect(),
        causes: Vec::new(),
    }
}

#[test]
fn image_counts_in_every_field_that_names_one() {
    for spec in [
        json!({"containers": [{"image": image(HOST)}]}),
        json!({"initContainers": [{"image": image(HOST)}]}),
        json!({"initContainers": [{"image": image(HOST), "restartPolicy": "Always"}]}),
        json!({"ephemeralContainers": [{"image": image(HOST)}]}),
        json!({"volumes": [{"image": {"reference": image(HOST)}}]}),
        json!({"volumes": [{"emptyDir": {}}, {"name": "x", "image": {"reference": image(HOST), "pullPolicy": "Always"}}]}),
    ] {
        assert_eq!(
            planned(&json!({"spec": spec})),
            serve(PullReference::Create, &[HOST]),
            "{spec}"
        );
    }
}

#[test]
fn no_other_field_counts_as_an_image() {
    for pod in [
        json!({}),
        json!({"spec": null}),
        json!({"spec": {}}),
        json!({"image": image(HOST), "spec": {"image": image(HOST)}}),
        json!({"spec": {"containers": null, "initContainers": null, "ephemeralContainers": null, "volumes": null}}),
        json!({"spec": {"containers": [], "volumes": [{}, {"image": null}, {"image": {}}, {"image": {"reference": null}}]}}),
        json!({"spec": {"containers": [{}, {"image": null}, {"image": ""}, {"image": "nginx"}]}}),
        json!({"spec": {"containers": [{"command": [image(HOST)], "env": [{"name": "image", "value": image(HOST)}]}]}}),
        json!({"spec": {"volumes": [{"reference": image(HOST), "csi": {"image": image(HOST)}}]}}),
        json!({"spec": {"containers": [{"image": "public.ecr.aws/nginx/nginx"}]}}),
        json!({"metadata": {"annotations": {"image": image(HOST)}}, "status": {"containers": [{"image": image(HOST)}]}}),
    ] {
        assert_eq!(planned(&pod), Plan::skip(Skip::NoEcrImage), "{pod}");
    }
}

#[test]
fn registries_are_sorted_and_each_once() {
    let pod = json!({"spec": {
        "containers": [{"image": image(OTHER)}, {"image": "nginx"}, {"image": image(HOST)}],
        "initContainers": [{"image": format!("{HOST}/other@sha256:{}", "0".repeat(64))}],
        "volumes": [{"image": {"reference": image(OTHER)}}],
    }});
    assert_eq!(planned(&pod), serve(PullReference::Create, &[HOST, OTHER]));
}

#[test]
fn registries_beyond_those_of_a_secret_get_a_cause() {
    let hosts = (0..110).map(|number| format!("{number:012}.dkr.ecr.us-east-1.amazonaws.com"));
    let images: Vec<Value> = hosts.map(|host| json!({ "image": image(&host) })).collect();
    let of = |count: usize| planned(&pod_with("containers", json!(images[..count])));
    assert_eq!(of(100).causes, []);
    for count in [101, 110] {
        let plan = of(count);
        assert_eq!(plan.causes, [Cause::TooManyRegistries], "{count}");
        assert_eq!(plan.grants.len(), 100, "{count}");
        assert_eq!(plan.reference, PullReference::Create, "{count}");
        let late = plan.settle(Some(Cause::TooManyRegistries));
        assert_eq!(late.causes, [Cause::TooManyRegistries], "{count}");
    }
}

#[test]
fn reference_follows_from_the_list_of_pull_secrets() {
    for (list, reference) in [
        (json!(null), PullReference::Create),
        (json!([]), PullReference::Append),
        (json!([{"name": "other"}]), PullReference::Append),
        (
            json!([{"name": "other"}, {"name": NAME}]),
            PullReference::Named,
        ),
    ] {
        assert_eq!(
            planned(&pod_with("imagePullSecrets", list.clone())),
            serve(reference, &[HOST]),
            "{list}"
        );
    }
}

#[test]
fn reference_is_to_the_secret_of_the_configuration() {
    let pod = pod_with("imagePullSecrets", json!([{"name": "pull"}])).to_string();
    let pod: Pod<'_> = serde_json::from_str(&pod).unwrap();
    let workload = Workload {
        namespace: "team",
        pod: &pod,
        is_running: false,
    };
    let facts = known(NamespaceFact::Unknown, AccountFact::Unrestricted);
    let mut config = Config::default();
    let reference = |config: &Config| plan(&workload, &facts, config).unwrap().reference;
    assert_eq!(reference(&config), PullReference::Append);
    config.secret.name = "pull".to_owned();
    assert_eq!(reference(&config), PullReference::Named);
}

#[test]
fn mirror_pod_is_skipped_for_any_annotation_value() {
    for value in [json!("0123"), json!(""), json!(null)] {
        let mut pod = pod_with("nodeName", json!("node"));
        pod["metadata"] = json!({
            "annotations": {"kubernetes.io/config.mirror": value},
            "labels": {"ecr-pull-secrets.dev/inject": "true"},
        });
        for selection in [Selection::OptOut, Selection::OptIn] {
            assert_eq!(
                plan_in(&pod, Wish::In, selection),
                Plan::skip(Skip::MirrorPod)
            );
        }
    }
    let mut pod = pod_with("nodeName", json!("node"));
    pod["metadata"] =
        json!({"annotations": {"kubernetes.io/config.source": "file", "a": {"b": 1}}});
    assert_eq!(planned(&pod), serve(PullReference::Create, &[HOST]));
}

#[test]
fn label_of_the_pod_counts() {
    let labelled = |labels: Value| {
        let mut pod = pod_with("nodeName", json!("node"));
        pod["metadata"] = json!({"labels": labels});
        pod
    };
    let inject = |value: &str| labelled(json!({"app": "x", "ecr-pull-secrets.dev/inject": value}));
    let out = Plan::skip(Skip::OptedOut);
    let served = serve(PullReference::Create, &[HOST]);
    for (pod, opt_out, opt_in) in [
        (inject("true"), &served, &served),
        (inject("false"), &out, &out),
        (inject("maybe"), &served, &out),
        (
            labelled(json!({"ecr-pull-secrets.dev/inject": null})),
            &served,
            &out,
        ),
        (
            labelled(json!({"inject": "false", "ecr-pull-secrets.dev/Inject": "false"})),
            &served,
            &out,
        ),
        (labelled(json!(null)), &served, &out),
    ] {
        assert_eq!(
            &plan_in(&pod, Wish::None, Selection::OptOut),
            opt_out,
            "{pod}"
        );
        assert_eq!(
            &plan_in(&pod, Wish::None, Selection::OptIn),
            opt_in,
            "{pod}"
        );
    }
    // The annotation of that name means nothing.
    let mut pod = labelled(json!({}));
    pod["metadata"]["annotations"] = json!({"ecr-pull-secrets.dev/inject": "false"});
    assert_eq!(planned(&pod), served);
}

#[test]
fn pod_without_ecr_image_is_that_first() {
    let pod = json!({"metadata": {"labels": {"ecr-pull-secrets.dev/inject": "false"}}, "spec": {}});
    assert_eq!(
        plan_in(&pod, Wish::Out, Selection::OptIn),
        Plan::skip(Skip::NoEcrImage)
    );
}

#[test]
fn escaped_image_is_the_same_image() {
    let escaped = format!(
        "{{\"spec\": {{\"containers\": [{{\"image\": \"{}\"}}]}}}}",
        image(HOST).replace('/', "\\/")
    );
    let pod: Pod<'_> = serde_json::from_str(&escaped).unwrap();
    let workload = Workload {
        namespace: "team",
        pod: &pod,
        is_running: false,
    };
    let facts = known(NamespaceFact::Active(Wish::None), AccountFact::Unrestricted);
    assert_eq!(
        plan(&workload, &facts, &Config::default()),
        Ok(serve(PullReference::Create, &[HOST]))
    );
}

#[test]
fn skip_reasons_keep_their_names() {
    assert_eq!(Skip::NoEcrImage.name(), "no_ecr_image");
    assert_eq!(Skip::MirrorPod.name(), "mirror_pod");
    assert_eq!(Skip::OptedOut.name(), "opted_out");
    assert_eq!(Skip::NamespaceMissing.name(), "namespace_missing");
    assert_eq!(Skip::NamespaceExempt.name(), "namespace_exempt");
}

#[test]
fn debug_image_of_another_registry_needs_nothing() {
    let planned = |debug: &str, secrets: Value| {
        let pod = json!({"spec": {
            "containers": [{"image": image(HOST)}],
            "ephemeralContainers": [{"image": debug}],
            "imagePullSecrets": secrets,
        }})
        .to_string();
        let pod: Pod<'_> = serde_json::from_str(&pod).unwrap();
        let workload = Workload {
            namespace: "team",
            pod: &pod,
            is_running: true,
        };
        let facts = known(NamespaceFact::Active(Wish::None), AccountFact::Unrestricted);
        plan(&workload, &facts, &Config::default()).unwrap()
    };
    let none = json!([]);
    assert_eq!(
        planned("busybox", none.clone()),
        Plan::skip(Skip::NoEcrImage)
    );
    let lacks = Plan::degraded(PullReference::Withheld, Cause::PodLacksReference);
    assert_eq!(planned(&image(OTHER), none), lacks);
    let named = json!([{"name": NAME}]);
    assert_eq!(
        planned("busybox", named),
        serve(PullReference::Named, &[HOST])
    );
}
