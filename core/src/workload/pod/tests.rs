use super::*;

use serde_json::{Value, json};

use crate::pull_secret::MAX_REGISTRIES;

const NAME: &str = "ecr-registry-credentials";
const HOST: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";

fn read(pod: &str) -> Pod<'_> {
    serde_json::from_str(pod).unwrap_or_else(|error| panic!("{pod}: {error}"))
}

fn image(host: &str) -> String {
    format!("{host}/app:1")
}

/// The state of the list `imagePullSecrets`.
fn list(value: &Value) -> ReferenceList {
    let pod = json!({ "spec": { "imagePullSecrets": value } }).to_string();
    let pod = read(&pod);
    assert_eq!(
        pod.clone().into_owned().reference_list(NAME),
        pod.reference_list(NAME)
    );
    pod.reference_list(NAME)
}

#[test]
fn pull_secrets_are_absent_present_or_named() {
    use ReferenceList::{Absent, Named, Present};

    for (value, wanted) in [
        (json!(null), Absent),
        (json!([]), Present),
        (json!([{}]), Present),
        (json!([null]), Present),
        (json!([{"name": null}]), Present),
        (json!([{"name": ""}]), Present),
        (json!([{"name": "other"}]), Present),
        (
            json!([{"name": "ecr-registry-credentials-2"}, {"name": "ecr-registry-credential"}]),
            Present,
        ),
        (json!([{"name": NAME}]), Named),
        (
            json!([{}, null, {"name": "other"}, {"name": NAME, "future": 1}]),
            Named,
        ),
    ] {
        assert_eq!(list(&value), wanted, "{value}");
    }
    assert_eq!(read("{}").reference_list(NAME), Absent);
}

/// A view of such an element would take some 24 bytes of memory for 3 bytes of the request.
#[test]
fn element_that_cannot_decide_takes_no_memory() {
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
    let pod = read(&text);
    let spec = pod.spec.unwrap();
    assert_eq!(spec.registries.capacity(), 0);
    assert_eq!(spec.image_pull_secrets.unwrap().capacity(), 0);
}

#[test]
fn registry_of_many_containers_is_kept_once() {
    let containers = vec![json!({ "image": image(HOST) }); 1000];
    let text = json!({ "spec": { "containers": containers, "initContainers": containers } });
    assert_eq!(read(&text.to_string()).registries().len(), 1);
}

/// Images of this many different registries.
fn images(count: u64) -> Vec<Value> {
    let hosts = (0..count).map(|number| format!("{number:012}.dkr.ecr.eu-west-1.amazonaws.com"));
    hosts.map(|host| json!({ "image": image(&host) })).collect()
}

/// The fault: one review of 7 MiB was answered after 15 s, and held a core meanwhile.
#[test]
fn registries_beyond_the_limit_are_not_collected() {
    let text = json!({ "spec": { "containers": images(111_291) } }).to_string();
    let pod = read(&text);
    assert!(pod.has_too_many_registries());
    assert_eq!(pod.registries().len(), MAX_REGISTRIES + 1);
    assert!(pod.registries().is_sorted());
    let registries = pod.spec.unwrap().registries;
    assert!(
        registries.capacity() <= 2 * MAX_REGISTRIES,
        "{}",
        registries.capacity()
    );
}

#[test]
fn images_are_not_parsed_once_there_are_too_many_registries() {
    // A number in place of an image is an error, where it is parsed.
    let odd = json!({ "image": 5 });
    for (count, is_read) in [(99, false), (100, false), (101, true)] {
        let mut containers = images(count);
        containers.push(odd.clone());
        let all = json!({ "spec": { "containers": containers, "initContainers": [odd] } });
        let text = all.to_string();
        assert_eq!(
            serde_json::from_str::<Pod<'_>>(&text).is_ok(),
            is_read,
            "{count}"
        );
    }
}

#[test]
fn all_lists_share_the_limit_of_registries() {
    let all = images(101);
    let (one, rest) = all.split_at(40);
    let (two, three) = rest.split_at(40);
    let volumes: Vec<Value> = three
        .iter()
        .map(|volume| json!({ "image": { "reference": volume["image"] } }))
        .collect();
    let spec = |volumes: &[Value]| {
        json!({ "spec": { "containers": one, "initContainers": two, "ephemeralContainers": one, "volumes": volumes } })
            .to_string()
    };
    let text = spec(&volumes);
    assert!(read(&text).has_too_many_registries());
    let text = spec(&volumes[1..]);
    let pod = read(&text);
    assert!(!pod.has_too_many_registries());
    assert_eq!(pod.registries().len(), 100);
}

#[test]
fn repeated_field_of_the_spec_is_refused() {
    for field in ["imagePullSecrets", "containers", "volumes"] {
        let text = format!("{{\"spec\": {{\"{field}\": [], \"{field}\": []}}}}");
        assert!(serde_json::from_str::<Pod<'_>>(&text).is_err(), "{field}");
    }
    read("{\"spec\": {\"future\": 1, \"future\": 2}}");
}

#[test]
fn other_names_are_forgotten_on_request() {
    let many = vec![json!({ "name": "other" }); 1000];
    let with_ours = [many.clone(), vec![json!({ "name": NAME })]].concat();
    for (names, wanted) in [
        (json!(null), ReferenceList::Absent),
        (json!(many), ReferenceList::Present),
        (json!(with_ours), ReferenceList::Named),
    ] {
        let text = json!({ "spec": { "imagePullSecrets": names } }).to_string();
        let mut pod = read(&text);
        pod.forget_other_names(NAME);
        assert_eq!(pod.reference_list(NAME), wanted);
        let names = pod.spec.unwrap().image_pull_secrets;
        assert!(names.is_none_or(|names| names.capacity() < 100));
    }
}

#[test]
fn secret_name_is_found_after_many_others() {
    let mut names = vec![json!({ "name": "a" }); 100_000];
    names.push(json!({ "name": NAME }));
    let text = json!({ "spec": { "imagePullSecrets": names } }).to_string();
    let pod = read(&text);
    assert!(pod.names(NAME) && pod.names("a") && !pod.names("b"));
    // Less than the JSON, also right after the buffer has doubled.
    let capacity = pod.spec.unwrap().image_pull_secrets.unwrap().capacity();
    assert!(capacity < text.len(), "{capacity} of {}", text.len());
}

#[test]
fn part_of_a_name_is_no_name() {
    let named = |name: &str| list(&json!([{ "name": name }]));
    for name in [
        format!("{NAME}-2"),
        format!("x{NAME}"),
        format!("{NAME}\0"),
        format!("a\0{NAME}\0b"),
        format!("\0{NAME}"),
    ] {
        assert_eq!(named(&name), ReferenceList::Present, "{name:?}");
    }
    assert_eq!(named(NAME), ReferenceList::Named);
}

#[test]
fn service_account_is_default_unless_the_pod_names_one() {
    for (spec, wanted) in [
        (json!({}), "default"),
        (json!({"serviceAccountName": null}), "default"),
        (json!({"serviceAccountName": ""}), "default"),
        (json!({"serviceAccountName": "web"}), "web"),
        (json!({"serviceAccount": "old-field"}), "default"),
    ] {
        let text = json!({"spec": spec}).to_string();
        let pod = read(&text);
        assert_eq!(pod.service_account(), wanted, "{text}");
        assert_eq!(pod.into_owned().service_account(), wanted, "{text}");
    }
    assert_eq!(Pod::default().service_account(), "default");
}

#[test]
fn long_texts_are_truncated() {
    let long = "x".repeat(100_000);
    let text = json!({
        "metadata": { "labels": { "ecr-pull-secrets.dev/inject": format!("true{long}") } },
        "spec": { "serviceAccountName": long },
    });
    let text = text.to_string();
    let pod = read(&text);
    assert_eq!(pod.service_account().len(), 256);
    assert!(!crate::names::is_dns_subdomain(pod.service_account()));
    assert_eq!(pod.wish(), Wish::of_label(Some("trues")));
}

/// Each place of a pod's spec that uses a Secret without naming it for pulls.
fn users(secret: &str) -> Vec<Value> {
    let variable = json!([{ "name": "A", "value": "b" }, { "name": "B",
        "valueFrom": { "secretKeyRef": { "name": secret, "key": "k" } } }]);
    let sources = json!([{ "configMapRef": { "name": "c" } }, { "secretRef": { "name": secret } }]);
    let mut users = vec![
        json!({ "volumes": [{ "name": "v", "secret": { "secretName": secret } }] }),
        json!({ "volumes": [null, { "name": "v", "projected": { "sources": [
            { "serviceAccountToken": {} }, null, { "secret": { "name": secret } }] } }] }),
    ];
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        users.push(json!({ list: [null, {}, { "image": "kaniko", "env": variable.clone() }] }));
        users.push(json!({ list: [{ "image": "kaniko", "envFrom": sources.clone() }] }));
    }
    users
}

#[test]
fn stored_pod_uses_mounted_and_read_secrets() {
    let stored = |spec: &Value| {
        let text = spec.to_string();
        let StoredSpec(spec) = serde_json::from_str(&text).unwrap();
        Pod::of_parts(None, None, Some(spec)).into_owned()
    };
    for spec in users(NAME) {
        let pod = stored(&spec);
        assert!(
            pod.uses(NAME) && !pod.names(NAME) && !pod.uses("other"),
            "{spec}"
        );
        // A review is read without them.
        let review = json!({ "spec": spec }).to_string();
        assert!(!read(&review).uses(NAME), "{spec}");
    }
    for spec in users("other") {
        assert!(!stored(&spec).uses(NAME), "{spec}");
    }
    let named = json!({ "imagePullSecrets": [{ "name": NAME }] });
    assert!(stored(&named).uses(NAME));
}

#[test]
fn stored_pod_has_the_registries_of_a_review() {
    let many: Vec<Value> = (0..2 * MAX_REGISTRIES)
        .map(|number| json!({ "image": image(&format!("{number:012}.dkr.ecr.us-east-1.amazonaws.com")) }))
        .collect();
    let volumes = json!([{ "image": { "reference": image(HOST) } }, { "emptyDir": {} }]);
    for spec in [
        json!({ "initContainers": [{ "image": image(HOST) }], "containers": null }),
        json!({ "volumes": volumes }),
        json!({ "containers": many }),
    ] {
        let text = spec.to_string();
        let StoredSpec(stored) = serde_json::from_str(&text).unwrap();
        let review: Spec<'_> = serde_json::from_str(&text).unwrap();
        assert!(!review.registries.as_slice().is_empty());
        assert_eq!(stored.registries.as_slice(), review.registries.as_slice());
    }
}
