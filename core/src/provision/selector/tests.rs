use proptest::prelude::*;

use super::*;

fn labels(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    let own = |text: &str| text.to_owned();
    labels
        .iter()
        .map(|(key, value)| (own(key), own(value)))
        .collect()
}

/// Whether it selects namespaces of team `a`, of team `b`, of a team without name, and of none.
fn selects(selector: &str) -> [bool; 4] {
    let selector = Selector::parse(selector).unwrap_or_else(|error| panic!("{selector}: {error}"));
    [
        labels(&[("team", "a"), ("tier", "web")]),
        labels(&[("team", "b"), ("tier", "web")]),
        labels(&[("team", "")]),
        labels(&[]),
    ]
    .map(|labels| selector.matches(&labels))
}

#[test]
fn each_form_selects_what_kubectl_selects() {
    for (selector, selected) in [
        ("", [true, true, true, true]),
        (" ", [true, true, true, true]),
        ("team", [true, true, true, false]),
        ("!team", [false, false, false, true]),
        ("! team", [false, false, false, true]),
        ("team=a", [true, false, false, false]),
        ("team==a", [true, false, false, false]),
        (" team = a ", [true, false, false, false]),
        ("team=", [false, false, true, false]),
        ("team!=a", [false, true, true, true]),
        ("team != a", [false, true, true, true]),
        ("team in (a)", [true, false, false, false]),
        ("team in(a,b)", [true, true, false, false]),
        ("team in ( a , b )", [true, true, false, false]),
        ("team in (a,)", [true, false, true, false]),
        ("team notin (a)", [false, true, true, true]),
        ("team notin (a,b)", [false, false, true, true]),
        ("team,tier", [true, true, false, false]),
        (
            "team in (a,b),tier=web,team!=b",
            [true, false, false, false],
        ),
        ("in", [false, false, false, false]),
        ("example.com/team", [false, false, false, false]),
    ] {
        assert_eq!(selects(selector), selected, "{selector}");
    }
}

#[test]
fn what_is_none_is_refused() {
    let long = "a".repeat(64);
    for selector in [
        ",",
        "a,",
        ",a",
        "a,,b",
        "!",
        "=a",
        "a b",
        "a in",
        "a in ()",
        "a in (b",
        "a in b)",
        "a in (b))",
        "a in ((b))",
        "a in (b) c",
        "a inn (b)",
        "a > 1",
        "a < 1",
        "a===b",
        "a=b=c",
        "a=b c",
        "a!b",
        "!a=b",
        "!!a",
        "-a",
        "a/",
        "/a",
        "a/b/c",
        "A.com/b",
        "a=-b",
        "a=b/c",
        "a=\u{e4}",
        "(a)",
        &long,
        &format!("a={long}"),
    ] {
        assert!(Selector::parse(selector).is_err(), "{selector}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>(), near in "[ab!=,() \u{e4}in]{0,20}") {
        let _ = Selector::parse(&text);
        let _ = Selector::parse(&near);
    }

    /// A requirement and its opposite share out all namespaces between them.
    #[test]
    fn of_a_requirement_and_its_opposite_one_holds(
        value in "[a-c]", others in "[a-c](,[a-c]){0,2}", label in proptest::option::of("[a-c]"),
    ) {
        let labels: BTreeMap<_, _> = label.map(|label| ("key".to_owned(), label)).into_iter().collect();
        for (one, other) in [
            ("key".to_owned(), "!key".to_owned()),
            (format!("key={value}"), format!("key!={value}")),
            (format!("key in ({others})"), format!("key notin ({others})")),
        ] {
            let [one, other] = [one, other].map(|text| Selector::parse(&text).unwrap().matches(&labels));
            prop_assert!(one != other);
        }
    }
}
