//! The RUNBOOK describes every cause in the words of the program, in one form, and no other cause.

use std::time::Duration;

use ecr_pull_secrets_core::cause::{Cause, Retry};

const RUNBOOK: &str = include_str!("../../docs/RUNBOOK.md");

/// The parts of each section, in order.
const PARTS: [&str; 5] = [
    "Meaning",
    "Impact",
    "Diagnosis",
    "Remedy",
    "How to see that it worked",
];
/// The shortest text of a part, in bytes.
const MIN_TEXT: usize = 20;

/// The headings, each with the text below it.
fn sections() -> impl Iterator<Item = (&'static str, &'static str)> {
    RUNBOOK
        .split("\n## ")
        .skip(1)
        .filter_map(|section| section.split_once('\n'))
}

/// The labelled parts of a section, each with its text on one line.
fn parts(section: &str) -> Vec<(&str, String)> {
    section
        .split("\n\n**")
        .skip(1)
        .filter_map(|part| part.split_once(":** "))
        .map(|(label, text)| (label, one_line(text)))
        .collect()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A text of the program as a sentence of prose.
fn capitalized(text: &str) -> String {
    let (first, rest) = text.split_at(1);
    format!("{}{rest}.", first.to_uppercase())
}

fn retries(retry: Retry) -> &'static str {
    match retry {
        Retry::Soon => "retried soon",
        Retry::Slowly => "retried slowly",
        Retry::Never => "not retried",
    }
}

#[test]
fn runbook_has_one_section_per_cause() {
    let headings: Vec<_> = sections().map(|(heading, _)| heading).collect();
    let names: Vec<_> = Cause::ALL.iter().map(|cause| cause.name()).collect();
    assert_eq!(headings, names);
}

#[test]
fn sections_open_with_reason_and_retry() {
    for (cause, (heading, section)) in Cause::ALL.iter().zip(sections()) {
        let retry = retries(cause.retry());
        let start = format!(
            "\nEvent reason `{}`, {retry}.\n\n**Meaning:** ",
            cause.reason()
        );
        assert!(section.starts_with(&start), "{heading}");
    }
}

#[test]
fn sections_have_five_parts_in_order() {
    for (heading, section) in sections() {
        let parts = parts(section);
        let labels: Vec<_> = parts.iter().map(|(label, _)| *label).collect();
        assert_eq!(labels, PARTS, "{heading}");
        for (label, text) in &parts {
            assert!(text.len() >= MIN_TEXT, "{heading}, {label}: {text}");
        }
    }
}

#[test]
fn sections_quote_sentence_and_remedy() {
    for (cause, (heading, section)) in Cause::ALL.iter().zip(sections()) {
        for (label, quoted) in [("Meaning", cause.sentence()), ("Remedy", cause.remedy())] {
            let parts = parts(section);
            let text = parts.iter().find(|(found, _)| *found == label);
            let quoted = capitalized(quoted);
            let is_quoted = text.is_some_and(|(_, text)| text.starts_with(&quoted));
            assert!(is_quoted, "{heading}, {label}: {quoted}");
        }
        // The sentence and the remedy alone help no reader.
        let own = one_line(section).len() - cause.sentence().len() - cause.remedy().len();
        assert!(own > 200, "{heading} says no more than the program");
    }
}

#[test]
fn runbook_states_the_retry_pauses() {
    for retry in [Retry::Soon, Retry::Slowly] {
        let (first, longest) = retry.pauses().unwrap_or((Duration::ZERO, Duration::ZERO));
        let line = format!(
            "\n- *{}*: first after {} s, then with pauses that double up to {} s;\n",
            retries(retry),
            first.as_secs_f64(),
            longest.as_secs_f64()
        );
        assert!(RUNBOOK.contains(&line), "{line}");
    }
    assert_eq!(Retry::Never.pauses(), None);
    assert!(RUNBOOK.contains(&format!("\n- *{}*: ", retries(Retry::Never))));
}
