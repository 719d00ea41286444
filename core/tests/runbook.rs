//! The RUNBOOK says of every cause what the program says of it, and knows no other.

use ecr_pull_secrets_core::cause::{Cause, Retry};

const RUNBOOK: &str = include_str!("../../docs/RUNBOOK.md");

/// Headings and what is below them.
fn sections() -> impl Iterator<Item = (&'static str, &'static str)> {
    RUNBOOK
        .split("\n## ")
        .skip(1)
        .filter_map(|section| section.split_once('\n'))
}

/// As it stands at the beginning of a line of prose.
fn capitalized(text: &str) -> String {
    let (first, rest) = text.split_at(1);
    format!("{}{rest}.", first.to_uppercase())
}

#[test]
fn every_cause_is_in_the_runbook_in_the_words_of_the_program() {
    let headings: Vec<_> = sections().map(|(heading, _)| heading).collect();
    let names: Vec<_> = Cause::ALL.iter().map(|cause| cause.name()).collect();
    assert_eq!(headings, names);

    for (cause, (_, text)) in Cause::ALL.iter().zip(sections()) {
        let retry = match cause.retry() {
            Retry::Soon => {
                "retried soon: first after 0.5 s, then less and less often, at least every 15 s"
            }
            Retry::Slowly => {
                "retried slowly: first after 5 s, then less and less often, at least every 2 minutes"
            }
            Retry::Never => "not retried",
        };
        let start = format!(
            "\n*{}* (`{}`, {retry})\n\n**{}**\n\n",
            capitalized(cause.sentence()),
            cause.reason(),
            capitalized(cause.remedy())
        );
        assert!(text.starts_with(&start), "{}", cause.name());
        assert!(
            text.len() > start.len() + 20,
            "{} says no more",
            cause.name()
        );
    }
}

#[test]
fn the_runbook_states_the_pauses_as_they_are() {
    let pauses = |retry: Retry| {
        let (first, longest) = retry.pauses()?;
        Some((first.as_secs_f64(), longest.as_secs_f64()))
    };
    assert_eq!(pauses(Retry::Soon), Some((0.5, 15.0)));
    assert_eq!(pauses(Retry::Slowly), Some((5.0, 120.0)));
}
