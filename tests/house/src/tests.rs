use std::path::Path;

use super::*;

/// A small repository in which each check finds something.
fn broken(check: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/broken");
    findings(check, &root).unwrap()
}

#[test]
fn cycle_is_reported_with_files_and_lines() {
    assert_eq!(
        broken("cycles"),
        ["cycle of 3 files:\
            \n  core/src/plan.rs takes from core/src/plan/facts.rs:\
            \n    core/src/plan.rs:3: self::facts::Facts\
            \n    core/src/plan.rs:7: Facts\
            \n  core/src/plan/facts.rs takes from core/src/rules.rs:\
            \n    core/src/plan/facts.rs:2: crate::rules::Rules\
            \n  core/src/rules.rs takes from core/src/plan.rs:\
            \n    core/src/rules.rs:4: super::plan::Plan"]
    );
}

#[test]
fn duplicate_type_is_reported_with_its_places() {
    assert_eq!(
        broken("names"),
        ["type Plan ×2:\n  core/src/plan.rs:6\n  src/lib.rs:4"]
    );
}

#[test]
fn words_are_reported_in_documents_comments_and_names() {
    let expected: Vec<&str> = include_str!("../fixtures/words.txt").lines().collect();
    assert_eq!(broken("words"), expected);
}
