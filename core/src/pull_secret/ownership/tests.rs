use super::*;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

const ECR: &str =
    r#"{"auths": {"123456789012.dkr.ecr.eu-central-1.amazonaws.com": {"auth": "QVdTOng="}}}"#;
const MIXED: &str =
    r#"{"auths": {"123456789012.dkr.ecr.eu-central-1.amazonaws.com": {}, "ghcr.io": {}}}"#;
const MALFORMED: &str = r#"{"auths": {"ghcr.io": {"auth": "%%%"}}}"#;

const EVERY_ADOPT: [Adopt; 4] = [Adopt::Never, Adopt::Annotated, Adopt::EcrOnly, Adopt::All];

fn map(name: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(name.to_owned(), value.to_owned())])
}

/// Another owner's docker config, as `kubectl create secret docker-registry` makes it.
fn foreign(docker_config: &str) -> Existing<'_> {
    Existing {
        secret_type: SECRET_TYPE,
        keys: vec![DATA_KEY],
        docker_config: docker_config.as_bytes(),
        ..Existing::default()
    }
}

fn parsed(text: &str) -> DockerConfig {
    DockerConfig::parse(text.as_bytes()).unwrap()
}

#[test]
fn label_and_annotation_names_are_fixed() {
    assert_eq!(MANAGED_BY, "app.kubernetes.io/managed-by");
    assert_eq!(OWNER, "ecr-pull-secrets");
    assert_eq!(annotation::ADOPT, "ecr-pull-secrets.dev/adopt");
}

#[test]
fn only_our_label_makes_a_secret_ours() {
    let ours = map(MANAGED_BY, OWNER);
    let helm = map(MANAGED_BY, "Helm");
    let near = map("app.kubernetes.io/name", OWNER);
    assert!(
        Existing {
            labels: Some(&ours),
            ..foreign(ECR)
        }
        .is_labelled_ours()
    );
    for labels in [None, Some(&helm), Some(&near)] {
        assert!(
            !Existing {
                labels,
                ..foreign(ECR)
            }
            .is_labelled_ours()
        );
    }
}

#[test]
fn labelled_secret_is_ours_with_any_content() {
    let labels = map(MANAGED_BY, OWNER);
    for adopt in EVERY_ADOPT {
        for (content, kept) in [
            (ECR, parsed(ECR)),
            (MIXED, parsed(MIXED)),
            (MALFORMED, DockerConfig::default()),
            ("", DockerConfig::default()),
        ] {
            let secret = Existing {
                labels: Some(&labels),
                ..foreign(content)
            };
            assert_eq!(
                ownership(&secret, adopt),
                Ownership::Ours(kept),
                "{content}"
            );
        }
    }
}

#[test]
fn foreign_secret_is_adopted_as_configured() {
    let asked = map(annotation::ADOPT, "true");
    let cases = [
        // annotation, content: never, annotated, ecr-only, all
        (None, ECR, [false, false, true, true]),
        (None, MIXED, [false, false, false, true]),
        (None, "{}", [false, false, false, true]),
        (Some(&asked), ECR, [false, true, true, true]),
        (Some(&asked), MIXED, [false, true, true, true]),
        (Some(&asked), "{}", [false, true, true, true]),
    ];
    for (annotations, content, taken) in cases {
        for (adopt, taken) in EVERY_ADOPT.into_iter().zip(taken) {
            let wanted = if taken {
                Ownership::Adopted(parsed(content))
            } else {
                Ownership::Foreign(Cause::ForeignOwner)
            };
            let secret = Existing {
                annotations,
                ..foreign(content)
            };
            assert_eq!(
                ownership(&secret, adopt),
                wanted,
                "{adopt:?} {annotations:?} {content}"
            );
        }
    }
}

#[test]
fn only_annotation_value_true_allows_adoption() {
    for value in ["", "false", "True", "yes", "1", " true"] {
        let annotations = map(annotation::ADOPT, value);
        let secret = Existing {
            annotations: Some(&annotations),
            ..foreign(MIXED)
        };
        assert_eq!(
            ownership(&secret, Adopt::Annotated),
            Ownership::Foreign(Cause::ForeignOwner),
            "{value}"
        );
        assert_eq!(secret.annotation(annotation::ADOPT), Some(value));
        assert_eq!(secret.annotation("other"), None);
    }
}

/// Server-side apply would keep the other keys, in a Secret that is then ours.
#[test]
fn secret_with_other_keys_is_not_adopted() {
    for keys in [vec![DATA_KEY, "password"], vec!["a"], vec!["a", DATA_KEY]] {
        let secret = Existing {
            keys: keys.clone(),
            ..foreign(ECR)
        };
        assert_eq!(
            ownership(&secret, Adopt::All),
            Ownership::Foreign(Cause::ForeignOwner),
            "{keys:?}"
        );
    }
}

#[test]
fn each_foreign_secret_gets_its_cause() {
    let labels = map(MANAGED_BY, OWNER);
    for labels in [None, Some(&labels)] {
        for adopt in EVERY_ADOPT {
            let with = |secret: Existing<'_>| ownership(&Existing { labels, ..secret }, adopt);
            for secret_type in ["Opaque", "", "kubernetes.io/service-account-token"] {
                let secret = Existing {
                    secret_type,
                    immutable: true,
                    ..foreign(MALFORMED)
                };
                assert_eq!(
                    with(secret),
                    Ownership::Foreign(Cause::ForeignType),
                    "{secret_type}"
                );
            }
            let immutable = |content| {
                with(Existing {
                    immutable: true,
                    ..foreign(content)
                })
            };
            assert_eq!(immutable(ECR), Ownership::Foreign(Cause::ForeignImmutable));
            assert_eq!(
                immutable(MALFORMED),
                Ownership::Foreign(Cause::ForeignMalformed)
            );
        }
    }
    for adopt in EVERY_ADOPT {
        assert_eq!(
            ownership(&foreign(MALFORMED), adopt),
            Ownership::Foreign(Cause::ForeignMalformed)
        );
    }
}

/// The kubelet reads this type, too, and one that does not decode fails every pull of a pod.
#[test]
fn legacy_secret_is_foreign_and_may_be_malformed() {
    let good = r#"{"ghcr.io": {"auth": "QVdTOng="}}"#;
    let long = format!(
        r#"{{"ghcr.io": {{"email": "{}"}}}}"#,
        "x".repeat(MAX_CONFIG_BYTES)
    );
    let labels = map(MANAGED_BY, OWNER);
    for (content, cause) in [
        (good, Cause::ForeignType),
        ("", Cause::ForeignType),
        (r#"{"ghcr.io": {"auth": "%%%"}}"#, Cause::ForeignMalformed),
        ("[]", Cause::ForeignMalformed),
        (&long, Cause::ForeignType),
        (&long[1..], Cause::ForeignMalformed),
    ] {
        for labels in [None, Some(&labels)] {
            let secret = Existing {
                secret_type: LEGACY_SECRET_TYPE,
                keys: vec![crate::pull_secret::LEGACY_DATA_KEY],
                labels,
                ..foreign(content)
            };
            for adopt in EVERY_ADOPT {
                assert_eq!(
                    ownership(&secret, adopt),
                    Ownership::Foreign(cause),
                    "{content:.40}"
                );
            }
        }
    }
}

proptest! {
    /// Without the consent of its owner or the operator, no Secret is adopted that has another
    /// credential to lose.
    #[test]
    fn adopted_secret_is_labelled_annotated_or_ecr_only(
        secret_type in select(vec![SECRET_TYPE, "Opaque"]),
        immutable in any::<bool>(),
        label in proptest::option::of(select(vec![OWNER, "Helm"])),
        annotated in any::<bool>(),
        keys in subsequence(vec![DATA_KEY, "a"], 0..=2),
        content in select(vec![ECR, MIXED, MALFORMED, "{}", ""]),
        adopt in select(EVERY_ADOPT.to_vec()),
    ) {
        let labels = label.map(|owner| map(MANAGED_BY, owner));
        let annotations = annotated.then(|| map(annotation::ADOPT, "true"));
        let secret = Existing {
            secret_type,
            immutable,
            labels: labels.as_ref(),
            annotations: annotations.as_ref(),
            keys: keys.clone(),
            docker_config: content.as_bytes(),
        };
        match ownership(&secret, adopt) {
            Ownership::Foreign(_) => {}
            taken => {
                prop_assert!(secret_type == SECRET_TYPE && !immutable);
                let ours = label == Some(OWNER);
                prop_assert_eq!(matches!(taken, Ownership::Ours(_)), ours);
                prop_assert!(ours || !keys.contains(&"a"));
                prop_assert!(ours || adopt != Adopt::Never);
                prop_assert!(ours || annotated || adopt == Adopt::All || content == ECR);
            }
        }
    }
}

/// A tenant can fill a Secret with 1 MiB.
#[test]
fn content_beyond_the_limits_is_never_parsed() {
    let long = format!(
        r#"{{"ghcr.io":{{"email":"{}"}}}}"#,
        "x".repeat(MAX_CONFIG_BYTES)
    );
    // In 512 KiB, such values took 49 MiB.
    let values = vec![r#"{"":0}"#; MAX_CONFIG_VALUES / 2].join(",");
    assert!(values.len() < MAX_CONFIG_BYTES / 8);
    let many = format!(r#"{{"auths":{{}},"x":[{values}]}}"#);
    let entries: Vec<String> = (0..60_000)
        .map(|number| format!("\"{number}\":{{}}"))
        .collect();
    let both = format!("{{\"auths\":{{{}}}}}", entries.join(","));
    assert!(both.len() > MAX_CONFIG_BYTES && parsed(&both).hosts().count() == 60_000);
    for content in [long, many, both] {
        assert_unparsed(&content);
    }
}

fn assert_unparsed(content: &str) {
    parsed(content);
    for adopt in EVERY_ADOPT {
        assert_eq!(
            ownership(&foreign(content), adopt),
            Ownership::Foreign(Cause::ForeignOwner)
        );
        let cut = &content[..content.len() - 1];
        let malformed = Ownership::Foreign(Cause::ForeignMalformed);
        assert_eq!(ownership(&foreign(cut), adopt), malformed);
        let ours = map(MANAGED_BY, OWNER);
        let mut existing = Existing {
            labels: Some(&ours),
            ..foreign(content)
        };
        assert_eq!(
            ownership(&existing, adopt),
            Ownership::Ours(DockerConfig::default())
        );
        existing.immutable = true;
        assert_eq!(
            ownership(&existing, adopt),
            Ownership::Foreign(Cause::ForeignOwner)
        );
    }
}
