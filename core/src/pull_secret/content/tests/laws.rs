//! Laws of every merge: no entry gets lost or older, and all of them can be read back.

use super::*;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// The content of a Secret of ours, of an edited one and of a foreign one.
fn configs() -> impl Strategy<Value = DockerConfig> {
    let hosts = prop_oneof![
        3 => (0..6_usize).prop_map(host),
        1 => select(vec!["ghcr.io", "https://index.docker.io/v1/", "*.dkr.ecr.eu-central-1.amazonaws.com", "a,b"])
            .prop_map(str::to_owned),
    ];
    let entries = prop_oneof![
        3 => "[a-z]{1,4}".prop_map(|password| json!({"auth": auth(&password)})),
        1 => Just(json!({"auth": BASE64_STANDARD.encode("joe:x"), "email": "joe@example.com", "future": [1]})),
        1 => Just(json!({"username": "AWS", "password": "x"})),
        1 => Just(json!({})),
        1 => Just(Value::Null),
    ];
    let rest = select(vec![
        json!({}),
        json!({"HttpHeaders": {"User-Agent": "x"}, "credHelpers": {"x": "y"}}),
        json!({"future": {"a": [1, null]}}),
    ]);
    (option::of(btree_map(hosts, entries, 0..8)), rest).prop_map(|(auths, mut all)| {
        if let Some(auths) = auths {
            all["auths"] = json!(auths);
        }
        DockerConfig::parse(all.to_string().as_bytes()).unwrap()
    })
}

fn identities() -> impl Strategy<Value = Arc<str>> {
    select(vec![
        "ambient",
        "arn:aws:iam::123456789012:role/pull",
        "arn:aws:iam::123456789012:role/path/a+b=c,d.e@f_g-h",
    ])
    .prop_map(Arc::from)
}

/// Descriptions of some hosts of the config, and of some that it lacks.
fn descriptions() -> impl Strategy<Value = Described> {
    // Some claim an expiry that no token of ECR has.
    let ends = prop_oneof![4 => 0..50_i64, 1 => 24 * HOUR + 1..99 * HOUR];
    let entry = (0..50_i64, ends, identities()).prop_map(|(minted_at, expires_at, identity)| {
        DescribedEntry {
            lifetime: Lifetime {
                minted_at: at(minted_at),
                expires_at: at(expires_at),
            },
            identity,
        }
    });
    btree_map((0..8_usize).prop_map(host), entry, 0..6).prop_map(Described)
}

fn grants() -> impl Strategy<Value = Vec<Grant>> {
    let grant = (
        (0..8_usize),
        "[a-z]{1,4}",
        (0..50_i64),
        (1..50_i64),
        identities(),
    )
        .prop_map(|(number, password, minted_at, life, identity)| Grant {
            identity,
            ..grant(number, &password, minted_at, minted_at + life)
        });
    vec(grant, 0..8)
}

/// The same under rules with one identity.
fn of_one_identity(mut grants: Vec<Grant>) -> Vec<Grant> {
    grants
        .iter_mut()
        .for_each(|grant| grant.identity = "ambient".into());
    grants
}

fn described_with_one_identity(mut described: Described) -> Described {
    let mut entries = described.0.values_mut();
    entries.all(|entry| {
        entry.identity = "ambient".into();
        true
    });
    described
}

/// Hosts with the expiry of their tokens: what the next pod uses.
fn ends(merged: &Merged) -> BTreeMap<String, Timestamp> {
    merged
        .content
        .described
        .0
        .iter()
        .map(|(host, entry)| (host.clone(), entry.lifetime.expires_at))
        .collect()
}

proptest! {
    #[test]
    fn hosts_are_the_old_and_the_granted(
        old in configs(), described in descriptions(), grants in grants(),
    ) {
        let wanted: BTreeSet<String> = old
            .hosts()
            .chain(grants.iter().map(|grant| grant.registry.host()))
            .map(str::to_owned)
            .collect();
        let merged = merge(old, described, &grants, Timestamp::MIN, NOW);
        let hosts: BTreeSet<String> = config(&merged).hosts().map(str::to_owned).collect();
        prop_assert_eq!(hosts, wanted);
        prop_assert!(merged.refused.is_empty());
    }

    #[test]
    fn no_token_expires_sooner_than_before(
        old in configs(),
        described in descriptions().prop_map(described_with_one_identity),
        grants in grants().prop_map(of_one_identity),
    ) {
        let merged = merge(old.clone(), described.clone(), &grants, Timestamp::MIN, NOW);
        let ends = ends(&merged);
        for (host, entry) in described.0 {
            let is_believable = entry.lifetime.expires_at <= at(24 * HOUR);
            if old.has_ecr_credentials(&host) && is_believable {
                prop_assert!(ends[&host] >= entry.lifetime.expires_at);
            }
        }
        for grant in &grants {
            prop_assert!(ends[grant.registry.host()] >= grant.token.expires_at);
            prop_assert!(ends[grant.registry.host()] <= at(24 * HOUR));
        }
    }

    /// A writer that replaces the marked Secret by the description alone loses nothing.
    #[test]
    fn marked_secret_holds_only_described_entries(
        old in configs(), described in descriptions(), grants in grants(),
    ) {
        let merged = merge(old, described, &grants, Timestamp::MIN, NOW);
        let is_marked = merged.content.annotations.contains_key(annotation::EXCLUSIVE);
        let content: Value = serde_json::from_str(merged.content.docker_config.expose_secret()).unwrap();
        let described = &merged.content.described.0;
        let is_exclusive = !described.is_empty() && described.keys().all(|host| {
            let entry = content["auths"][host].as_object().unwrap();
            entry.len() == 1 && entry["auth"].is_string()
        }) && content["auths"].as_object().unwrap().len() == described.len()
            && content.as_object().unwrap().len() == 1;
        prop_assert_eq!(is_marked, is_exclusive);
    }

    /// The description of one token must not be given to another.
    #[test]
    fn every_entry_is_old_or_granted(
        old in configs(), described in descriptions(), grants in grants(),
    ) {
        let merged = merge(old.clone(), described.clone(), &grants, Timestamp::MIN, NOW);
        let new = config(&merged);
        for host in new.hosts() {
            let told = merged.content.described.0.get(host);
            let kept = new.auth(host) == old.auth(host)
                && told == described.0.get(host).filter(|_| old.has_ecr_credentials(host));
            let given = grants.iter().any(|grant| {
                let entry = DescribedEntry {
                    lifetime: Lifetime { minted_at: grant.token.minted_at, expires_at: grant.token.expires_at },
                    identity: grant.identity.clone(),
                };
                grant.registry.host() == host
                    && new.auth(host) == Some(grant.token.expose_authorization())
                    && told == Some(&entry)
            });
            prop_assert!(kept || given, "{}", host);
        }
    }

    #[test]
    fn kubelet_can_parse_every_entry(
        old in configs(), described in descriptions(), grants in grants(),
    ) {
        let merged = merge(old, described, &grants, Timestamp::MIN, NOW);
        let content: Value = serde_json::from_str(merged.content.docker_config.expose_secret()).unwrap();
        prop_assert!(content["auths"].is_object());
        for (host, entry) in content["auths"].as_object().unwrap() {
            if let Some(auth) = entry.get("auth") {
                let pair = BASE64_STANDARD.decode(auth.as_str().unwrap()).unwrap();
                prop_assert!(pair.contains(&b':'));
            }
            if merged.content.described.0.contains_key(host) {
                prop_assert!(config(&merged).has_ecr_credentials(host));
            }
        }
    }

    #[test]
    fn annotations_round_trip(
        old in configs(), described in descriptions(), grants in grants(),
    ) {
        let merged = merge(old, described, &grants, Timestamp::MIN, NOW);
        prop_assert_eq!(&read(&merged), &merged.content.described);
        for name in merged.content.annotations.keys() {
            prop_assert!(name.starts_with(PREFIX));
        }
    }

    #[test]
    fn same_grants_again_change_nothing(
        old in configs(), described in descriptions(), grants in grants(),
    ) {
        let once = merge(old, described, &grants, Timestamp::MIN, NOW);
        let twice = merge_again(&once, &grants);
        prop_assert_eq!(once.content.docker_config.expose_secret(), twice.content.docker_config.expose_secret());
        prop_assert_eq!(once.content.annotations, twice.content.annotations);
        prop_assert_eq!(once.content.described, twice.content.described);
    }

    #[test]
    fn order_of_two_writers_does_not_matter(
        old in configs(),
        described in descriptions().prop_map(described_with_one_identity),
        one in grants().prop_map(of_one_identity),
        other in grants().prop_map(of_one_identity),
    ) {
        let start = merge(old, described, &[], Timestamp::MIN, NOW);
        let one_first = merge_again(&merge_again(&start, &one), &other);
        let other_first = merge_again(&merge_again(&start, &other), &one);
        let hosts = |merged: &Merged| config(merged).hosts().map(str::to_owned).collect::<Vec<_>>();
        prop_assert_eq!(hosts(&one_first), hosts(&other_first));
        prop_assert_eq!(ends(&one_first), ends(&other_first));
    }

    /// Whatever the entries hold: they are older than the rules.
    #[test]
    fn identity_of_newer_rules_wins(
        old in configs(), described in descriptions(), grants in grants().prop_map(of_one_identity),
    ) {
        let merged = merge(old, described, &grants, at(50), NOW);
        for grant in &grants {
            let entry = &merged.content.described.0[grant.registry.host()];
            prop_assert_eq!(&*entry.identity, "ambient");
        }
    }

    /// The entries are newer than the rules, and work.
    #[test]
    fn older_rules_replace_no_other_identity(
        old in configs(), described in descriptions(), grants in grants().prop_map(of_one_identity),
    ) {
        let merged = merge(old.clone(), described.clone(), &grants, at(0), NOW);
        for (host, entry) in described.0 {
            let is_others = &*entry.identity != "ambient";
            if is_others && old.has_ecr_credentials(&host) && entry.lifetime.serves(NOW) {
                prop_assert_eq!(&merged.content.described.0[&host], &entry);
            }
        }
    }

    #[test]
    fn foreign_content_survives(
        old in configs(), described in descriptions(), grants in grants(),
    ) {
        let before: Value = serde_json::from_str(&old.to_json()).unwrap();
        let merged = merge(old, described, &grants, Timestamp::MIN, NOW);
        let mut after: Value = serde_json::from_str(merged.content.docker_config.expose_secret()).unwrap();
        for (host, entry) in before["auths"].as_object().unwrap() {
            if Registry::of_host(host).is_none() {
                prop_assert_eq!(&after["auths"][host], entry);
            }
        }
        after["auths"] = before["auths"].clone();
        prop_assert_eq!(after, before);
    }

    #[test]
    fn limit_refuses_only_new_registries(
        there in 0..130_usize, numbers in vec(0..200_usize, 0..40),
    ) {
        let mut old = DockerConfig::default();
        for number in 0..there {
            old.set_auth(&host(number), &auth("old"));
        }
        let grants: Vec<Grant> = numbers.iter().map(|number| grant(*number, "new", 0, HOUR)).collect();
        let merged = merge(old, Described::default(), &grants, Timestamp::MIN, NOW);
        let new = config(&merged);
        prop_assert!(new.hosts().count() <= there.max(MAX_REGISTRIES));
        for number in 0..there {
            prop_assert!(new.auth(&host(number)).is_some());
        }
        for registry in &merged.refused {
            prop_assert!(new.auth(registry.host()).is_none());
            prop_assert!(new.hosts().count() >= MAX_REGISTRIES);
        }
        for grant in &grants {
            let in_force = new.auth(grant.registry.host()) == Some(auth("new").as_str());
            prop_assert!(in_force != merged.refused.contains(&grant.registry));
        }
    }

    #[test]
    fn reading_annotations_never_panics(
        format in "1|[0-9]{0,2}", registries in "[a,]{0,6}", identity in "[a ,]{0,6}",
        lifetimes in "([0-9TZ:/,-]{0,30}|1970-01-01T00:00:00Z(/1970-01-02T00:00:00Z)?,?){0,3}",
    ) {
        let described = described(&[
            ("format", &format), ("registries", &registries), ("lifetimes", &lifetimes), ("identity", &identity),
        ]);
        prop_assert!(described.0.len() <= registries.len());
        merge(DockerConfig::default(), described, &[], Timestamp::MIN, NOW);
    }
}
