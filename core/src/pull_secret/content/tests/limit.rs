//! A Secret has at most a hundred registries.

use super::*;

#[test]
fn registry_after_the_hundredth_is_refused() {
    let hundred: Vec<Grant> = (0..100)
        .map(|number| grant(number, "old", 0, 12 * HOUR))
        .collect();
    let full = first(&hundred);
    assert_eq!(config(&full).hosts().count(), 100);
    assert!(full.refused.is_empty());

    let more = merge_again(
        &full,
        &[
            grant(100, "new", 0, 13 * HOUR),
            grant(7, "new", 0, 13 * HOUR),
        ],
    );
    assert_eq!(more.refused, [registry(100)]);
    assert_eq!(config(&more).hosts().count(), 100);
    assert_eq!(config(&more).auth(&host(100)), None);
    assert_eq!(config(&more).auth(&host(7)), Some(auth("new").as_str()));
}

/// A caller that reaches the webhook can name a hundred registries for a namespace. They expire.
#[test]
fn expired_entry_of_a_full_secret_makes_room() {
    let hundred: Vec<Grant> = (0..100)
        .map(|number| grant(number, "old", 0, if number < 2 { HOUR } else { 12 * HOUR }))
        .collect();
    let full = first(&hundred);
    let more = [0, 100, 101].map(|number| grant(number, "new", 2 * HOUR, 14 * HOUR));
    let merged = merge(
        config(&full),
        read(&full),
        &more,
        Timestamp::MIN,
        at(2 * HOUR),
    );
    assert_eq!(merged.refused, [registry(101)]);
    let now = config(&merged);
    assert_eq!(now.hosts().count(), 100);
    assert_eq!(now.auth(&host(1)), None);
    assert_eq!(merged.content.described.0.len(), 100);
    for number in [0, 100] {
        assert_eq!(now.auth(&host(number)), Some(auth("new").as_str()));
    }
}

#[test]
fn other_hosts_do_not_count_towards_the_limit() {
    let mut foreign = DockerConfig::default();
    for number in 0..150 {
        foreign.set_auth(&format!("registry-{number}.example.com"), &auth("theirs"));
    }
    let merged = merge(
        foreign,
        Described::default(),
        &[grant(1, "ours", 0, 12 * HOUR)],
        Timestamp::MIN,
        NOW,
    );
    assert!(merged.refused.is_empty());
    assert_eq!(config(&merged).hosts().count(), 151);
}

/// It was adopted: its entries stay and are renewed, and it gets no more.
#[test]
fn secret_beyond_the_limit_keeps_its_registries() {
    let mut many = DockerConfig::default();
    for number in 0..120 {
        many.set_auth(&host(number), &auth("old"));
    }
    let grants = [
        grant(3, "new", 0, 12 * HOUR),
        grant(200, "new", 0, 12 * HOUR),
    ];
    let merged = merge(many, Described::default(), &grants, Timestamp::MIN, NOW);
    assert_eq!(config(&merged).hosts().count(), 120);
    assert_eq!(config(&merged).auth(&host(3)), Some(auth("new").as_str()));
    assert_eq!(merged.refused, [registry(200)]);
}
