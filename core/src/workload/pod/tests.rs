use super::*;

use serde_json::{Value, json};

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
fn registry_of_many_containers_is_kept_once() {
    let containers = vec![json!({ "image": image(HOST) }); 1000];
    let text = json!({ "spec": { "containers": containers } }).to_string();
    let pod = read(&text);
    assert_eq!(pod.spec.unwrap().containers.unwrap().len(), 1);
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
