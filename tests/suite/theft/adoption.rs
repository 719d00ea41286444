//! Attempts to make another owner's pull Secret ours, which its replacement or deletion would follow.

use serde_json::{Value, json};

use super::request::{Row, SECRETS, delete, force_apply, lay_over, merge_patch};
use super::scene::{Scene, pull_secret};
use super::secrets::{ANNOTATION, MARK, TYPE, path};
use crate::harness::namespace::SECRET;

/// Annotation by which a user asks for adoption.
pub const WISH: &str = "ecr-pull-secrets.dev/adopt";
/// End of the guard's sentence for another owner's Secret.
const ADOPT: &str = "adopts no Secret but as secret.adopt says";

/// Attempts beside `secret.adopt: ecr-only`.
pub fn rows(scene: &Scene) -> Vec<Row> {
    let Scene {
        managed,
        foreign,
        opaque,
        wider,
        ..
    } = scene;
    let wish = json!({ "metadata": { "annotations": { WISH: "true" } } });
    let mut labelled_wish = wish.clone();
    lay_over(&mut labelled_wish, &label());
    let (foreign, wider) = (path(foreign, SECRET), path(wider, SECRET));
    vec![
        // A policy cannot decode a Secret.
        merge_patch("label another owner's", &foreign, label()).allowed(),
        merge_patch("label one with another key", &wider, label()).guarded(SECRETS, ADOPT),
        force_apply("adopt one with another key", &wider, pull_secret()).guarded(SECRETS, ADOPT),
        merge_patch("label one of another type", &path(opaque, SECRET), label())
            .guarded(SECRETS, TYPE),
        merge_patch(
            "ask for adoption in the user's name",
            &foreign,
            wish.clone(),
        )
        .guarded(SECRETS, MARK),
        merge_patch("the same, with our label", &foreign, labelled_wish)
            .guarded(SECRETS, ANNOTATION),
        merge_patch("the same of ours", &path(managed, SECRET), wish).guarded(SECRETS, ANNOTATION),
    ]
}

/// Attempts with `secret.adopt: annotated`, and what a user asked for. The guard has this name.
pub fn annotated(scene: &Scene, guard: &'static str) -> Vec<Row> {
    let (foreign, offered) = (path(&scene.foreign, SECRET), path(&scene.offered, SECRET));
    vec![
        merge_patch("label another owner's", &foreign, label()).guarded(guard, ADOPT),
        force_apply("write over another owner's", &foreign, pull_secret()).guarded(guard, ADOPT),
        merge_patch("label one that is offered", &offered, label()).allowed(),
        force_apply("adopt one that is offered", &offered, pull_secret()).allowed(),
    ]
}

/// Attempts with `secret.adopt: never`: a thief can label no Secret of another owner, and so delete none. The guard has
/// this name.
pub fn never(scene: &Scene, guard: &'static str) -> Vec<Row> {
    let secrets = [
        ("another owner's", &scene.foreign),
        ("one that is offered", &scene.offered),
    ];
    let rows = secrets.map(|(whose, namespace)| {
        let secret = path(namespace, SECRET);
        [
            merge_patch(&format!("label {whose}"), &secret, label()).guarded(guard, ADOPT),
            force_apply(&format!("write over {whose}"), &secret, pull_secret())
                .guarded(guard, ADOPT),
            delete(&format!("delete {whose} without our label"), &secret).guarded(guard, MARK),
        ]
    });
    rows.concat()
}

/// The theft of another owner's Secret, for real: label it, then delete it. With a guard of this name, both
/// steps fail.
pub fn label_then_delete(secret: &str, guard: Option<&'static str>) -> [Row; 2] {
    let steps = [
        (merge_patch("label another owner's", secret, label()), ADOPT),
        (delete("then delete it", secret), MARK),
    ];
    steps.map(|(step, says)| match guard {
        Some(guard) => step.for_real().guarded(guard, says),
        None => step.for_real().allowed(),
    })
}

fn label() -> Value {
    json!({ "metadata": { "labels": { "app.kubernetes.io/managed-by": "ecr-pull-secrets" } } })
}
