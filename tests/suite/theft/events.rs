//! Attempts on events: people and controllers act on their text.

use serde_json::{Value, json};

use super::request::{EVENTS, Row, Verdict, delete, get, lay_over, merge_patch, post};
use super::scene::{Scene, event, group_event};
use crate::harness::world::OURS;

// Ends of the guard's sentences.
const NAME: &str = "reports and changes events in no name but its own";
const DELETE: &str = "deletes no events";
const METADATA: &str = "no owner, no label and no annotation of an event";
const OUTSIDE: &str = "reports about no object outside of the event's namespace";

/// All attempts.
pub fn rows(scene: &Scene) -> Vec<Row> {
    let mut rows = new(scene);
    rows.extend(stored(scene));
    rows.extend(core(scene));
    rows
}

/// Metadata on which the control plane acts: a finalizer keeps an event, and so its namespace, from
/// being deleted, and the garbage collector follows owners.
fn metadata() -> [(&'static str, Value); 4] {
    let owner = json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "1" }]);
    [
        ("a finalizer", json!({ "finalizers": ["x.io/y"] })),
        ("an owner", json!({ "ownerReferences": owner })),
        ("a label", json!({ "labels": { "x": "y" } })),
        ("an annotation", json!({ "annotations": { "x": "y" } })),
    ]
    .map(|(attempt, fields)| (attempt, json!({ "metadata": fields })))
}

fn new(scene: &Scene) -> Vec<Row> {
    let namespace = &scene.managed;
    let path = |namespace: &str| format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
    let with = |overlay: &Value| {
        let mut event = group_event(namespace, OURS);
        lay_over(&mut event, overlay);
        event
    };
    let mut node = group_event("default", OURS);
    node["regarding"] = json!({ "apiVersion": "v1", "kind": "Node", "name": "n" });
    let deprecated = json!({ "deprecatedSource": { "component": "kubelet" } });
    let mut rows = vec![
        post("ours", &path(namespace), with(&json!({}))).allowed(),
        post(
            "as the kubelet",
            &path(namespace),
            group_event(namespace, "kubelet"),
        )
        .guarded(EVENTS, NAME),
        post(
            "deprecatedSource kubelet",
            &path(namespace),
            with(&deprecated),
        )
        .refused(422, "source: Invalid value"),
        post("about a node", &path("default"), node).guarded(EVENTS, OUTSIDE),
    ];
    rows.extend(metadata().into_iter().map(|(attempt, overlay)| {
        post(&format!("with {attempt}"), &path(namespace), with(&overlay)).guarded(EVENTS, METADATA)
    }));
    rows
}

fn stored(scene: &Scene) -> Vec<Row> {
    let Scene {
        victim, managed, ..
    } = scene;
    let path = |namespace: &str, name: &str| {
        format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events/{name}")
    };
    let (ours, theirs) = (path(managed, "ours"), path(victim, "kubelet-said"));
    let series = json!({ "series": {
        "count": 2,
        "lastObservedTime": "2026-01-01T00:00:01.000000Z",
    } });
    let mut taken_over = series.clone();
    taken_over["reportingController"] = json!(OURS);
    let mut rows = vec![
        merge_patch("ours, counted up", &ours, series.clone()).allowed(),
        merge_patch("the kubelet's, reworded", &theirs, json!({ "note": "y" }))
            .refused(422, "field is immutable"),
        merge_patch("the kubelet's, counted up", &theirs, series).guarded(EVENTS, NAME),
        merge_patch("the kubelet's, taken over", &theirs, taken_over)
            .refused(422, "field is immutable"),
        delete("delete one", &theirs).no_right(Verdict::Guard(EVENTS, DELETE)),
        get(
            "read them",
            &format!("/apis/events.k8s.io/v1/namespaces/{victim}/events"),
        )
        .no_right(Verdict::Allowed),
    ];
    rows.extend(metadata().into_iter().map(|(attempt, overlay)| {
        merge_patch(&format!("ours, {attempt}"), &ours, overlay).guarded(EVENTS, METADATA)
    }));
    rows
}

/// The same objects by the core API, where nothing but RBAC limits our account.
fn core(scene: &Scene) -> Vec<Row> {
    let Scene {
        victim, managed, ..
    } = scene;
    let path = |namespace: &str| format!("/api/v1/namespaces/{namespace}/events");
    let theirs = format!("{}/kubelet-said", path(victim));
    let source = json!({ "source": { "component": OURS } });
    vec![
        post("core, ours", &path(managed), event(managed, OURS)).no_right(Verdict::Allowed),
        post(
            "core, as the kubelet",
            &path(managed),
            event(managed, "kubelet"),
        )
        .no_right(Verdict::Allowed),
        merge_patch("core, the kubelet's, taken over", &theirs, source).no_right(Verdict::Allowed),
        delete("core, delete one", &theirs).no_right(Verdict::Allowed),
        get("core, list them", &path(victim)).allowed(),
        get("core, read one", &theirs).no_right(Verdict::Allowed),
    ]
}
