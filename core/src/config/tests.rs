//! The file as a whole: its defaults, its fields, and no other field.

mod mutations;
mod printed;
mod schema;
mod values;

use std::time::Duration;

use proptest::prelude::*;

use super::duration::DAY;
use super::*;
use crate::identity::{AssumeRole, Identity, Subject};
use crate::image::Registry;
use crate::rules::Verdict;

const HEAD: &str = "apiVersion: ecr-pull-secrets.dev/v1\nkind: Config\n";

/// A file with the two lines that every file has.
fn file(body: &str) -> Result<Config, InvalidConfig> {
    Config::parse(&format!("{HEAD}{body}"))
}

fn accepts(body: &str) -> Config {
    file(body).unwrap_or_else(|error| panic!("{body}\n{error}"))
}

/// The text of the error.
fn refuses(body: &str) -> String {
    match file(body) {
        Ok(config) => panic!("{body}\ngave {config:?}"),
        Err(error) => error.to_string(),
    }
}

fn verdict(config: &Config, host: &str, namespace: &str) -> Verdict {
    config.rules.verdict(
        &Registry::of_host(host).unwrap(),
        Subject::of_namespace(namespace),
    )
}

#[test]
fn file_without_fields_is_the_defaults() {
    let said = accepts("");
    assert_eq!(format!("{said:?}"), format!("{:?}", Config::default()));
    assert_eq!(said.secret.name, "ecr-registry-credentials");
    assert_eq!(said.secret.adopt, Adopt::EcrOnly);
    assert_eq!(said.secret.cleanup_after, Some(35 * DAY));
    assert_eq!(said.injection, Injection::Webhook);
    assert_eq!(said.selection, Selection::OptOut);
    assert!(said.provision.is_empty() && !said.repair.recreate_pods);
    assert!(said.endpoints.is_empty());
    assert_eq!(said.rotation.max_age, Duration::from_secs(6 * 3600));
    let host = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
    assert_eq!(
        verdict(&said, host, "any"),
        Verdict::Allow(Identity::Ambient)
    );
}

/// `INTERFACES.md`, as far as this version goes.
#[test]
fn documented_example_is_read() {
    let config = accepts(
        r#"
secret: {name: ecr-registry-credentials, adopt: ecr-only, cleanupAfter: 35d}
injection: webhook
scope: {excludedNamespaces: [kube-system, kube-public, kube-node-lease]}
selection: opt-out
rules:
- {accounts: ["123456789012"], regions: ["us-*"], namespaces: ["team-a-*"], assumeRole: {roleArn: "arn:aws:iam::123456789012:role/pull", externalId: x-1, sessionName: puller}}
- {accounts: ["210987654321"], ambient: {}}
- {deny: {}}
provision:
- {namespaces: ["*"], selector: {}, registries: ["123456789012.dkr.ecr.eu-central-1.amazonaws.com"]}
endpoints: {eu-central-1: {ecr: "https://vpce-1.example", sts: "http://127.0.0.1:8080"}}
rotation: {maxAge: 6h}
repair: {recreatePods: false}
"#,
    );
    let role = AssumeRole {
        role_arn: "arn:aws:iam::123456789012:role/pull".to_owned(),
        external_id: Some("x-1".to_owned()),
        session_name: Some("puller".to_owned()),
    };
    let first = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
    let second = "210987654321.dkr.ecr.eu-central-1.amazonaws.com";
    assert_eq!(
        verdict(&config, first, "team-a-web"),
        Verdict::Allow(Identity::Role(role.into()))
    );
    assert_eq!(
        verdict(&config, first, "team-b-web"),
        Verdict::Deny(Some(2))
    );
    assert_eq!(
        verdict(&config, second, "team-b-web"),
        Verdict::Allow(Identity::Ambient)
    );
    let provisioned = config.provision.registries("any", &BTreeMap::new());
    assert_eq!(provisioned.len(), 1);
    let endpoints = &config.endpoints["eu-central-1"];
    assert_eq!(endpoints.ecr.as_deref(), Some("https://vpce-1.example"));
    assert_eq!(endpoints.sts.as_deref(), Some("http://127.0.0.1:8080"));
}

#[test]
fn every_value_of_a_choice_is_read() {
    for (text, adopt) in [
        ("never", Adopt::Never),
        ("annotated", Adopt::Annotated),
        ("ecr-only", Adopt::EcrOnly),
        ("all", Adopt::All),
    ] {
        assert_eq!(
            accepts(&format!("secret: {{adopt: {text}}}")).secret.adopt,
            adopt
        );
    }
    for (text, injection) in [("webhook", Injection::Webhook), ("none", Injection::None)] {
        assert_eq!(accepts(&format!("injection: {text}")).injection, injection);
    }
    let provision = "provision: [{registries: [123456789012.dkr.ecr.us-east-1.amazonaws.com]}]";
    for (text, selection) in [
        ("opt-in", Selection::OptIn),
        ("opt-out", Selection::OptOut),
        ("all-pods", Selection::AllPods),
    ] {
        let sections = format!("selection: {text}\n{provision}");
        assert_eq!(accepts(&sections).selection, selection);
    }
}

#[test]
fn unknown_field_is_refused_with_line_and_name() {
    for (body, line, field) in [
        ("secrte: {}\n", 3, "secrte"),
        ("secret:\n  nmae: x\n", 4, "nmae"),
        ("rules:\n- ambient: {}\n  account: [\"1\"]\n", 5, "account"),
        ("rules:\n- deny: {reason: x}\n", 4, "reason"),
        ("rules:\n- ambient: {x: y}\n", 4, "x"),
        (
            "rules:\n- assumeRole:\n    roleArn: a\n    rolArn: b\n",
            6,
            "rolArn",
        ),
        (
            "rules:\n- deny: {}\n- serviceAccountToken: {}\n",
            5,
            "serviceAccountToken",
        ),
        (
            "endpoints:\n  eu-central-1:\n    erc: https://x\n",
            5,
            "erc",
        ),
        ("rotation:\n  max_age: 6h\n", 4, "max_age"),
        ("secret:\n  cleanup_after: 35d\n", 4, "cleanup_after"),
        ("repair:\n  recreatePod: true\n", 4, "recreatePod"),
        (
            "provision:\n- registries: [x]\n  selectors: a\n",
            5,
            "selectors",
        ),
        (
            "provision:\n- selector:\n    matchLabel: {}\n",
            5,
            "matchLabel",
        ),
        (
            "provision:\n- selector:\n    matchExpressions:\n    - key: a\n      operater: In\n",
            7,
            "operater",
        ),
    ] {
        let error = refuses(body);
        assert!(error.contains(&format!("line {line} ")), "{body}\n{error}");
        assert!(
            error.contains(&format!("unknown field `{field}`")),
            "{body}\n{error}"
        );
    }
}

/// Every field of the file.
fn known(name: &str) -> bool {
    [
        "apiVersion",
        "kind",
        "secret",
        "injection",
        "selection",
        "rules",
        "endpoints",
        "rotation",
        "name",
        "adopt",
        "maxAge",
        "cleanupAfter",
        "provision",
        "repair",
        "scope",
        "excludedNamespaces",
        "recreatePods",
        "selector",
        "matchLabels",
        "matchExpressions",
        "key",
        "operator",
        "values",
        "registries",
        "accounts",
        "regions",
        "namespaces",
        "ambient",
        "assumeRole",
        "credentials",
        "deny",
        "roleArn",
        "externalId",
        "sessionName",
        "ecr",
        "sts",
    ]
    .contains(&name)
}

proptest! {
    /// The table of unknown fields, for any names.
    #[test]
    fn misspelt_field_is_refused_everywhere(
        field in "[a-zA-Z][a-zA-Z_]{0,12}".prop_filter("is a field", |name| !known(name)),
        place in 0..11usize,
    ) {
        let body = match place {
            0 => format!("{field}: x\n"),
            1 => format!("secret: {{{field}: x}}\n"),
            2 => format!("rules: [{{deny: {{}}, {field}: [x]}}]\n"),
            3 => format!("rules: [{{assumeRole: {{roleArn: a, {field}: x}}}}]\n"),
            4 => format!("repair: {{{field}: x}}\n"),
            5 => format!("provision: [{{registries: [x], {field}: x}}]\n"),
            6 => format!("provision: [{{selector: {{{field}: x}}}}]\n"),
            7 => format!("provision: [{{selector: {{matchExpressions: [{{{field}: x}}]}}}}]\n"),
            8 => format!("endpoints: {{r: {{{field}: x}}}}\n"),
            9 => format!("scope: {{{field}: x}}\n"),
            _ => format!("rotation: {{{field}: x}}\n"),
        };
        let said = format!("unknown field `{field}`");
        prop_assert!(refuses(&body).contains(&said));
    }

    #[test]
    fn no_text_causes_a_panic(text in any::<String>(), yaml in "[a-z:{}\\[\\]&*!|>\"' ,\n-]{0,60}") {
        let _ = Config::parse(&text);
        let _ = Config::parse(&yaml);
        let _ = file(&yaml);
    }
}

#[test]
fn value_of_the_wrong_shape_is_refused() {
    for (body, said) in [
        ("secret: {adopt: maybe}\n", "unknown variant `maybe`"),
        ("secret: [x]\n", "expected mapping"),
        ("selection: every-pod\n", "unknown variant `every-pod`"),
        // A value of a later version.
        ("injection: policy\n", "unknown variant `policy`"),
        ("rules: {deny: {}}\n", "expected sequence"),
        (
            "rules: [{accounts: \"1\", deny: {}}]\n",
            "expected sequence",
        ),
        ("rules: [{assumeRole: {}}]\n", "missing field `roleArn`"),
        ("endpoints: [x]\n", "expected mapping"),
        (
            "selection: opt-in\nselection: opt-out\n",
            "duplicate mapping key",
        ),
        (
            "rules: [{accounts: [\"1\"], accounts: [\"2\"], deny: {}}]\n",
            "duplicate mapping key",
        ),
        ("---\nkind: Config\n", "multiple YAML documents"),
    ] {
        let error = refuses(body);
        assert!(error.contains(said), "{body}\n{error}");
        assert!(error.contains("error: line "), "{body}\n{error}");
    }
}

#[test]
fn file_for_another_program_is_refused() {
    for (text, said) in [
        ("", "unexpected end of input"),
        ("kind: Config\n", "missing field `apiVersion`"),
        (
            "apiVersion: ecr-pull-secrets.dev/v1\n",
            "missing field `kind`",
        ),
        ("apiVersion: v1\nkind: Config\n", "got v1 and Config"),
        (
            "apiVersion: ecr-pull-secrets.dev/v2\nkind: Config\n",
            "got ecr-pull-secrets.dev/v2 and Config",
        ),
        (
            "apiVersion: ecr-pull-secrets.dev/v1\nkind: Secret\n",
            "got ecr-pull-secrets.dev/v1 and Secret",
        ),
    ] {
        let error = Config::parse(text).unwrap_err().to_string();
        assert!(error.contains(said), "{text}\n{error}");
    }
}

#[test]
fn invalid_rule_is_refused_by_its_index() {
    for (rule, said) in [
        ("{}", "rules[1]: give exactly one"),
        ("{namespaces: [x]}", "rules[1]: give exactly one"),
        ("{ambient: }", "rules[1]: give exactly one"),
        ("{ambient: {}, deny: {}}", "rules[1]: give exactly one"),
        (
            "{assumeRole: {roleArn: foo}}",
            "rules[1].assumeRole.roleArn: `foo`",
        ),
    ] {
        let error = refuses(&format!("rules:\n- {{deny: {{}}}}\n- {rule}\n"));
        assert!(error.contains(said), "{rule}: {error}");
    }
}

#[test]
fn regions_are_named_by_rules_provision_and_endpoints() {
    let config = Config::parse(
        "apiVersion: ecr-pull-secrets.dev/v1
kind: Config
rules: [{regions: [us-east-1, 'eu-*'], ambient: {}}, {regions: [us-west-1], deny: {}}]
provision: [{registries: [123456789012.dkr.ecr.ap-south-1.amazonaws.com]}]
endpoints: {sa-east-1: {ecr: 'https://ecr.example.com'}}
",
    )
    .unwrap();
    for (region, is_named) in [
        ("us-east-1", true),
        ("ap-south-1", true),
        ("sa-east-1", true),
        ("eu-west-1", false),
        ("us-west-1", false),
    ] {
        assert_eq!(config.names_region(region), is_named, "{region}");
        let evidence = if is_named {
            RegionEvidence::Configuration
        } else {
            RegionEvidence::Documents
        };
        assert_eq!(config.evidence(region), evidence, "{region}");
    }
    assert_eq!(config.evidence("eu-land-1"), RegionEvidence::Nothing);
}
