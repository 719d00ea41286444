//! Which Secrets the earliest expiry leaves out.

use super::*;

#[test]
fn withheld_secret_does_not_pin_earliest_expiry() {
    let mut scene = Scene::of(&secret(1));
    let earliest = |scene: &Scene| scene.0.earliest_expiry(|_, _| true);
    scene.0.refuses(&team(), 2);
    assert_eq!(earliest(&scene), Some(at(1000)), "another version");
    let edition = scene.0.edition();
    scene.0.refuses(&team(), 1);
    assert_eq!(earliest(&scene), None);
    // Its token still opens the registry, and no Secret is stale because of it.
    assert!(scene.serves(HOST, 500) && scene.0.edition() == edition);
    // A list brings the same version again.
    scene.0.begin_list(&team().secret);
    scene.saw(&secret(1));
    scene.0.end_list(&team().secret);
    assert_eq!(earliest(&scene), None);
    scene.saw(&secret(2));
    assert_eq!(earliest(&scene), Some(at(1000)));
}

#[test]
fn annotations_of_another_do_not_pin_earliest_expiry() {
    let mut redescribed = secret(1);
    let fields = json!({ "f:metadata": { "f:annotations": {
        format!("f:{}", annotation::LIFETIMES): {},
    }}});
    redescribed.managed_fields.push(("kubectl-edit", fields));
    let scene = Scene::of(&redescribed);
    assert_eq!(scene.0.earliest_expiry(|_, _| true), None);
}
