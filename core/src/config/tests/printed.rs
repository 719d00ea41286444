//! The output of `--print-config` is a file that means the same.

use super::*;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::sample::select;
use serde_json::{Value, json};

fn reprinted(config: &Config) -> Config {
    let yaml = config.to_yaml().unwrap();
    Config::parse(&yaml).unwrap_or_else(|error| panic!("{yaml}\n{error}"))
}

#[test]
fn every_default_is_printed_and_no_absent_field() {
    assert_eq!(
        Config::default().to_yaml().unwrap().trim_end(),
        [
            "apiVersion: ecr-pull-secrets.dev/v1",
            "kind: Config",
            "secret:",
            "  name: ecr-registry-credentials",
            "  adopt: ecr-only",
            "  cleanupAfter: 35d",
            "injection: webhook",
            "scope:",
            "  excludedNamespaces:",
            "  - kube-system",
            "  - kube-public",
            "  - kube-node-lease",
            "selection: opt-out",
            "rules: []",
            "provision: []",
            "endpoints: {}",
            "rotation:",
            "  maxAge: 21600s",
            "repair:",
            "  recreatePods: false",
        ]
        .join("\n")
    );
    let yaml = accepts("rules: [{deny: {}}, {ambient: {}}]")
        .to_yaml()
        .unwrap();
    for absent in ["assumeRole", "externalId", "null", "~"] {
        assert!(!yaml.contains(absent), "{yaml}");
    }
}

/// Texts that YAML reads as another type without quotes.
fn patterns() -> impl Strategy<Value = Vec<String>> {
    let odd = select(vec![
        "*",
        "?",
        "012345678901",
        "1e3",
        "0x10",
        "yes",
        "true",
        "null",
        "~",
        "",
        " ",
        "- a",
        "a: b",
        "#",
        "&a",
        "*a",
        "!x",
        "@",
        "`",
        "%",
        "|",
        ">",
        "\"",
        "'",
        "\\",
        "\n",
        "\t",
        "[",
        "{",
        "}",
        "2001-01-01",
        ".nan",
        "\u{e4}",
        "\u{85}",
        "\u{feff}",
    ]);
    vec(
        prop_oneof![
            odd.prop_map(str::to_owned),
            "[a-z*?0-9-]{1,12}",
            any::<String>()
        ],
        0..3,
    )
}

fn rules() -> impl Strategy<Value = Value> {
    let action = select(vec![
        json!({"ambient": {}}),
        json!({"deny": {}}),
        json!({"assumeRole": {"roleArn": "arn:aws:iam::012345678901:role/a,b"}}),
        json!({"assumeRole": {"roleArn": "arn:aws:iam::012345678901:role/#x:{}", "externalId": "0012", "sessionName": "no"}}),
    ]);
    let accounts = option::of(vec("[0-9?]{12}|0[0-9]{2}\\*", 0..3));
    let rule =
        (action, accounts, option::of(patterns())).prop_map(|(mut rule, accounts, namespaces)| {
            for (field, list) in [("accounts", accounts), ("namespaces", namespaces)] {
                if let Some(list) = list {
                    rule[field] = json!(list);
                }
            }
            rule
        });
    vec(rule, 0..4).prop_map(Value::from)
}

fn provision() -> impl Strategy<Value = Value> {
    let selector = select(vec![
        json!({}),
        json!({"matchLabels": {}, "matchExpressions": []}),
        json!({"matchLabels": {"null": "null", "x.y/z": ""}}),
        json!({"matchLabels": {"1": "1", "a": "yes", "b": "0x1", "c": "1e3", "d": "012"}}),
        json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]}),
        json!({"matchExpressions": [{"key": "yes", "operator": "DoesNotExist", "values": []}]}),
        json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["b", "no", ""]}]}),
        json!({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "d", "operator": "NotIn", "values": ["e"]}]}),
    ]);
    let registries = vec(
        "[0-9]{12}\\.dkr\\.ecr\\.us-east-1\\.amazonaws\\.com(:443)?",
        1..4,
    );
    let entry = (patterns(), selector, registries).prop_map(|(namespaces, selector, registries)| {
        json!({"namespaces": namespaces, "selector": selector, "registries": registries})
    });
    vec(entry, 0..3).prop_map(Value::from)
}

fn files() -> impl Strategy<Value = Value> {
    let endpoints = btree_map(
        "[a-z0-9-]{1,9}|null|yes|012",
        (
            option::of("https://[a-z][a-z0-9./:_~%?=-]{0,8}"),
            option::of("http://[a-z]{1,4}:80"),
        ),
        0..3,
    );
    let name = "[a-z0-9]{1,9}|null|yes|0x1|1e3|012";
    (
        name,
        select(vec!["never", "all"]),
        rules(),
        provision(),
        endpoints,
        1..10_000_000_u32,
        option::of(86_400..10_000_000_u32),
        any::<bool>(),
        vec("[a-z0-9]{1,9}|null|yes|0x1|1e3|012", 0..3),
    )
        .prop_map(|(name, adopt, rules, provision, endpoints, age, after, recreate, excluded)| {
            let endpoints: BTreeMap<String, Value> = endpoints
                .into_iter()
                .map(|(region, (ecr, sts))| (region, json!({"ecr": ecr, "sts": sts})))
                .collect();
            json!({
                "apiVersion": API_VERSION,
                "kind": "Config",
                "secret": {"name": name, "adopt": adopt, "cleanupAfter": after.map_or("never".to_owned(), |after| format!("{after}s"))},
                "scope": {"excludedNamespaces": excluded},
                "rules": rules,
                "provision": provision,
                "endpoints": endpoints,
                "rotation": {"maxAge": format!("{age}s")},
                "repair": {"recreatePods": recreate},
            })
        })
}

proptest! {
    #[test]
    fn printed_configuration_is_read_back(file in files()) {
        // JSON is YAML.
        let config = Config::parse(&file.to_string()).unwrap();
        let again = reprinted(&config);
        prop_assert_eq!(format!("{:?}", again), format!("{:?}", config));
        prop_assert_eq!(again.to_yaml().unwrap(), config.to_yaml().unwrap());
    }
}
