//! Attempts on events: people and controllers act on their text.

use serde_json::{Value, json};

use super::request::{EVENTS, Row, Verdict, delete, get, merge_patch, post};
use super::scene::{Scene, event};
use crate::harness::world::OURS;

// Ends of the guard's sentences.
const NAME: &str = "reports events in no name but its own";
const THEIRS: &str = "changes no events but its own";
const DELETE: &str = "deletes no events";

/// All attempts.
pub fn rows(scene: &Scene) -> Vec<Row> {
    let mut rows = new(scene);
    rows.extend(stored(scene));
    rows
}

fn new(scene: &Scene) -> Vec<Row> {
    let namespace = &scene.managed;
    let core = format!("/api/v1/namespaces/{namespace}/events");
    let group = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
    let ours = event(namespace, OURS);
    let mut component = ours.clone();
    component["reportingComponent"] = json!("kubelet");
    let mut unnamed = ours.clone();
    unnamed["source"] = json!({});
    let mut deprecated = group_event(namespace, OURS);
    deprecated["deprecatedSource"] = json!({ "component": "kubelet" });
    vec![
        post("events.k8s.io, ours", &group, group_event(namespace, OURS)).allowed(),
        post("core, ours", &core, ours).allowed(),
        post(
            "events.k8s.io, as the kubelet",
            &group,
            group_event(namespace, "kubelet"),
        )
        .guarded(EVENTS, NAME),
        post(
            "events.k8s.io, deprecatedSource kubelet",
            &group,
            deprecated,
        )
        .refused(422, "source: Invalid value"),
        post("core, as the kubelet", &core, event(namespace, "kubelet")).guarded(EVENTS, NAME),
        post("core, reportingComponent kubelet", &core, component).guarded(EVENTS, NAME),
        post("core, without a source", &core, unnamed).guarded(EVENTS, NAME),
    ]
}

fn stored(scene: &Scene) -> Vec<Row> {
    let Scene {
        victim, managed, ..
    } = scene;
    let ours = format!("/api/v1/namespaces/{managed}/events/ours");
    let theirs = format!("/api/v1/namespaces/{victim}/events/kubelet-said");
    let by_group = format!("/apis/events.k8s.io/v1/namespaces/{victim}/events/kubelet-said");
    let source = |component: &str| json!({ "source": { "component": component } });
    let series = json!({ "count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z" });
    vec![
        merge_patch("ours, counted up", &ours, json!({ "count": 2 })).allowed(),
        merge_patch("ours, handed to the kubelet", &ours, source("kubelet")).guarded(EVENTS, NAME),
        merge_patch(
            "the kubelet's, reworded",
            &theirs,
            json!({ "message": "y" }),
        )
        .guarded(EVENTS, NAME),
        merge_patch("the kubelet's, taken over", &theirs, source(OURS)).guarded(EVENTS, THEIRS),
        merge_patch(
            "the kubelet's, reworded by events.k8s.io",
            &by_group,
            json!({ "note": "y" }),
        )
        .refused(422, "field is immutable"),
        merge_patch(
            "the kubelet's, counted up by events.k8s.io",
            &by_group,
            json!({ "series": series }),
        )
        .guarded(EVENTS, NAME),
        delete("delete one", &theirs).no_right(Verdict::Guard(EVENTS, DELETE)),
        get("read them", &format!("/api/v1/namespaces/{victim}/events")).no_right(Verdict::Allowed),
    ]
}

fn group_event(namespace: &str, speaker: &str) -> Value {
    json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": { "generateName": "event-", "namespace": namespace },
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": speaker,
        "reportingInstance": "x",
        "action": "a",
        "reason": "r",
        "regarding": {
            "apiVersion": "v1",
            "kind": "Secret",
            "namespace": namespace,
            "name": "x",
        },
        "note": "n",
        "type": "Normal",
    })
}
