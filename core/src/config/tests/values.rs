//! The values that a field takes, and those that it does not.

use super::*;
use crate::aws::value::ValueFault;

/// YAML reads a bare `012…` as a number; here it stays a text with its leading zero.
#[test]
fn account_without_quotes_keeps_its_leading_zero() {
    let config = accepts("rules: [{accounts: [012345678901], ambient: {}}]\n");
    assert_eq!(
        verdict(&config, "012345678901.dkr.ecr.us-east-1.amazonaws.com", "a"),
        Verdict::Allow(Identity::Ambient)
    );
    assert_eq!(
        verdict(&config, "112345678901.dkr.ecr.us-east-1.amazonaws.com", "a"),
        Verdict::Deny(None)
    );
}

/// A list whose items are commented out would otherwise match every account.
#[test]
fn blank_list_of_a_rule_is_refused() {
    for field in ["accounts", "regions", "namespaces"] {
        let error = refuses(&format!(
            "rules:\n- {field}:\n  # - something\n  ambient: {{}}\n"
        ));
        assert!(
            error.contains("line ") && error.contains("leave the field out"),
            "{error}"
        );
        accepts(&format!("rules:\n- {field}: []\n  ambient: {{}}\n"));
    }
}

#[test]
fn blank_list_of_rules_is_refused() {
    let error = refuses("rules:\n# - deny: {}\n");
    assert!(
        error.contains("line ") && error.contains("leave the field out"),
        "{error}"
    );
    accepts("rules: []\n");
}

#[test]
fn secret_name_is_a_dns_subdomain() {
    let longest = format!("{}.{}", "a".repeat(200), "b".repeat(52));
    for name in [
        "a",
        "0",
        "a-b",
        "a.b",
        "a0.0b",
        "ecr-registry-credentials",
        &longest,
    ] {
        assert_eq!(
            accepts(&format!("secret: {{name: \"{name}\"}}"))
                .secret
                .name,
            name
        );
    }
    let too_long = format!("{longest}b");
    for name in [
        "", "A", "a_b", "-a", "a-", "a.-b", "a-.b", ".a", "a.", "a..b", "a/b", "a b", "ä",
        &too_long,
    ] {
        let error = refuses(&format!("secret: {{name: \"{name}\"}}"));
        assert!(
            error.contains(&format!("`{name}` is not a Secret's name")),
            "{error}"
        );
        assert!(error.contains("line 3 "), "{error}");
    }
}

#[test]
fn duration_is_read_in_every_usual_form() {
    for (text, seconds) in [
        ("1s", 1),
        ("30s", 30),
        ("90m", 5400),
        ("6h", 21_600),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("PT6H", 21_600),
        ("1d", 86_400),
        ("35d", 35 * 86_400),
        ("1d12h", 129_600),
        ("1w", 7 * 86_400),
        ("1.5h", 5400),
    ] {
        let config = accepts(&format!("rotation: {{maxAge: {text}}}"));
        assert_eq!(
            config.rotation.max_age,
            Duration::from_secs(seconds),
            "{text}"
        );
    }
}

#[test]
fn other_text_is_no_duration() {
    for text in [
        "6",
        "\"\"",
        "6 x",
        "h",
        "0s",
        "0h",
        "999ms",
        "1500ms",
        "1.5s",
        "-6h",
        "6h ago",
        "-35d",
        "1mo",
        "1y",
        "6h6",
        "six hours",
        "1e9h",
        "99999999999999999999h",
    ] {
        let error = refuses(&format!("rotation: {{maxAge: {text}}}"));
        assert!(error.contains("is not a duration"), "{text}: {error}");
        assert!(error.contains("line 3 "), "{text}: {error}");
    }
}

#[test]
fn endpoint_is_a_url() {
    for url in [
        "https://vpce-0123.api.ecr.eu-central-1.vpce.amazonaws.com",
        "http://127.0.0.1:4566",
        "https://[::1]:8443/path",
        "http://x",
    ] {
        for field in ["ecr", "sts"] {
            accepts(&format!("endpoints: {{r: {{{field}: \"{url}\"}}}}"));
        }
    }
    for (url, fault) in [
        ("", ValueFault::Blank),
        (" ", ValueFault::Blank),
        ("vpce-0123", ValueFault::Url),
        ("ftp://x", ValueFault::Url),
        ("https:/x", ValueFault::Url),
        ("https://", ValueFault::Url),
        ("https:///x", ValueFault::Url),
        ("https://:80", ValueFault::Url),
        ("HTTPS://x", ValueFault::Url),
        ("https://a b", ValueFault::Space),
        ("https://a\\n", ValueFault::Space),
        ("https://a\u{e4}", ValueFault::Character),
        ("'https://a'", ValueFault::Quote),
        ("https://${HOST}", ValueFault::Unexpanded),
    ] {
        for field in ["ecr", "sts"] {
            let error = refuses(&format!(
                "endpoints: {{eu-central-1: {{{field}: \"{url}\"}}}}"
            ));
            let wanted = format!("endpoints.eu-central-1.{field} {fault}");
            assert!(error.contains(&wanted), "{error}");
        }
    }
}

#[test]
fn cleanup_after_is_a_day_or_more_or_never() {
    let after = |text: &str| accepts(&format!("secret: {{cleanupAfter: {text}}}")).secret;
    assert_eq!(after("never").cleanup_after, None);
    for (text, hours) in [("1d", 24), ("24h", 24), ("36h", 36), ("35d", 35 * 24)] {
        let hours = Duration::from_secs(hours * 3600);
        assert_eq!(after(text).cleanup_after, Some(hours), "{text}");
    }
    for text in ["0", "0d", "23h", "86399s", "Never", "off", "\"\"", "-35d"] {
        let error = refuses(&format!("secret: {{cleanupAfter: {text}}}"));
        assert!(
            error.contains("is neither a day or more nor `never`"),
            "{error}"
        );
        assert!(error.contains("line 3 "), "{error}");
    }
}

#[test]
fn excluded_namespaces_are_names_and_replace_the_default() {
    let excludes = |config: &Config, names: &[&str]| {
        let mut names = names.iter();
        names.all(|name| config.scope.excludes(name))
    };
    let config = accepts("").installed_in("ours");
    assert!(excludes(
        &config,
        &["kube-system", "kube-public", "kube-node-lease", "ours"]
    ));
    assert!(!config.scope.excludes("team") && !config.scope.excludes(""));
    let config = accepts("scope: {excludedNamespaces: [team, kube-system]}").installed_in("ours");
    assert!(excludes(&config, &["team", "kube-system", "ours"]));
    assert!(!config.scope.excludes("kube-public"));
    let config = accepts("scope: {excludedNamespaces: []}").installed_in("ours");
    assert!(excludes(&config, &["ours"]) && !config.scope.excludes("kube-system"));
    // A pattern cannot be rendered into the registration.
    for name in ["team-*", "Team", "a/b", "-a", "\"\""] {
        let error = refuses(&format!("scope: {{excludedNamespaces: [{name}]}}"));
        assert!(error.contains("is not the name of a namespace"), "{error}");
        assert!(error.contains("line 3 "), "{error}");
    }
    let error = refuses("scope:\n  excludedNamespaces:\n");
    assert!(error.contains("`excludedNamespaces` is blank"), "{error}");
}

#[test]
fn invalid_provision_entry_is_refused_with_its_place() {
    let host = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
    accepts(&format!("provision: [{{registries: [{host}]}}]"));
    accepts(&format!(
        "provision: [{{selector: {{matchLabels: {{a: b}}}}, registries: [{host}]}}]"
    ));
    for (entry, said) in [
        ("namespaces: [x]".to_owned(), "missing field `registries`"),
        (
            "registries:".to_owned(),
            "provision[0].registries: give 1 to 100",
        ),
        (
            "registries: []".to_owned(),
            "provision[0].registries: give 1 to 100",
        ),
        (
            "registries: [docker.io]".to_owned(),
            "provision[0].registries: `docker.io`",
        ),
        (
            format!("registries: [{host}]\n  selector: !a"),
            "`selector` is blank",
        ),
        (
            format!("registries: [{host}]\n  selector:"),
            "`selector` is blank",
        ),
        (
            format!("registries: [{host}]\n  selector: {{matchLabels: {{-a: b}}}}"),
            "provision[0].selector.matchLabels: `-a` is not the key",
        ),
        (
            format!(
                "registries: [{host}]\n  selector: {{matchExpressions: [{{key: a, operator: In}}]}}"
            ),
            "provision[0].selector.matchExpressions[0].values: give at least one value for In",
        ),
        (
            format!("registries: [{host}]\n  selector:\n    matchLabels:\n"),
            "`matchLabels` is blank",
        ),
        (
            format!("registries: [{host}]\n  selector:\n    matchExpressions:\n"),
            "`matchExpressions` is blank",
        ),
        (
            format!("registries: [{host}]\n  selector: [a]"),
            "expected a LabelSelector",
        ),
        (
            format!("registries: [{host}]\n  namespaces:"),
            "leave the field out",
        ),
    ] {
        let error = refuses(&format!("provision:\n- {entry}\n"));
        assert!(error.contains(said), "{entry}\n{error}");
    }
}

#[test]
fn pods_are_recreated_only_if_configured() {
    assert!(!accepts("repair: {}").repair.recreate_pods);
    assert!(accepts("repair: {recreatePods: true}").repair.recreate_pods);
}

/// Versions before the first release read the form of kubectl.
#[test]
fn selector_as_text_is_refused_with_the_new_form() {
    let host = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
    for text in ["a=b", "\"!a\"", "a in (b,c)", "a", "\"\"", "\" \""] {
        let error = refuses(&format!(
            "provision:\n- registries: [{host}]\n  selector: {text}\n"
        ));
        let quoted = text.trim_matches('"');
        assert!(
            error.contains(&format!("`{quoted}`: write a LabelSelector")),
            "{error}"
        );
        assert!(error.contains("line 5 "), "{error}");
        let example = error
            .split_once("in place of a text: ")
            .and_then(|(_, rest)| rest.lines().next())
            .unwrap();
        accepts(&format!(
            "provision:\n- registries: [{host}]\n  selector: {example}\n"
        ));
    }
}
