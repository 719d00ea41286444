//! Attempts on Secrets.

use serde_json::{Value, json};

use super::request::{
    Row, SECRETS, Verdict, apply, delete, force_apply, get, json_patch, lay_over, merge_patch,
    post, put_as_stored, strategic_patch,
};
use super::scene::{Scene, pull_secret};
use crate::harness::namespace::SECRET;
use crate::harness::world::OURS;

/// Annotation for which a controller fills in an account's token.
pub const ACCOUNT: &str = "kubernetes.io/service-account.name";

// Ends of the guard's sentences.
/// For a name that we do not write there.
pub const NAME: &str = "and ecr-pull-secrets-tokens and its shards in its own namespace";
/// For a pull Secret of another type.
pub const TYPE: &str = "of type kubernetes.io/dockerconfigjson";
const KEY: &str = "writes no key of a pull Secret but .dockerconfigjson";
/// For an immutable Secret.
pub const IMMUTABLE: &str = "makes no Secret immutable";
/// For owners and finalizers, on which controllers act.
pub const OWNER: &str = "sets no owner and no finalizer";
/// For a Secret without our label.
pub const MARK: &str = "is labelled app.kubernetes.io/managed-by=ecr-pull-secrets";
/// For labels and annotations, which controllers may take for a request.
pub const LABEL: &str = "adds no label but app.kubernetes.io/managed-by";
/// The same.
pub const ANNOTATION: &str = "adds no annotation but its own";

/// Attempts to read Secrets.
pub fn read(scene: &Scene) -> Vec<Row> {
    let Scene {
        victim, managed, ..
    } = scene;
    let all = "/api/v1/secrets";
    let one = format!("/api/v1/namespaces/{victim}/secrets");
    let select = |field: &str| format!("{all}?fieldSelector={field}");
    let watch = "watch=1&timeoutSeconds=1";
    let absent = Verdict::Refused(404, "not found");
    let mut rows = vec![
        get(
            "the AWS keys beside us",
            &path(OURS, "ecr-pull-secrets-aws"),
        )
        .no_right(absent),
        get("our own, anywhere", &path(managed, SECRET)).allowed(),
        get(
            "list by field, our name",
            &select(&format!("metadata.name%3D{SECRET}")),
        )
        .allowed(),
        get(
            "watch our name",
            &format!("{}&{watch}", select(&format!("metadata.name%3D{SECRET}"))),
        )
        .allowed(),
    ];
    let forbidden = [
        ("get another", path(victim, "gold")),
        ("list those of the cluster", all.to_owned()),
        ("list those of a namespace", one.clone()),
        (
            "list by label",
            format!("{all}?labelSelector=app.kubernetes.io%2Fmanaged-by%3Decr-pull-secrets"),
        ),
        (
            "list by field, another name",
            select("metadata.name%3Dgold"),
        ),
        (
            "list by field, negated",
            select(&format!("metadata.name!%3D{SECRET}")),
        ),
        ("list by field, by type", select("type%3DOpaque")),
        ("watch all", format!("{all}?{watch}")),
        (
            "watch all, old path",
            "/api/v1/watch/secrets?timeoutSeconds=1".to_owned(),
        ),
        (
            "watch another name",
            format!("{}&{watch}", select("metadata.name%3Dgold")),
        ),
        (
            "watch another name, old path",
            format!("/api/v1/watch/namespaces/{victim}/secrets/gold?timeoutSeconds=1"),
        ),
    ];
    rows.extend(
        forbidden
            .iter()
            .map(|(attempt, path)| get(attempt, path).no_right(Verdict::Allowed)),
    );
    rows
}

/// Attempts to write other Secrets, or ours by any other verb than patch.
pub fn write(scene: &Scene) -> Vec<Row> {
    let Scene {
        victim,
        managed,
        empty,
        foreign,
        opaque,
        ..
    } = scene;
    let ours = path(managed, SECRET);
    let gold = path(victim, "gold");
    let all = format!("/api/v1/namespaces/{managed}/secrets");
    let named = |name: &str| {
        let mut secret = pull_secret();
        secret["metadata"]["name"] = json!(name);
        secret
    };
    let mut misplaced = pull_secret();
    misplaced["metadata"]["namespace"] = json!(victim);
    vec![
        post(
            "POST of our name",
            &format!("/api/v1/namespaces/{empty}/secrets"),
            pull_secret(),
        )
        .no_right(Verdict::Allowed),
        apply("apply another name", &path(empty, "loot"), named("loot"))
            .no_right(Verdict::Allowed)
            .but_with_rest(SECRETS, NAME),
        force_apply("apply over another", &gold, named("gold"))
            .no_right(Verdict::Refused(422, "field is immutable")),
        merge_patch("patch another", &gold, json!({ "data": { "k": "eA==" } }))
            .no_right(Verdict::Allowed)
            .but_with_rest(SECRETS, NAME),
        apply(
            "apply at our name, the body names another",
            &ours,
            named("gold"),
        )
        .refused(400, "does not match the name on the URL"),
        apply("apply here, the body says elsewhere", &ours, misplaced)
            .refused(400, "does not match the namespace"),
        put_as_stored("PUT ours", &ours).no_right(Verdict::Allowed),
        delete("delete a foreign one of our name", &path(foreign, SECRET)).guarded(SECRETS, MARK),
        delete(
            "delete one of our name and another type",
            &path(opaque, SECRET),
        )
        .guarded(SECRETS, TYPE),
        delete("delete another", &gold)
            .no_right(Verdict::Allowed)
            .but_with_rest(SECRETS, NAME),
        delete(
            "delete all of a namespace",
            &format!("/api/v1/namespaces/{victim}/secrets"),
        )
        .no_right(Verdict::Allowed)
        .but_with_rest(SECRETS, NAME),
        delete("delete ours and all", &all).no_right(Verdict::Allowed),
        delete(
            "delete all of our name",
            &format!("{all}?fieldSelector=metadata.name%3D{SECRET}"),
        )
        .no_right(Verdict::Allowed),
    ]
}

/// Attempts to write something else than a registry login under our name.
pub fn shape(scene: &Scene) -> Vec<Row> {
    let Scene {
        victim,
        managed,
        empty,
        edited,
        ..
    } = scene;
    let token = json!({
        "type": "kubernetes.io/service-account-token",
        "metadata": { "annotations": { ACCOUNT: "rich" } },
    });
    let controller = json!({
        "type": "kubernetes.io/service-account-token",
        "metadata": { "annotations": { ACCOUNT: "clusterrole-aggregation-controller" } },
    });
    let tls = json!({
        "type": "kubernetes.io/tls",
        "data": { "tls.crt": "", "tls.key": "" },
    });
    let replicate = json!({ "replicator.v1.mittwald.de/replicate-from": "victim/gold" });
    let owner = json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "1" }]);
    let finalizers = json!({ "metadata": { "finalizers": ["x.io/y"] } });
    let label = |name: &str, value: Value| json!({ "metadata": { "labels": { name: value } } });
    let managed_by = "app.kubernetes.io/managed-by";
    let applied = [
        (
            "type service-account-token and an account",
            victim,
            token,
            TYPE,
        ),
        (
            "the same, a controller's",
            &"kube-system".to_owned(),
            controller,
            TYPE,
        ),
        ("type Opaque", empty, json!({ "type": "Opaque" }), TYPE),
        ("type tls", empty, tls, TYPE),
        (
            "type bootstrap token",
            &"kube-system".to_owned(),
            json!({ "type": "bootstrap.kubernetes.io/token" }),
            TYPE,
        ),
        (
            "the right type and an account",
            empty,
            json!({ "metadata": { "annotations": { ACCOUNT: "rich" } } }),
            ANNOTATION,
        ),
        (
            "a replicator's annotation",
            empty,
            json!({ "metadata": { "annotations": replicate } }),
            ANNOTATION,
        ),
        (
            "another label",
            empty,
            label("app.kubernetes.io/instance", json!("x")),
            LABEL,
        ),
        (
            "another key",
            empty,
            json!({ "data": { "k": "eA==" } }),
            KEY,
        ),
        (
            "another key by stringData",
            empty,
            json!({ "stringData": { "k": "v" } }),
            KEY,
        ),
        ("immutable", empty, json!({ "immutable": true }), IMMUTABLE),
        (
            "an owner",
            empty,
            json!({ "metadata": { "ownerReferences": owner } }),
            OWNER,
        ),
        ("a finalizer", empty, finalizers.clone(), OWNER),
        (
            "without our label",
            empty,
            label(managed_by, Value::Null),
            MARK,
        ),
        (
            "another manager's label",
            empty,
            label(managed_by, json!("x")),
            MARK,
        ),
    ];
    let mut rows: Vec<Row> = applied
        .into_iter()
        .map(|(attempt, namespace, overlay, says)| {
            let mut secret = pull_secret();
            lay_over(&mut secret, &overlay);
            apply(
                &format!("apply, {attempt}"),
                &path(namespace, SECRET),
                secret,
            )
            .guarded(SECRETS, says)
        })
        .collect();
    let ours = path(managed, SECRET);
    let theirs = path(edited, SECRET);
    rows.extend([
        strategic_patch(
            "patch ours: a key",
            &ours,
            json!({ "data": { "k": "eA==" } }),
        )
        .guarded(SECRETS, KEY),
        merge_patch("patch ours: immutable", &ours, json!({ "immutable": true }))
            .guarded(SECRETS, IMMUTABLE),
        json_patch(
            "patch ours: label away",
            &ours,
            json!([{ "op": "remove", "path": "/metadata/labels" }]),
        )
        .guarded(SECRETS, MARK),
        merge_patch("patch ours: a finalizer", &ours, finalizers).guarded(SECRETS, OWNER),
        merge_patch("patch ours: type", &ours, json!({ "type": "Opaque" }))
            .refused(422, "field is immutable"),
        merge_patch(
            "patch where none is",
            &path(empty, SECRET),
            json!({ "type": "Opaque" }),
        )
        .refused(404, "not found"),
        strategic_patch(
            "change a foreign key",
            &theirs,
            json!({ "data": { "k": "eQ==" } }),
        )
        .guarded(SECRETS, KEY),
        strategic_patch("change a foreign label", &theirs, label("by", json!("y")))
            .guarded(SECRETS, LABEL),
        strategic_patch(
            "change a foreign annotation",
            &theirs,
            json!({ "metadata": { "annotations": { "by": "y" } } }),
        )
        .guarded(SECRETS, ANNOTATION),
    ]);
    rows
}

/// Writes of the program, which the guards must admit.
pub fn ours(scene: &Scene) -> Vec<Row> {
    let Scene {
        managed,
        empty,
        edited,
        owned,
        foreign,
        adopted,
        ..
    } = scene;
    let mut create_only = pull_secret();
    create_only["metadata"]["resourceVersion"] = json!("1");
    let mut rotated = pull_secret();
    // {"auths":{"a":{}}}
    rotated["data"][".dockerconfigjson"] = json!("eyJhdXRocyI6eyJhIjp7fX19");
    let last_applied = "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration";
    vec![
        apply("create ours", &path(empty, SECRET), pull_secret()).allowed(),
        apply(
            "create ours, if there is none",
            &path(empty, SECRET),
            create_only.clone(),
        )
        .allowed(),
        apply(
            "create ours, though there is one",
            &path(managed, SECRET),
            create_only,
        )
        .refused(409, "the object has been modified"),
        apply(
            "rotate ours, in place",
            &path(managed, SECRET),
            rotated.clone(),
        )
        .allowed(),
        apply(
            "rotate with a foreign label, annotation and key",
            &path(edited, SECRET),
            rotated.clone(),
        )
        .allowed(),
        apply(
            "rotate with a foreign owner and finalizer",
            &path(owned, SECRET),
            rotated.clone(),
        )
        .allowed(),
        force_apply(
            "adopt what kubectl apply made",
            &path(foreign, SECRET),
            rotated,
        )
        .allowed(),
        json_patch(
            "drop the copy that kubectl apply keeps",
            &path(adopted, SECRET),
            json!([{ "op": "remove", "path": last_applied }]),
        )
        .allowed(),
        delete("clean up ours", &path(managed, SECRET)).allowed(),
        delete(
            "clean up with a foreign label, annotation and key",
            &path(edited, SECRET),
        )
        .allowed(),
    ]
}

/// Path of a Secret.
pub fn path(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/secrets/{name}")
}
