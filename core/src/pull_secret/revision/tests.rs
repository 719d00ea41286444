use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use secrecy::ExposeSecret as _;

use super::*;
use crate::pull_secret::{DATA_KEY, MANAGED_BY, MAX_REGISTRIES, OWNER, SECRET_TYPE};
use crate::token::Token;

const HOST: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
const SECOND: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
const PATIENCE: Duration = Duration::from_secs(600);

/// A Secret of ours as one write left it.
struct Sample {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    docker_config: String,
}

impl Sample {
    fn new(grants: &[Grant]) -> Self {
        let content = intent(grants, Aim::Serving).whole(at(0)).content;
        let annotations = content.annotations.into_iter();
        Self {
            labels: BTreeMap::from([(MANAGED_BY.to_owned(), OWNER.to_owned())]),
            annotations: annotations
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            docker_config: content.docker_config.expose_secret().to_owned(),
        }
    }

    fn existing(&self) -> Existing<'_> {
        Existing {
            secret_type: SECRET_TYPE,
            immutable: false,
            labels: Some(&self.labels),
            annotations: Some(&self.annotations),
            keys: vec![DATA_KEY],
            docker_config: self.docker_config.as_bytes(),
        }
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A token that lives from 0 to then.
fn grant(host: &str, expires_at: i64) -> Grant {
    let text = BASE64_STANDARD.encode(format!("AWS:{expires_at}"));
    Grant {
        registry: Registry::of_host(host).unwrap(),
        identity: "ambient".into(),
        token: Token::new(text, at(0), Some(at(expires_at))).unwrap(),
    }
}

fn intent(grants: &[Grant], aim: Aim) -> Intent<'_> {
    Intent {
        grants,
        aim,
        adopt: Adopt::EcrOnly,
        patience: PATIENCE,
        since: Timestamp::MIN,
    }
}

fn revision(sample: &Sample, edit: Edit, grants: &[Grant], aim: Aim) -> Revision {
    intent(grants, aim).revision(&sample.existing(), edit, at(100))
}

/// The hosts that a revision writes, each with its expiry, and why.
fn written(revision: Revision) -> (Vec<(String, Timestamp)>, RevisionReason) {
    let Revision::Write(merged, reason) = revision else {
        panic!("{revision:?}");
    };
    let entries = merged.content.described.0.into_iter();
    let entries = entries.map(|(host, entry)| (host, entry.lifetime.expires_at));
    (entries.collect(), reason)
}

#[test]
fn fresh_entry_needs_no_write_for_a_pod() {
    let secret = Sample::new(&[grant(HOST, 1000)]);
    let newer = [grant(HOST, 2000)];
    let serving = revision(&secret, Edit::Absent, &newer, Aim::Serving);
    assert!(matches!(serving, Revision::Unneeded), "{serving:?}");
    let newest = revision(&secret, Edit::Absent, &newer, Aim::Newest);
    let entries = vec![(HOST.to_owned(), at(2000))];
    assert_eq!(written(newest), (entries, RevisionReason::Update));
}

#[test]
fn missing_registry_is_added_to_the_others() {
    let secret = Sample::new(&[grant(HOST, 1000)]);
    let both = [grant(HOST, 2000), grant(SECOND, 2000)];
    let added = revision(&secret, Edit::Absent, &both, Aim::Serving);
    // The entry that serves stays as it is.
    let entries = vec![(SECOND.to_owned(), at(2000)), (HOST.to_owned(), at(1000))];
    assert_eq!(written(added), (entries, RevisionReason::Update));
}

#[test]
fn older_token_is_not_written() {
    let secret = Sample::new(&[grant(HOST, 1000)]);
    let older = revision(&secret, Edit::Absent, &[grant(HOST, 900)], Aim::Newest);
    assert!(matches!(older, Revision::Unneeded), "{older:?}");
}

#[test]
fn stale_entry_stays_where_aws_has_no_better_one() {
    let secret = Sample::new(&[grant(HOST, 105)]);
    let same = revision(&secret, Edit::Absent, &[grant(HOST, 104)], Aim::Serving);
    let Revision::Futile(refused) = same else {
        panic!("{same:?}");
    };
    assert!(refused.is_empty());
}

#[test]
fn registry_beyond_the_limit_is_refused() {
    let full: Vec<Grant> = (0..MAX_REGISTRIES)
        .map(|account| {
            let host = format!("{account:012}.dkr.ecr.us-east-1.amazonaws.com");
            grant(&host, 1000)
        })
        .collect();
    let beyond = [grant(HOST, 1000)];
    let futile = revision(&Sample::new(&full), Edit::Absent, &beyond, Aim::Serving);
    let Revision::Futile(refused) = futile else {
        panic!("{futile:?}");
    };
    assert_eq!(refused, [Registry::of_host(HOST).unwrap()]);
}

#[test]
fn tolerable_edit_is_repaired_by_rotation_alone() {
    let secret = Sample::new(&[grant(HOST, 1000)]);
    let grants = [grant(HOST, 2000)];
    let tolerated = revision(&secret, Edit::Tolerable, &grants, Aim::Serving);
    let Revision::Tolerated(until) = tolerated else {
        panic!("{tolerated:?}");
    };
    assert_eq!(until, at(700));
    let entries = vec![(HOST.to_owned(), at(2000))];
    for (edit, aim) in [
        (Edit::Tolerable, Aim::Newest),
        (Edit::Overdue, Aim::Serving),
    ] {
        let repaired = revision(&secret, edit, &grants, aim);
        let repair = (entries.clone(), RevisionReason::Repair);
        assert_eq!(written(repaired), repair, "{edit:?}");
    }
    // A registry is missing, so it does not serve.
    let second = [grant(SECOND, 2000)];
    let repaired = revision(&secret, Edit::Tolerable, &second, Aim::Serving);
    assert_eq!(written(repaired).1, RevisionReason::Repair);
}

#[test]
fn foreign_secret_is_adopted_or_left() {
    let mut secret = Sample::new(&[grant(HOST, 1000)]);
    secret.labels.clear();
    let grants = [grant(HOST, 2000)];
    let adopted = revision(&secret, Edit::Absent, &grants, Aim::Serving);
    let entries = vec![(HOST.to_owned(), at(2000))];
    assert_eq!(written(adopted), (entries, RevisionReason::Adoption));
    let never = Intent {
        adopt: Adopt::Never,
        ..intent(&grants, Aim::Serving)
    };
    let left = never.revision(&secret.existing(), Edit::Absent, at(100));
    assert!(matches!(left, Revision::Foreign(Cause::ForeignOwner)));
}

const ADOPTS: [Adopt; 4] = [Adopt::Never, Adopt::Annotated, Adopt::EcrOnly, Adopt::All];

/// A Secret from a back-up, of a copied namespace, or of another version has our label. Adoption is a
/// question about Secrets without it.
#[test]
fn labelled_secret_is_written_whatever_is_adopted() {
    let grants = [grant(HOST, 2000)];
    for expiry in [50, 1000] {
        let secret = Sample::new(&[grant(HOST, expiry)]);
        for (adopt, aim) in ADOPTS
            .into_iter()
            .flat_map(|adopt| [(adopt, Aim::Serving), (adopt, Aim::Newest)])
        {
            for edit in [Edit::Absent, Edit::Tolerable, Edit::Overdue] {
                let intent = Intent {
                    adopt,
                    ..intent(&grants, aim)
                };
                let serves = expiry == 1000 && aim == Aim::Serving;
                match intent.revision(&secret.existing(), edit, at(100)) {
                    Revision::Unneeded => assert!(serves && edit == Edit::Absent),
                    Revision::Tolerated(_) => assert!(serves && edit == Edit::Tolerable),
                    Revision::Write(merged, _) => {
                        assert!(merged.content.described.serves(HOST, at(100)));
                    }
                    other => panic!("{adopt:?} {edit:?} {aim:?}: {other:?}"),
                }
            }
        }
    }
}

/// What version 0.1 writes, byte for byte, apart from the token.
#[test]
fn secret_of_version_0_1_is_renewed_in_place() {
    let annotations = [
        ("exclusive", "true"),
        ("expires-at", "1970-01-01T00:16:40Z"),
        ("fingerprint", "8f434346648f6b96"),
        ("format", "1"),
        ("identity", "ambient"),
        ("lifetimes", "1970-01-01T00:00:00Z/1970-01-01T00:16:40Z"),
        ("registries", HOST),
    ];
    let secret = Sample {
        labels: BTreeMap::from([(MANAGED_BY.to_owned(), OWNER.to_owned())]),
        annotations: annotations
            .map(|(name, value)| (format!("ecr-pull-secrets.dev/{name}"), value.to_owned()))
            .into(),
        docker_config: format!("{{\"auths\":{{\"{HOST}\":{{\"auth\":\"QVdTOjEwMDA=\"}}}}}}"),
    };
    // And this version writes the same, so that 0.1 can lead again.
    let ours = Sample::new(&[grant(HOST, 1000)]);
    assert_eq!(ours.docker_config, secret.docker_config);
    let mut known = secret.annotations.clone();
    let fingerprint = "ecr-pull-secrets.dev/fingerprint";
    known.insert(
        fingerprint.to_owned(),
        ours.annotations[fingerprint].clone(),
    );
    assert_eq!(ours.annotations, known);
    let newer = revision(&secret, Edit::Absent, &[grant(HOST, 2000)], Aim::Newest);
    let entries = vec![(HOST.to_owned(), at(2000))];
    assert_eq!(written(newer), (entries, RevisionReason::Update));
}
