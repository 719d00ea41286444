use super::*;

const FIRST: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
const SECOND: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com:443";

fn entry(namespaces: &[&str], selector: &str, registries: &[&str]) -> Entry {
    Entry {
        namespaces: namespaces.iter().map(|glob| Glob::new(glob)).collect(),
        selector: selector.to_owned(),
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
fn a_namespace_gets_what_every_matching_entry_gives_and_each_registry_once() {
    let provision = Provision::new(&[
        entry(&["team-*", "web"], "", &[FIRST]),
        entry(&[], "team=a", &[SECOND, FIRST]),
        entry(&["web"], "team=b", &[SECOND]),
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
fn an_entry_that_cannot_be_obeyed_is_refused_by_its_index() {
    let many: Vec<String> = (0..=MAX_REGISTRIES)
        .map(|index| format!("{index:012}.dkr.ecr.us-east-1.amazonaws.com"))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let fine = entry(&["*"], "", &many[1..]);
    for (bad, said) in [
        (
            entry(&[], "", &[]),
            "provision[1].registries: give 1 to 100",
        ),
        (
            entry(&[], "", &many),
            "provision[1].registries: give 1 to 100",
        ),
        (
            entry(&[], "", &[FIRST, "docker.io"]),
            "`docker.io` is not the host",
        ),
        (
            entry(&[], "", &["public.ecr.aws"]),
            "`public.ecr.aws` is not",
        ),
        (
            entry(&[], "", &[&format!("{FIRST}/app")]),
            "is not the host",
        ),
        (
            entry(&[], "", &[&format!("https://{FIRST}")]),
            "is not the host",
        ),
        (
            entry(&[], "a in b", &[FIRST]),
            "provision[1].selector: `a in b`",
        ),
    ] {
        let error = Provision::new(&[fine.clone(), bad])
            .unwrap_err()
            .to_string();
        assert!(error.contains(said), "{error}");
        assert!(error.starts_with("provision[1]."), "{error}");
    }
}
