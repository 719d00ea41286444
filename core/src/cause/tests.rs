//! Names, sentences and retries of the causes.

use std::collections::BTreeSet;

use super::*;

fn snake(camel: &str) -> String {
    let mut out = String::new();
    for letter in camel.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

#[test]
fn every_cause_has_one_name_in_two_spellings() {
    let names: BTreeSet<_> = Cause::ALL.iter().map(|cause| cause.name()).collect();
    assert_eq!(names.len(), Cause::ALL.len());
    for cause in Cause::ALL {
        assert_eq!(cause.name(), snake(cause.reason()));
    }
}

#[test]
fn every_warning_fits_and_names_its_cause() {
    for cause in Cause::ALL {
        let warning = cause.warning();
        assert!(
            warning.len() <= 120,
            "{} characters: {warning}",
            warning.len()
        );
        assert!(warning.contains(cause.name()) && warning.contains(cause.sentence()));
        assert!(warning.is_ascii());
        assert_eq!(cause.to_string(), cause.sentence());
    }
}

#[test]
fn sentences_and_remedies_keep_to_the_house_style() {
    for cause in Cause::ALL {
        for text in [cause.sentence(), cause.remedy()] {
            assert!(!text.ends_with('.'), "{text}");
            assert!(text.len() > 8, "{text}");
        }
    }
}

#[test]
fn remote_trouble_is_retried_sooner_than_mistakes() {
    let (soon, soon_cap) = Retry::Soon.pauses().unwrap();
    let (slowly, slowly_cap) = Retry::Slowly.pauses().unwrap();
    assert!(soon < slowly && soon_cap < slowly_cap);
    assert_eq!(Retry::Never.pauses(), None);
    assert_eq!(Cause::AwsThrottled.retry(), Retry::Soon);
    assert_eq!(Cause::AwsAccessDenied.retry(), Retry::Slowly);
    assert_eq!(Cause::NamespaceTerminating.retry(), Retry::Never);
}
