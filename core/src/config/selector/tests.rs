use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;

fn labels(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    let own = |text: &str| text.to_owned();
    labels
        .iter()
        .map(|(key, value)| (own(key), own(value)))
        .collect()
}

fn read(yaml: &str) -> LabelSelector {
    serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{yaml}: {error}"))
}

fn expression(key: &str, operator: Operator, values: &[&str]) -> LabelSelector {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    LabelSelector {
        match_labels: BTreeMap::new(),
        match_expressions: vec![Requirement {
            key: key.to_owned(),
            operator,
            values,
        }],
    }
}

/// Whether it matches namespaces of team `a`, of team `b`, of a team without a name, and of none.
fn matches(selector: &str) -> [bool; 4] {
    let selector = read(selector);
    assert_eq!(selector.check(), Ok(()));
    [
        labels(&[("team", "a"), ("tier", "web")]),
        labels(&[("team", "b"), ("tier", "web")]),
        labels(&[("team", "")]),
        labels(&[]),
    ]
    .map(|labels| selector.matches(&labels))
}

#[test]
fn each_form_matches_as_in_kubernetes() {
    for (selector, matched) in [
        ("{}", [true, true, true, true]),
        ("matchLabels: {}", [true, true, true, true]),
        ("matchExpressions: []", [true, true, true, true]),
        ("matchLabels: {team: a}", [true, false, false, false]),
        ("matchLabels: {team: \"\"}", [false, false, true, false]),
        (
            "matchLabels: {team: a, tier: web}",
            [true, false, false, false],
        ),
        (
            "matchExpressions: [{key: team, operator: Exists}]",
            [true, true, true, false],
        ),
        (
            "matchExpressions: [{key: team, operator: Exists, values: []}]",
            [true, true, true, false],
        ),
        (
            "matchExpressions: [{key: team, operator: DoesNotExist}]",
            [false, false, false, true],
        ),
        (
            "matchExpressions: [{key: team, operator: In, values: [a]}]",
            [true, false, false, false],
        ),
        (
            "matchExpressions: [{key: team, operator: In, values: [a, b]}]",
            [true, true, false, false],
        ),
        (
            "matchExpressions: [{key: team, operator: In, values: [a, \"\"]}]",
            [true, false, true, false],
        ),
        (
            "matchExpressions: [{key: team, operator: NotIn, values: [a]}]",
            [false, true, true, true],
        ),
        (
            "matchExpressions: [{key: team, operator: NotIn, values: [a, b]}]",
            [false, false, true, true],
        ),
        (
            "matchExpressions: [{key: team, operator: Exists}, {key: tier, operator: Exists}]",
            [true, true, false, false],
        ),
        (
            "matchLabels: {tier: web}\nmatchExpressions: [{key: team, operator: In, values: [a, b]}, {key: team, operator: NotIn, values: [b]}]",
            [true, false, false, false],
        ),
        (
            "matchExpressions: [{key: in, operator: Exists}]",
            [false, false, false, false],
        ),
        (
            "matchExpressions: [{key: example.com/team, operator: Exists}]",
            [false, false, false, false],
        ),
    ] {
        assert_eq!(matches(selector), matched, "{selector}");
    }
}

#[test]
fn invalid_key_or_value_is_refused_with_its_field() {
    let long = "a".repeat(64);
    for key in ["", "-a", "a/", "/a", "a/b/c", "A.com/b", "!a", "a b", &long] {
        let pair = LabelSelector {
            match_labels: labels(&[(key, "a")]),
            match_expressions: Vec::new(),
        };
        let error = pair.check().unwrap_err().to_string();
        let said = format!("matchLabels: `{key}` is not the key of a label");
        assert!(error.starts_with(&said), "{error}");
        let error = expression(key, Operator::Exists, &[]).check();
        let error = error.unwrap_err().to_string();
        let said = format!("matchExpressions[0].key: `{key}` is not the key of a label");
        assert!(error.starts_with(&said), "{error}");
    }
    for value in ["-b", "b/c", "b c", "b=c", "\u{e4}", &long] {
        let pair = LabelSelector {
            match_labels: labels(&[("key", value)]),
            match_expressions: Vec::new(),
        };
        let error = pair.check().unwrap_err().to_string();
        let said = format!("matchLabels.key: `{value}` is not the value of a label");
        assert!(error.starts_with(&said), "{error}");
        for operator in [Operator::In, Operator::NotIn] {
            let error = expression("key", operator, &["fine", value]).check();
            let error = error.unwrap_err().to_string();
            let said = format!("matchExpressions[0].values: `{value}` is not the value of a label");
            assert!(error.starts_with(&said), "{error}");
        }
    }
}

#[test]
fn values_are_present_exactly_for_in_and_not_in() {
    for (operator, text) in [(Operator::In, "In"), (Operator::NotIn, "NotIn")] {
        assert_eq!(expression("key", operator, &["a"]).check(), Ok(()));
        let error = expression("key", operator, &[]).check().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("matchExpressions[0].values: give at least one value for {text}")
        );
    }
    for (operator, text) in [
        (Operator::Exists, "Exists"),
        (Operator::DoesNotExist, "DoesNotExist"),
    ] {
        assert_eq!(expression("key", operator, &[]).check(), Ok(()));
        let error = expression("key", operator, &["a"]).check().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("matchExpressions[0].values: leave the field out for {text}")
        );
    }
}

#[test]
fn only_the_four_operators_are_read() {
    for operator in ["in", "notin", "Equals", "Gt", "Lt", "==", ""] {
        let yaml = format!("matchExpressions: [{{key: a, operator: \"{operator}\"}}]");
        let error = serde_saphyr::from_str::<LabelSelector>(&yaml).unwrap_err();
        assert!(error.to_string().contains("unknown variant"), "{error}");
    }
}

fn any_values() -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(vec!["a", "b", "c"], 1..=3)
}

proptest! {
    /// For any labels, exactly one of a requirement and its opposite holds.
    #[test]
    fn requirement_and_its_opposite_exclude_each_other(
        values in any_values(), label in proptest::option::of("[a-c]"),
    ) {
        use Operator::{DoesNotExist, Exists, In, NotIn};

        let labels: BTreeMap<_, _> = label.map(|label| ("key".to_owned(), label)).into_iter().collect();
        for (one, other) in [
            (expression("key", Exists, &[]), expression("key", DoesNotExist, &[])),
            (expression("key", In, &values), expression("key", NotIn, &values)),
        ] {
            prop_assert!(one.matches(&labels) != other.matches(&labels));
        }
    }

    /// A label with its value is an `In` with one value.
    #[test]
    fn pair_is_in_with_one_value(value in select(vec!["a", "b", ""]), label in proptest::option::of("[a-b]?")) {
        let pair = LabelSelector { match_labels: labels(&[("key", value)]), match_expressions: Vec::new() };
        let labels: BTreeMap<_, _> = label.map(|label| ("key".to_owned(), label)).into_iter().collect();
        let expression = expression("key", Operator::In, &[value]);
        prop_assert_eq!(pair.matches(&labels), expression.matches(&labels));
    }

    #[test]
    fn no_text_causes_a_panic(text in any::<String>(), near in "[ab:{}\\[\\], \u{e4}]{0,30}") {
        for text in [text, near] {
            if let Ok(selector) = serde_saphyr::from_str::<LabelSelector>(&text) {
                let _ = selector.check();
                selector.matches(&BTreeMap::new());
            }
        }
    }
}
