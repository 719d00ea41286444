mod expiry;
mod replaceable;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::*;
use crate::identity::Identity;
use crate::image::Registry;
use crate::pull_secret::held::SecretMetadata;
use crate::pull_secret::{DATA_KEY, MANAGED_BY, OWNER, annotation};
use crate::token::Token;

const HOST: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
const SECOND: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

/// The metadata of a Secret of namespace `team`, or of another one.
#[derive(Clone, Debug, Default)]
struct Sample {
    version: String,
    uid: Option<&'static str>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    managed_fields: Vec<(&'static str, Value)>,
}

impl Sample {
    fn metadata(&self) -> SecretMetadata<'_> {
        let managed_fields = self.managed_fields.iter();
        SecretMetadata {
            resource_version: Some(&self.version),
            uid: self.uid,
            labels: Some(&self.labels),
            annotations: Some(&self.annotations),
            managed_fields: managed_fields
                .map(|(manager, fields)| (*manager, fields))
                .collect(),
        }
    }

    fn reading(&self) -> SecretReading {
        SecretReading::of(&self.metadata())
    }

    fn annotate(&mut self, name: &str, value: &str) {
        self.annotations.insert(name.to_owned(), value.to_owned());
    }
}

fn team() -> Target {
    target("team")
}

fn target(namespace: &str) -> Target {
    Target::new(namespace, "pull")
}

/// A book, and what namespace `team` holds in it.
#[derive(Default)]
struct Scene(Book);

impl Scene {
    fn of(sample: &Sample) -> Self {
        let mut scene = Self::default();
        scene.saw(sample);
        scene
    }

    fn saw(&mut self, sample: &Sample) {
        self.0.saw(&team(), sample.reading());
    }

    fn lost(&mut self, version: u64) {
        self.0.lost(&team(), version);
    }

    fn tolerate(&mut self, sample: &Sample, grants: &[Grant], until: i64) {
        let reading = sample.reading();
        self.0.tolerate(&team(), reading, grants, at(until));
    }

    fn holds(&self) -> bool {
        self.0.holds(&team())
    }

    fn serves(&self, host: &str, now: i64) -> bool {
        let access = access(host, Identity::Ambient);
        self.0.serves(&team(), &[access], Timestamp::MIN, at(now))
    }

    /// What [`Book::for_each`] visits: namespaces, hosts and expiries.
    fn visited(&self) -> Vec<(String, Vec<(String, Timestamp)>)> {
        let mut visited = Vec::new();
        self.0.for_each(|secret, namespace, holds| {
            assert_eq!(&**secret, "pull");
            let holds = holds.map(|hold| (hold.host.to_string(), hold.lifetime.expires_at));
            visited.push((namespace.to_owned(), holds.collect()));
        });
        visited
    }
}

/// A token for a host that lives from 0 to then.
fn grant(host: &str, expires_at: i64) -> Grant {
    let text = BASE64_STANDARD.encode("AWS:password");
    Grant {
        registry: registry(host),
        identity: "ambient".into(),
        token: Token::new(text, at(0), Some(at(expires_at))).unwrap(),
    }
}

fn access(host: &str, identity: Identity) -> Access {
    Access {
        registry: registry(host),
        identity,
    }
}

fn registry(host: &str) -> Registry {
    Registry::of_host(host).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A Secret of ours with one entry that lives from 0 to 1000.
fn secret(version: u64) -> Sample {
    let mut secret = Sample {
        version: version.to_string(),
        labels: BTreeMap::from([(MANAGED_BY.to_owned(), OWNER.to_owned())]),
        managed_fields: vec![owner_of_data(OWNER)],
        ..Sample::default()
    };
    secret.annotate(annotation::FORMAT, "1");
    secret.annotate(annotation::REGISTRIES, HOST);
    secret.annotate(annotation::LIFETIMES, &format!("{}/{}", at(0), at(1000)));
    secret.annotate(annotation::IDENTITY, "ambient");
    secret
}

/// The same with content of another field manager.
fn edited(version: u64) -> Sample {
    Sample {
        managed_fields: vec![owner_of_data("kubectl-edit")],
        ..secret(version)
    }
}

/// The same without our label.
fn foreign(version: u64) -> Sample {
    Sample {
        labels: BTreeMap::new(),
        ..secret(version)
    }
}

fn owner_of_data(manager: &'static str) -> (&'static str, Value) {
    let fields = json!({ "f:data": { format!("f:{DATA_KEY}"): {} } });
    (manager, fields)
}

#[test]
fn entry_serves_until_a_tenth_remains() {
    let mut scene = Scene::default();
    assert!(!scene.serves(HOST, 500));
    scene.saw(&secret(1));
    assert!(scene.serves(HOST, 500));
    assert!(scene.serves(HOST, 899));
    assert!(!scene.serves(HOST, 900));
    let Scene(book) = scene;
    let one = access(HOST, Identity::Ambient);
    assert!(!book.serves(
        &target("other"),
        std::slice::from_ref(&one),
        Timestamp::MIN,
        at(500)
    ));
    let host = "123456789012.dkr.ecr.us-west-2.amazonaws.com";
    let other = access(host, Identity::Ambient);
    assert!(!book.serves(&team(), &[one, other], Timestamp::MIN, at(500)));
    assert_eq!(book.earliest_expiry(|_, _| true), Some(at(1000)));
    let counts = |target: &Target, host: &Arc<str>| &*target.namespace != "team" || &**host != HOST;
    assert_eq!(book.earliest_expiry(counts), None);
}

#[test]
fn secrets_of_a_namespace_are_told_apart() {
    let mut scene = Scene::of(&secret(1));
    let second = Target::new("team", "pull-builder");
    assert!(!scene.0.holds(&second));
    scene.0.saw(&second, foreign(2).reading());
    assert!(scene.0.is_contested(&second) && !scene.0.is_contested(&team()));
    assert!(scene.serves(HOST, 500));
    assert_eq!(scene.0.foreign(), 1);
    scene.lost(3);
    assert!(scene.0.holds(&second) && !scene.holds());
}

#[test]
fn old_news_never_replaces_newer() {
    let mut scene = Scene::of(&secret(9));
    let mut older = secret(8);
    older.annotations.clear();
    scene.saw(&older);
    assert!(scene.serves(HOST, 500));
    scene.lost(7);
    assert!(scene.holds());
    scene.lost(10);
    assert!(!scene.holds() && !scene.serves(HOST, 500));
    // The answer to a write of ours, after a tenant deleted the Secret.
    scene.saw(&secret(9));
    assert!(!scene.holds());
    scene.saw(&secret(11));
    assert!(scene.serves(HOST, 500));
}

#[test]
fn edited_content_serves_only_while_tolerated() {
    let mut edited = secret(2);
    edited.managed_fields.push(owner_of_data("kubectl-edit"));
    let mut scene = Scene::of(&edited);
    assert!(scene.holds() && !scene.serves(HOST, 500));
    assert_eq!(scene.0.earliest_expiry(|_, _| true), None);
    scene.tolerate(&edited, &[grant(HOST, 1100)], 800);
    assert!(scene.serves(HOST, 500));
    // Another registry at the same version takes nothing away from the first.
    scene.tolerate(&edited, &[grant(SECOND, 1100)], 800);
    assert!(scene.serves(HOST, 500) && scene.serves(SECOND, 500));
    // The watch brings the same version again, and then a newer one.
    scene.saw(&edited);
    assert!(scene.serves(HOST, 500));
    edited.version = "3".to_owned();
    scene.saw(&edited);
    assert!(!scene.serves(HOST, 500));
    // What was tolerated at one version is not at the next.
    scene.tolerate(&edited, &[grant(SECOND, 1100)], 800);
    assert!(!scene.serves(HOST, 500));
}

#[test]
fn toleration_ends_at_its_version() {
    let mut scene = Scene::of(&edited(2));
    assert!(!scene.0.is_toleration_over(&team(), 2, at(900)));
    scene.tolerate(&edited(2), &[grant(HOST, 1100)], 800);
    assert!(!scene.0.is_toleration_over(&team(), 2, at(799)));
    assert!(scene.0.is_toleration_over(&team(), 2, at(800)));
    assert!(!scene.0.is_toleration_over(&team(), 3, at(800)));
    // A later registry does not prolong it.
    scene.tolerate(&edited(2), &[grant(SECOND, 1100)], 850);
    assert!(scene.0.is_toleration_over(&team(), 2, at(800)));
}

#[test]
fn secret_without_our_label_does_not_serve() {
    let mut scene = Scene::of(&foreign(1));
    assert!(scene.holds() && !scene.serves(HOST, 500));
    assert_eq!(scene.0.foreign(), 1);
    assert!(scene.0.is_contested(&team()));
    assert_eq!(scene.0.contested_version(&team()), Some(1));
    assert!(!scene.0.is_contested(&target("other")));
    scene.saw(&secret(2));
    assert_eq!(scene.0.foreign(), 0);
    assert!(!scene.0.is_contested(&team()));
}

#[test]
fn new_list_keeps_what_was_written_meanwhile() {
    let Scene(mut book) = Scene::of(&secret(1));
    let name: Arc<str> = "pull".into();
    book.begin_list(&name);
    book.saw(&target("new"), secret(5).reading());
    book.saw(&target("foreign"), foreign(6).reading());
    assert!(book.holds(&team()), "the list is not complete");
    let mut changes = book.end_list(&name);
    changes.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    assert!(!book.holds(&team()));
    assert!(book.holds(&target("new")));
    let wanted = [
        ("foreign", SecretChange::Edited),
        ("new", SecretChange::Written),
        ("team", SecretChange::Deleted),
    ];
    assert_eq!(
        changes,
        wanted.map(|(namespace, change)| (namespace.into(), change))
    );
}

#[test]
fn rotation_visits_ours_edited_or_not() {
    let mut scene = Scene::default();
    assert!(scene.visited().is_empty());
    scene.saw(&secret(1));
    let ours = [("team".to_owned(), vec![(HOST.to_owned(), at(1000))])];
    assert_eq!(scene.visited(), ours);
    scene.saw(&edited(2));
    assert_eq!(scene.visited(), ours);
    assert_eq!(scene.0.holds_of(&team()).len(), 1);
    scene.saw(&foreign(3));
    assert!(scene.visited().is_empty() && scene.0.holds_of(&team()).is_empty());
    scene.saw(&secret(4));
    scene.lost(5);
    assert!(scene.visited().is_empty() && scene.0.holds_of(&team()).is_empty());
}

/// The content of another field manager does not say when it expires: it stays until our next token.
#[test]
fn tolerated_host_counts_with_our_unwritten_token() {
    let mut scene = Scene::default();
    let mut undescribed = edited(2);
    undescribed.annotations.clear();
    scene.tolerate(&undescribed, &[grant(HOST, 1100)], 800);
    assert_eq!(scene.visited()[0].1, [(HOST.to_owned(), at(1100))]);
    // What the annotations say counts more.
    scene.tolerate(&edited(3), &[grant(HOST, 1100), grant(SECOND, 1200)], 800);
    let wanted = [(HOST.to_owned(), at(1000)), (SECOND.to_owned(), at(1200))];
    assert_eq!(scene.visited()[0].1, wanted);
}

#[test]
fn missed_secret_is_gone_until_newer_news() {
    let mut scene = Scene::default();
    scene.0.missed(&team());
    scene.saw(&secret(5));
    scene.0.missed(&team());
    assert!(!scene.holds());
    scene.saw(&secret(5));
    assert!(!scene.holds());
    scene.saw(&secret(6));
    assert!(scene.holds());
}

#[test]
fn every_change_makes_a_new_edition() {
    let mut scene = Scene::default();
    let mut last = scene.0.edition();
    let changes: [fn(&mut Scene); 6] = [
        |scene| scene.saw(&secret(1)),
        |scene| scene.tolerate(&secret(2), &[], 0),
        |scene| scene.lost(3),
        |scene| scene.saw(&secret(4)),
        |scene| scene.0.missed(&team()),
        |scene| {
            scene.0.end_list(&"pull".into());
        },
    ];
    for change in changes {
        change(&mut scene);
        let edition = scene.0.edition();
        assert_ne!(edition, last);
        last = edition;
    }
}

#[test]
fn undescribed_secret_counts_as_edited() {
    let mut sample = secret(1);
    let mut book = Book::default();
    let change = book.saw(&team(), sample.reading());
    assert_eq!(change, SecretChange::Written);
    sample.annotations.remove(annotation::LIFETIMES);
    let change = book.saw(&team(), sample.reading());
    assert_eq!(change, SecretChange::Edited);
}

#[test]
fn only_the_last_deleted_secrets_are_remembered() {
    let mut book = Book::default();
    for version in 1..=2 * MAX_GONE as u64 {
        let target = target(&format!("team-{version}"));
        book.saw(&target, secret(version).reading());
        book.lost(&target, version);
    }
    assert_eq!(book.by_name["pull"].by_namespace.len(), MAX_GONE);
}

#[test]
fn unused_hosts_are_dropped() {
    let mut book = Book::default();
    for account in 0..2 * MIN_HOSTS {
        let mut sample = secret(account as u64 + 1);
        let host = format!("{account:012}.dkr.ecr.us-east-1.amazonaws.com");
        sample.annotate(annotation::REGISTRIES, &host);
        book.saw(&team(), sample.reading());
    }
    assert!(book.hosts.known.len() <= MIN_HOSTS);
}

/// A tenant with the right to write Secrets can describe hosts without end.
#[test]
fn long_description_takes_little_memory() {
    let hosts = |count: u64| {
        let hosts =
            (0..count).map(|number| format!("{number:012}.dkr.ecr.us-east-1.amazonaws.com"));
        hosts.collect::<Vec<_>>()
    };
    let described = |count: u64| {
        let mut sample = secret(count);
        let lifetime = sample.annotations[annotation::LIFETIMES].clone();
        let lifetimes = vec![lifetime; hosts(count).len()];
        sample.annotate(annotation::REGISTRIES, &hosts(count).join(","));
        sample.annotate(annotation::LIFETIMES, &lifetimes.join(","));
        let mut book = Book::default();
        book.saw(&team(), sample.reading());
        book.holds_of(&team()).len()
    };
    assert_eq!(described(100), 100);
    assert_eq!(described(101), 100);
    assert_eq!(described(500), 100);
    // More than 64 KiB: as if it described nothing.
    assert_eq!(described(2000), 0);
}

#[test]
fn tolerated_hosts_are_few() {
    let mut scene = Scene::default();
    for number in 0..300 {
        let host = format!("{number:012}.dkr.ecr.us-east-1.amazonaws.com");
        scene.tolerate(&edited(1), &[grant(&host, 1100)], 800);
    }
    assert!(scene.0.holds_of(&team()).len() <= 101);
}
