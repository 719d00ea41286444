use super::*;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

const NAME: &str = "ecr-registry-credentials";
const HOST: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
const OTHER: &str = "210987654321.dkr.ecr.us-east-1.amazonaws.com";

fn settings(selection: Selection) -> Settings {
    Settings {
        secret_name: NAME.to_owned(),
        selection,
    }
}

fn decide_in(pod: &Value, namespace: Wish, selection: Selection) -> Decision {
    let text = pod.to_string();
    let pod: Pod<'_> =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let decision = decide(&pod, namespace, &settings(selection));
    // Whoever holds on to a pod decides as admission does.
    let owned = pod.clone().into_owned();
    assert_eq!(decide(&owned, namespace, &settings(selection)), decision);
    assert_eq!(owned.service_account(), pod.service_account());
    decision
}

fn decided(pod: &Value) -> Decision {
    decide_in(pod, Wish::None, Selection::OptOut)
}

fn image(host: &str) -> String {
    format!("{host}/app:1")
}

/// A pod with one container from ECR, and more in its spec.
fn pod_with(field: &str, value: Value) -> Value {
    let mut pod = json!({"spec": {"containers": [{"image": image(HOST)}]}});
    pod["spec"][field] = value;
    pod
}

fn serve(list: List, hosts: &[&str]) -> Decision {
    let registry = |host: &&str| Registry::of_host(host).unwrap();
    Decision::Serve {
        list,
        registries: hosts.iter().map(registry).collect(),
    }
}

#[test]
fn every_place_that_names_an_image_counts() {
    for spec in [
        json!({"containers": [{"image": image(HOST)}]}),
        json!({"initContainers": [{"image": image(HOST)}]}),
        json!({"initContainers": [{"image": image(HOST), "restartPolicy": "Always"}]}),
        json!({"ephemeralContainers": [{"image": image(HOST)}]}),
        json!({"volumes": [{"image": {"reference": image(HOST)}}]}),
        json!({"volumes": [{"emptyDir": {}}, {"name": "x", "image": {"reference": image(HOST), "pullPolicy": "Always"}}]}),
    ] {
        assert_eq!(
            decided(&json!({"spec": spec})),
            serve(List::Absent, &[HOST]),
            "{spec}"
        );
    }
}

#[test]
fn nothing_else_counts_as_an_image() {
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
        assert_eq!(decided(&pod), Decision::Skip(Skip::NoEcrImage), "{pod}");
    }
}

#[test]
fn registries_come_sorted_and_each_once() {
    let pod = json!({"spec": {
        "containers": [{"image": image(OTHER)}, {"image": "nginx"}, {"image": image(HOST)}],
        "initContainers": [{"image": format!("{HOST}/other@sha256:{}", "0".repeat(64))}],
        "volumes": [{"image": {"reference": image(OTHER)}}],
    }});
    assert_eq!(decided(&pod), serve(List::Absent, &[HOST, OTHER]));
}

#[test]
fn the_list_of_pull_secrets_is_seen_as_it_stands() {
    for (list, wanted) in [
        (json!(null), List::Absent),
        (json!([]), List::Present),
        (json!([{}]), List::Present),
        (json!([null]), List::Present),
        (json!([{"name": null}]), List::Present),
        (json!([{"name": ""}]), List::Present),
        (json!([{"name": "other"}]), List::Present),
        (
            json!([{"name": "ecr-registry-credentials-2"}, {"name": "ecr-registry-credential"}]),
            List::Present,
        ),
        (json!([{"name": NAME}]), List::Named),
        (
            json!([{}, null, {"name": "other"}, {"name": NAME, "future": 1}]),
            List::Named,
        ),
    ] {
        assert_eq!(
            decided(&pod_with("imagePullSecrets", list.clone())),
            serve(wanted, &[HOST]),
            "{list}"
        );
    }
}

/// Each of these would be some 24 bytes of memory for every three of the request.
#[test]
fn what_decides_nothing_takes_no_memory() {
    let many = json!([{}, null, {"image": ""}, {"image": "nginx"}, {"image": null}, {"name": ""}]);
    let fields = [
        "containers",
        "initContainers",
        "ephemeralContainers",
        "imagePullSecrets",
    ];
    let mut text = json!({ "spec": {} });
    for field in fields {
        text["spec"][field] = many.clone();
    }
    text["spec"]["volumes"] = json!([{}, null, {"image": {"reference": "nginx"}}]);
    let text = text.to_string();
    let pod: Pod<'_> = serde_json::from_str(&text).unwrap();
    let spec = pod.spec.unwrap();
    for list in [
        spec.containers,
        spec.init_containers,
        spec.ephemeral_containers,
    ] {
        assert_eq!(list.unwrap().capacity(), 0);
    }
    assert_eq!(spec.volumes.unwrap().capacity(), 0);
    assert_eq!(spec.image_pull_secrets.unwrap().capacity(), 0);
}

#[test]
fn a_registry_that_many_containers_share_is_kept_once() {
    let containers = vec![json!({ "image": image(HOST) }); 1000];
    let text = json!({ "spec": { "containers": containers } }).to_string();
    let pod: Pod<'_> = serde_json::from_str(&text).unwrap();
    assert_eq!(pod.spec.unwrap().containers.unwrap().len(), 1);
}

#[test]
fn the_name_of_the_secret_is_found_after_any_number_of_others() {
    let mut names = vec![json!({ "name": "a" }); 100_000];
    names.push(json!({ "name": NAME }));
    let text = json!({ "spec": { "imagePullSecrets": names } }).to_string();
    let pod: Pod<'_> = serde_json::from_str(&text).unwrap();
    assert!(pod.names(NAME) && pod.names("a") && !pod.names("b"));
    // Less than they came in, also where their number doubles the room for them.
    let capacity = pod.spec.unwrap().image_pull_secrets.unwrap().capacity();
    assert!(capacity < text.len(), "{capacity} of {}", text.len());
}

#[test]
fn no_part_of_a_name_is_a_name() {
    let pod = |name: &str| pod_with("imagePullSecrets", json!([{ "name": name }]));
    let wound = [
        format!("{NAME}-2"),
        format!("x{NAME}"),
        format!("{NAME}\0"),
        format!("a\0{NAME}\0b"),
        format!("\0{NAME}"),
    ];
    for name in wound {
        assert_eq!(
            decided(&pod(&name)),
            serve(List::Present, &[HOST]),
            "{name:?}"
        );
    }
    assert_eq!(decided(&pod(NAME)), serve(List::Named, &[HOST]));
}

#[test]
fn a_mirror_pod_is_left_alone_whatever_its_annotation_says() {
    for value in [json!("0123"), json!(""), json!(null)] {
        let mut pod = pod_with("nodeName", json!("node"));
        pod["metadata"] = json!({
            "annotations": {"kubernetes.io/config.mirror": value},
            "labels": {"ecr-pull-secrets.dev/inject": "true"},
        });
        for selection in [Selection::OptOut, Selection::OptIn] {
            assert_eq!(
                decide_in(&pod, Wish::In, selection),
                Decision::Skip(Skip::MirrorPod)
            );
        }
    }
    let mut pod = pod_with("nodeName", json!("node"));
    pod["metadata"] =
        json!({"annotations": {"kubernetes.io/config.source": "file", "a": {"b": 1}}});
    assert_eq!(decided(&pod), serve(List::Absent, &[HOST]));
}

#[test]
fn a_label_has_two_words_and_no_other_spelling_of_them() {
    assert_eq!(Wish::LABEL, "ecr-pull-secrets.dev/inject");
    for (value, wish) in [
        (None, Wish::None),
        (Some("true"), Wish::In),
        (Some("false"), Wish::Out),
        (Some(""), Wish::None),
        (Some("True"), Wish::None),
        (Some("FALSE"), Wish::None),
        (Some("no"), Wish::None),
        (Some("1"), Wish::None),
    ] {
        assert_eq!(Wish::of_label(value), wish, "{value:?}");
    }
}

#[test]
fn the_label_of_the_pod_is_heard() {
    let labelled = |labels: Value| {
        let mut pod = pod_with("nodeName", json!("node"));
        pod["metadata"] = json!({"labels": labels});
        pod
    };
    let inject = |value: &str| labelled(json!({"app": "x", "ecr-pull-secrets.dev/inject": value}));
    let out = Decision::Skip(Skip::OptedOut);
    let served = serve(List::Absent, &[HOST]);
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
            &decide_in(&pod, Wish::None, Selection::OptOut),
            opt_out,
            "{pod}"
        );
        assert_eq!(
            &decide_in(&pod, Wish::None, Selection::OptIn),
            opt_in,
            "{pod}"
        );
    }
    // The annotation of the same name is none of ours.
    let mut pod = labelled(json!({}));
    pod["metadata"]["annotations"] = json!({"ecr-pull-secrets.dev/inject": "false"});
    assert_eq!(decided(&pod), served);
}

#[test]
fn a_pod_without_need_is_that_first_whatever_it_wishes() {
    let pod = json!({"metadata": {"labels": {"ecr-pull-secrets.dev/inject": "false"}}, "spec": {}});
    assert_eq!(
        decide_in(&pod, Wish::Out, Selection::OptIn),
        Decision::Skip(Skip::NoEcrImage)
    );
}

#[test]
fn the_service_account_is_default_unless_the_pod_says_otherwise() {
    for (spec, wanted) in [
        (json!({}), "default"),
        (json!({"serviceAccountName": null}), "default"),
        (json!({"serviceAccountName": ""}), "default"),
        (json!({"serviceAccountName": "web"}), "web"),
        (json!({"serviceAccount": "old-field"}), "default"),
    ] {
        let text = json!({"spec": spec}).to_string();
        let pod: Pod<'_> = serde_json::from_str(&text).unwrap();
        assert_eq!(pod.service_account(), wanted, "{text}");
    }
    assert_eq!(Pod::default().service_account(), "default");
}

#[test]
fn text_is_borrowed_where_json_allows_and_copied_where_not() {
    let plain: Text<'_> = serde_json::from_str("\"plain\"").unwrap();
    assert!(matches!(plain.0, Cow::Borrowed("plain")));
    let escaped: Text<'_> = serde_json::from_str("\"a\\u002fb\"").unwrap();
    assert_eq!(&*escaped, "a/b");
    let error = serde_json::from_str::<Text<'_>>("7")
        .unwrap_err()
        .to_string();
    assert!(error.contains("expected a string"), "{error}");
    let escaped = format!(
        "{{\"spec\": {{\"containers\": [{{\"image\": \"{}\"}}]}}}}",
        image(HOST).replace('/', "\\/")
    );
    let pod: Pod<'_> = serde_json::from_str(&escaped).unwrap();
    assert_eq!(
        decide(&pod, Wish::None, &settings(Selection::OptOut)),
        serve(List::Absent, &[HOST])
    );
}

#[test]
fn reasons_to_skip_have_the_names_that_others_rely_on() {
    assert_eq!(Skip::NoEcrImage.name(), "no_ecr_image");
    assert_eq!(Skip::MirrorPod.name(), "mirror_pod");
    assert_eq!(Skip::OptedOut.name(), "opted_out");
}

/// Values that have no business where they stand.
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

/// Images as they stand in pods: ours, others', nonsense.
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
    select(vec![Selection::OptOut, Selection::OptIn])
}

proptest! {
    #[test]
    fn every_view_gives_a_decision(value in wild(), namespace in wishes(), selection in selections()) {
        let text = value.to_string();
        if let Ok(pod) = serde_json::from_str::<Pod<'_>>(&text) {
            pod.service_account();
            if let Decision::Serve { registries, .. } = decide(&pod, namespace, &settings(selection)) {
                prop_assert!(!registries.is_empty());
                prop_assert!(registries.is_sorted());
            }
        }
    }

    #[test]
    fn a_pod_is_served_exactly_the_registries_that_its_images_name(
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
            Decision::Skip(Skip::NoEcrImage)
        } else {
            Decision::Serve { list: List::Absent, registries: wanted }
        };
        prop_assert_eq!(decided(&pod), wanted);
    }

    #[test]
    fn fields_that_nobody_knows_change_nothing(
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
        prop_assert_eq!(decided(&extended), decided(&pod));
    }

    /// Whoever says no is heard, wherever and with whatever else around it.
    #[test]
    fn nobody_who_opted_out_is_served(pod_wish in wishes(), namespace in wishes(), selection in selections()) {
        let mut pod = pod_with("nodeName", json!("node"));
        let label = match pod_wish {
            Wish::None => json!({}),
            Wish::In => json!({"ecr-pull-secrets.dev/inject": "true"}),
            Wish::Out => json!({"ecr-pull-secrets.dev/inject": "false"}),
        };
        pod["metadata"] = json!({"labels": label});
        let served = matches!(decide_in(&pod, namespace, selection), Decision::Serve { .. });
        prop_assert!(!served || (pod_wish != Wish::Out && namespace != Wish::Out));
        prop_assert_eq!(served, selection.admits(pod_wish, namespace));
    }
}
