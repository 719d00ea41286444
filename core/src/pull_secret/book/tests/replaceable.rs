//! Secrets that a write replaces without a read.

use super::*;

const UID: &str = "0b1c2d3e-4f50-4617-8899-aabbccddeeff";

/// The managed fields of a manager that owns one of our annotations, maybe beside others.
fn owner_of_registries(manager: &'static str) -> (&'static str, Value) {
    let name = format!("f:{}", annotation::REGISTRIES);
    let fields = json!({ "f:metadata": { "f:annotations": { name: {} } } });
    (manager, fields)
}

/// A Secret of ours as a write leaves it.
fn exclusive(version: u64) -> Sample {
    let mut secret = secret(version);
    secret.uid = Some(UID);
    secret.annotate(annotation::EXCLUSIVE, "true");
    secret
}

fn replaceable(sample: &Sample, grants: &[Grant]) -> Option<ObjectVersion> {
    let Scene(book) = Scene::of(sample);
    book.replaceable(&team(), grants, Timestamp::MIN, at(500))
}

#[test]
fn exclusive_secret_is_replaced_unread_by_whole_grants() {
    let base = replaceable(&exclusive(7), &[grant(HOST, 2000)]).unwrap();
    assert_eq!(base.uid, UID);
    assert_eq!(base.version, "7");
    let both = [grant(SECOND, 2000), grant(HOST, 1000)];
    assert!(replaceable(&exclusive(7), &both).is_some());
}

#[test]
fn secret_is_read_where_a_write_could_harm() {
    let newer = [grant(HOST, 2000)];
    assert_eq!(replaceable(&secret(7), &newer), None, "not marked");
    assert_eq!(replaceable(&exclusive(7), &[grant(HOST, 999)]), None);
    assert_eq!(replaceable(&exclusive(7), &[grant(SECOND, 2000)]), None);
    assert_eq!(replaceable(&exclusive(7), &[]), None);
    assert_eq!(replaceable(&exclusive(0), &newer), None, "no version");
    let changes: [fn(&mut Sample); 6] = [
        // The annotations describe nothing, so the grants could not replace what is there.
        |secret| {
            secret.annotations.remove(annotation::LIFETIMES);
        },
        |secret| {
            let manager = owner_of_registries("kubectl-annotate");
            secret.managed_fields.push(manager);
        },
        |secret| secret.uid = None,
        |secret| secret.labels.clear(),
        |secret| secret.managed_fields = vec![owner_of_data("kubectl-edit")],
        |secret| {
            // A host that is not an ECR host is in no row.
            for (name, more) in [
                (annotation::REGISTRIES, ",example.com"),
                (annotation::LIFETIMES, ",1970-01-01T00:00:00Z"),
            ] {
                let value = secret.annotations.entry(name.to_owned());
                value.or_default().push_str(more);
            }
        },
    ];
    for change in changes {
        let mut changed = exclusive(7);
        change(&mut changed);
        assert_eq!(replaceable(&changed, &newer), None, "{changed:?}");
        assert_eq!(replaceable(&changed, &[]), None, "{changed:?}");
    }
    // A manager that sets an annotation to our value owns it beside us.
    let mut restored = exclusive(7);
    let managers = [OWNER, "velero"].map(owner_of_registries);
    restored.managed_fields.extend(managers);
    assert!(replaceable(&restored, &newer).is_some());
    let mut scene = Scene::of(&exclusive(7));
    scene.lost(8);
    assert_eq!(
        scene
            .0
            .replaceable(&team(), &newer, Timestamp::MIN, at(500)),
        None
    );
}

#[test]
fn implausible_expiry_does_not_force_a_read() {
    let mut claims = exclusive(7);
    let lifetimes = format!("{}/{}", at(0), at(1_000_000));
    claims.annotate(annotation::LIFETIMES, &lifetimes);
    assert!(replaceable(&claims, &[grant(HOST, 2000)]).is_some());
}
