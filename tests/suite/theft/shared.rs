//! Attempts on the shared objects of our own namespace: token store, serving certificate and Lease.

use serde_json::{Value, json};

use super::request::{
    LEASE, Request, Row, SECRETS, Verdict, apply, delete, force_apply, get, json_patch,
    merge_patch, post, put_as_stored,
};
use super::scene::{Scene, marks};
use super::secrets::{ANNOTATION, IMMUTABLE, LABEL, MARK, NAME, OWNER, path};
use crate::harness::world::OURS;

/// Name of the token store.
pub const STORE: &str = "ecr-pull-secrets-tokens";
/// For a token store of another type.
pub const OPAQUE: &str = "writes no token store but of type Opaque";
/// The last Secret of the store, and one more than there are.
const LAST_SHARD: &str = "ecr-pull-secrets-tokens-7";
const NO_SHARD: &str = "ecr-pull-secrets-tokens-8";
const DELETE: &str = "does not delete its token store";
/// Name of the Secret with CA and serving certificate.
pub const TLS: &str = "ecr-pull-secrets-tls";
/// For a serving certificate of another type.
pub const NO_TLS: &str = "writes no serving certificate but of type kubernetes.io/tls";
/// For a serving certificate with another key.
pub const TLS_KEY: &str = "certificate but tls.crt, tls.key, ca.crt and ca.key";
const OTHER_LEASE: &str = "writes no lease but its own, and does not delete it";
const LEASE_METADATA: &str = "no owner, no label and no annotation of its lease";
const TLS_DELETE: &str = "does not delete its serving certificate";
/// API path of the namespaces with Leases.
pub const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces";

/// The token store, as the program writes it.
pub fn token_store() -> Value {
    let mut metadata = marks();
    metadata["name"] = json!(STORE);
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": metadata,
        "data": { "test-land-0.x": "e30=" },
    })
}

/// An attempt to write a Secret like the store under another name.
fn shard(attempt: &str, namespace: &str, name: &str) -> Request {
    let mut body = token_store();
    body["metadata"]["name"] = json!(name);
    apply(attempt, &path(namespace, name), body)
}

/// Attempts on the existing token store.
pub fn store(scene: &Scene) -> Vec<Row> {
    let victim = &scene.victim;
    let guarded = |says| Verdict::Guard(SECRETS, says);
    let ours = path(OURS, STORE);
    let select = format!("fieldSelector=metadata.name%3D{STORE}");
    let patch = |attempt: &str, body: Value| merge_patch(attempt, &ours, body);
    let metadata = |fields: Value| json!({ "metadata": fields });
    let owner = json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "1" }]);
    vec![
        get("read the store", &ours).allowed(),
        get(
            "list the store",
            &format!("/api/v1/namespaces/{OURS}/secrets?{select}"),
        )
        .allowed(),
        get("read its name elsewhere", &path(victim, STORE))
            .no_right(Verdict::Refused(404, "not found")),
        get(
            "list its name everywhere",
            &format!("/api/v1/secrets?{select}"),
        )
        .no_right(Verdict::Allowed),
        get(
            "list all Secrets beside us",
            &format!("/api/v1/namespaces/{OURS}/secrets"),
        )
        .no_right(Verdict::Allowed),
        apply("a store elsewhere", &path(victim, STORE), token_store()).no_right(guarded(NAME)),
        apply("put a token", &ours, token_store()).allowed(),
        shard("put a token into a shard", OURS, LAST_SHARD).allowed(),
        shard("a shard elsewhere", victim, LAST_SHARD).no_right(guarded(NAME)),
        shard("one shard more", OURS, NO_SHARD)
            .no_right(Verdict::Allowed)
            .but_with_rest(SECRETS, NAME),
        patch(
            "put another",
            json!({ "data": { "test-land-0.x": "e30=" } }),
        )
        .allowed(),
        patch(
            "another type",
            json!({ "type": "kubernetes.io/service-account-token" }),
        )
        .refused(422, "field is immutable"),
        patch(
            "an account's annotation",
            metadata(json!({ "annotations": { "kubernetes.io/service-account.name": OURS } })),
        )
        .guarded(SECRETS, ANNOTATION),
        patch("a label", metadata(json!({ "labels": { "x": "y" } }))).guarded(SECRETS, LABEL),
        json_patch(
            "no label",
            &ours,
            json!([{ "op": "remove", "path": "/metadata/labels" }]),
        )
        .guarded(SECRETS, MARK),
        patch("immutable", json!({ "immutable": true })).guarded(SECRETS, IMMUTABLE),
        patch("an owner", metadata(json!({ "ownerReferences": owner }))).guarded(SECRETS, OWNER),
        patch("a finalizer", metadata(json!({ "finalizers": ["x.io/y"] }))).guarded(SECRETS, OWNER),
        put_as_stored("PUT the store", &ours).no_right(Verdict::Allowed),
        delete("delete the store", &ours).no_right(guarded(DELETE)),
    ]
}

/// CA and serving certificate, as far as the API server checks them.
pub fn serving_certificate() -> Value {
    let mut metadata = marks();
    metadata["name"] = json!(TLS);
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": metadata,
        "data": { "tls.crt": "eA==", "tls.key": "eA==", "ca.crt": "eA==", "ca.key": "eA==" },
    })
}

/// Attempts on the existing serving certificate.
pub fn certificate(scene: &Scene) -> Vec<Row> {
    let victim = &scene.victim;
    let guarded = |says| Verdict::Guard(SECRETS, says);
    let ours = path(OURS, TLS);
    let select = format!("fieldSelector=metadata.name%3D{TLS}");
    let patch = |attempt: &str, body: Value| merge_patch(attempt, &ours, body);
    let metadata = |fields: Value| json!({ "metadata": fields });
    let owner = json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "1" }]);
    let account = json!({ "annotations": { "kubernetes.io/service-account.name": OURS } });
    vec![
        get("read the certificate", &ours).allowed(),
        get(
            "watch the certificate",
            &format!("/api/v1/namespaces/{OURS}/secrets?{select}&watch=1&timeoutSeconds=1"),
        )
        .allowed(),
        get("read a certificate elsewhere", &path(victim, TLS))
            .no_right(Verdict::Refused(404, "not found")),
        get(
            "list certificates everywhere",
            &format!("/api/v1/secrets?{select}"),
        )
        .no_right(Verdict::Allowed),
        apply(
            "a certificate elsewhere",
            &path(victim, TLS),
            serving_certificate(),
        )
        .no_right(guarded(NAME)),
        patch(
            "renew the certificate",
            json!({ "data": { "tls.crt": "eQ==", "tls.key": "eQ==" } }),
        )
        .allowed(),
        patch(
            "another key beside the certificate",
            json!({ "data": { "token": "eA==" } }),
        )
        .guarded(SECRETS, TLS_KEY),
        patch("a certificate of another type", json!({ "type": "Opaque" }))
            .refused(422, "field is immutable"),
        patch("a certificate with an account", metadata(account)).guarded(SECRETS, ANNOTATION),
        patch(
            "a certificate with a label",
            metadata(json!({ "labels": { "x": "y" } })),
        )
        .guarded(SECRETS, LABEL),
        json_patch(
            "a certificate without label",
            &ours,
            json!([{ "op": "remove", "path": "/metadata/labels" }]),
        )
        .guarded(SECRETS, MARK),
        patch("an immutable certificate", json!({ "immutable": true })).guarded(SECRETS, IMMUTABLE),
        patch(
            "a certificate with an owner",
            metadata(json!({ "ownerReferences": owner })),
        )
        .guarded(SECRETS, OWNER),
        put_as_stored("PUT the certificate", &ours).no_right(Verdict::Allowed),
        delete("delete the certificate", &ours).no_right(guarded(TLS_DELETE)),
    ]
}

/// A Lease that a thief holds.
pub fn lease(name: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": name },
        "spec": { "holderIdentity": "thief" },
    })
}

/// Attempts on Leases.
pub fn leases() -> Vec<Row> {
    let beside = format!("{LEASES}/{OURS}/leases");
    let ours = format!("{beside}/{OURS}");
    let other = || Verdict::Guard(LEASE, OTHER_LEASE);
    let owner = json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "1" }]);
    let metadata = [
        ("a finalizer", json!({ "finalizers": ["x.io/y"] })),
        ("an owner", json!({ "ownerReferences": owner })),
        ("a label", json!({ "labels": { "x": "y" } })),
        ("an annotation", json!({ "annotations": { "x": "y" } })),
    ];
    let mut rows: Vec<Row> = metadata
        .into_iter()
        .map(|(attempt, fields)| {
            let patch = json!({ "metadata": fields });
            merge_patch(&format!("our lease, {attempt}"), &ours, patch)
                .guarded(LEASE, LEASE_METADATA)
        })
        .collect();
    rows.extend([
        force_apply("take our lease", &ours, lease(OURS)).allowed(),
        get("list leases", &beside).no_right(Verdict::Allowed),
        post("POST a lease", &beside, lease("x")).no_right(Verdict::Allowed),
        force_apply(
            "another lease beside us",
            &format!("{beside}/x"),
            lease("x"),
        )
        .no_right(Verdict::Allowed),
        force_apply(
            "a controller's lease",
            &format!("{LEASES}/kube-system/leases/kube-controller-manager"),
            lease("kube-controller-manager"),
        )
        .no_right(Verdict::Allowed),
        force_apply(
            "our lease's name elsewhere",
            &format!("{LEASES}/default/leases/{OURS}"),
            lease(OURS),
        )
        .no_right(other()),
        delete("delete our lease", &ours).no_right(other()),
    ]);
    rows
}
