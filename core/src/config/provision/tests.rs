use super::*;
use crate::config::{Config, InvalidConfig};

const FIRST: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
const SECOND: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com:443";

fn entry(namespaces: &[&str], team: Option<&str>, registries: &[&str]) -> ProvisionEntry {
    let label = team.map(|team| ("team".to_owned(), team.to_owned()));
    ProvisionEntry {
        namespaces: namespaces.iter().map(|glob| Glob::new(glob)).collect(),
        selector: LabelSelector {
            match_labels: label.into_iter().collect(),
            match_expressions: Vec::new(),
        },
        registries: registries.iter().map(|host| (*host).to_owned()).collect(),
    }
}

fn hosts(provision: &Provision, namespace: &str, team: Option<&str>) -> Vec<String> {
    let labels = team.map(|team| ("team".to_owned(), team.to_owned()));
    let registries = provision.registries(namespace, &labels.into_iter().collect());
    registries
        .iter()
        .map(|registry| registry.host().to_owned())
        .collect()
}

#[test]
fn namespace_gets_the_registries_of_every_matching_entry() {
    let provision = Provision::new(&[
        entry(&["team-*", "web"], None, &[FIRST]),
        entry(&[], Some("a"), &[SECOND, FIRST]),
        entry(&["web"], Some("b"), &[SECOND]),
    ])
    .unwrap();
    assert!(!provision.is_empty());
    for (namespace, team, wanted) in [
        ("team-x", None, &[FIRST][..]),
        ("web", None, &[FIRST]),
        ("web", Some("b"), &[FIRST, SECOND]),
        ("team-x", Some("a"), &[FIRST, SECOND]),
        ("other", Some("a"), &[FIRST, SECOND]),
        ("other", Some("b"), &[]),
        ("other", None, &[]),
    ] {
        assert_eq!(hosts(&provision, namespace, team), wanted, "{namespace}");
    }
    assert!(Provision::default().is_empty());
    assert_eq!(hosts(&Provision::default(), "web", None), [""; 0]);
}

#[test]
fn invalid_entry_is_refused_by_its_index() {
    let many: Vec<String> = (0..=MAX_REGISTRIES)
        .map(|index| format!("{index:012}.dkr.ecr.us-east-1.amazonaws.com"))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let fine = entry(&["*"], None, &many[1..]);
    for (bad, said) in [
        (
            entry(&[], None, &[]),
            "provision[1].registries: give 1 to 100",
        ),
        (
            entry(&[], None, &many),
            "provision[1].registries: give 1 to 100",
        ),
        (
            entry(&[], None, &[FIRST, "docker.io"]),
            "`docker.io` is not the host",
        ),
        (
            entry(&[], None, &["public.ecr.aws"]),
            "`public.ecr.aws` is not",
        ),
        (
            entry(&[], None, &[&format!("{FIRST}/app")]),
            "is not the host",
        ),
        (
            entry(&[], None, &[&format!("https://{FIRST}")]),
            "is not the host",
        ),
        (
            entry(&[], Some("-b"), &[FIRST]),
            "provision[1].selector.matchLabels.team: `-b` is not",
        ),
    ] {
        let error = Provision::new(&[fine.clone(), bad])
            .unwrap_err()
            .to_string();
        assert!(error.contains(said), "{error}");
        assert!(error.starts_with("provision[1]."), "{error}");
    }
}

#[test]
fn all_pods_needs_an_entry_for_labelled_namespaces() {
    let parse = |entries: &str| {
        let head = "apiVersion: ecr-pull-secrets.dev/v1\nkind: Config\nselection: all-pods\n";
        Config::parse(&format!("{head}provision: [{entries}]"))
    };
    let with = |selector: &str| parse(&format!("{{selector: {selector}, registries: [{FIRST}]}}"));
    assert!(matches!(parse(""), Err(InvalidConfig::NotProvisioned)));
    assert!(parse(&format!("{{registries: [{FIRST}]}}")).is_ok());
    for (selector, reaches) in [
        ("{matchLabels: {stage: live}}", true),
        ("{matchLabels: {ecr-pull-secrets.dev/inject: 'true'}}", true),
        (
            "{matchLabels: {ecr-pull-secrets.dev/inject: 'false'}}",
            false,
        ),
        (
            "{matchExpressions: [{key: ecr-pull-secrets.dev/inject, operator: NotIn, values: ['false']}]}",
            true,
        ),
        (
            "{matchExpressions: [{key: ecr-pull-secrets.dev/inject, operator: DoesNotExist}]}",
            false,
        ),
        (
            "{matchExpressions: [{key: stage, operator: In, values: [live]}]}",
            true,
        ),
    ] {
        let refused = matches!(with(selector), Err(InvalidConfig::NotProvisioned));
        assert_eq!(!refused, reaches, "{selector}");
        assert_eq!(with(selector).is_ok(), reaches, "{selector}");
    }
}
