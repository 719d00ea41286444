//! A remedy that sends the reader to the log names a line and a field that the program logs.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use ecr_pull_secrets_core::cause::Cause;

/// The calls in the sources of the program that log a line, each with its arguments.
fn log_calls(folder: &Path, calls: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            log_calls(&path, calls);
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        for (macro_name, _) in source.match_indices("!(") {
            let (before, after) = source.split_at(macro_name);
            let is_log = ["error", "warn", "info"]
                .iter()
                .any(|name| before.ends_with(name));
            if is_log && let Some((call, _)) = after.split_once(");") {
                calls.push(call.to_owned());
            }
        }
    }
}

/// Field and message of each `FIELD` of the log line `MESSAGE`.
fn mentioned(remedy: &str) -> Vec<(&str, &str)> {
    let mut parts = remedy.split("` of the log line `");
    let mut before = parts.next().unwrap();
    let mut found = Vec::new();
    for part in parts {
        let field = before.rsplit('`').next().unwrap();
        let message = part.split('`').next().unwrap();
        found.push((field, message));
        before = part;
    }
    found
}

#[test]
fn log_line_of_each_remedy_exists() {
    let mut calls = Vec::new();
    log_calls(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../src"),
        &mut calls,
    );
    let mut checked = 0;
    for cause in Cause::ALL {
        let remedy = cause.remedy();
        let mentioned = mentioned(remedy);
        let says_log = remedy
            .split_whitespace()
            .any(|word| word == "log" || word == "logs");
        assert_eq!(
            says_log,
            !mentioned.is_empty(),
            "{}: {remedy}",
            cause.name()
        );
        for (field, message) in mentioned {
            // A line whose message is the sentence of a cause.
            let literal = if message == cause.sentence() {
                "{cause}"
            } else {
                message
            };
            let literal = format!("\"{literal}\"");
            let logs = calls.iter().any(|call| {
                let mut words =
                    call.split(|letter: char| !(letter.is_alphanumeric() || letter == '_'));
                call.contains(&literal) && words.any(|word| word == field)
            });
            assert!(logs, "{}: no line {literal} with {field}", cause.name());
            checked += 1;
        }
    }
    assert!(checked >= 5, "{checked}");
}

/// The lines of the program's sources that print an error without its sources.
fn bare_errors(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            bare_errors(&path, found);
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        let is_bare = |line: &&str| {
            ["%error", "?error", "%failure", "{failure}"]
                .iter()
                .any(|text| line.contains(text))
        };
        let lines = source.lines().filter(is_bare);
        found.extend(lines.map(|line| format!("{}: {line}", path.display())));
    }
}

/// `telemetry::chain` shows them: without its source, an error may have no reason at all.
#[test]
fn no_error_is_logged_without_its_sources() {
    let mut found = Vec::new();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src");
    bare_errors(&sources, &mut found);
    assert!(found.is_empty(), "{found:#?}");
}
