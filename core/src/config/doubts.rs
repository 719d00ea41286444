//! What a valid configuration says in vain: a pattern that matches no namespace, and a rule that no
//! registry reaches.
//!
//! Older files may hold such lines, so they are no errors. But a rule with `deny` that never denies
//! is most likely a mistake, so each is named by its place.

use super::injection::Injection;
use super::provision::ProvisionEntry;
use super::repair::Repair;
use super::rules::Rule;
use crate::names::{MAX_LABEL_BYTES, is_dns_label};
use crate::rules::{Glob, RuleScope};

/// A part of a configuration that has no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// A pattern of namespaces that no namespace's name matches.
    #[error(
        "{section}[{index}].namespaces: `{pattern}` matches no namespace; give lower-case letters, digits and `-`, or `*` and `?`"
    )]
    Pattern {
        /// `rules` or `provision`.
        section: &'static str,
        /// The index in it.
        index: usize,
        /// The pattern.
        pattern: String,
    },
    /// A rule after another one that takes all that it could take.
    #[error(
        "rules[{index}] never decides: rules[{by}] matches first whatever it matches; move it up, or remove it"
    )]
    Unreachable {
        /// The index of the rule.
        index: usize,
        /// The index of the first rule that takes all.
        by: usize,
    },
    /// Missed pods are to be re-created where none is missed.
    #[error("repair.recreatePods has no effect with injection: none; remove one of the two")]
    NoMissedPods,
}

/// All doubts about a file, in the order of its sections.
pub(super) fn of(
    injection: Injection,
    rules: &[Rule],
    provision: &[ProvisionEntry],
    repair: Repair,
) -> Vec<Doubt> {
    let of_rules = patterns("rules", rules.iter().map(|rule| &rule.namespaces));
    let of_provision = patterns("provision", provision.iter().map(|entry| &entry.namespaces));
    let scopes: Vec<RuleScope> = rules.iter().map(Rule::scope).collect();
    let unreachable = scopes.iter().enumerate().filter_map(|(index, scope)| {
        let mut earlier = scopes.iter().take(index);
        let by = earlier.position(|first| first.covers(scope))?;
        Some(Doubt::Unreachable { index, by })
    });
    let misses_none = repair.recreate_pods && !injection.reaches_pods();
    let of_repair = misses_none.then_some(Doubt::NoMissedPods);
    of_rules
        .chain(unreachable)
        .chain(of_provision)
        .chain(of_repair)
        .collect()
}

/// The patterns of a section that match no namespace, by the list of each entry.
fn patterns<'a>(
    section: &'static str,
    entries: impl Iterator<Item = &'a Vec<Glob>>,
) -> impl Iterator<Item = Doubt> {
    entries.enumerate().flat_map(move |(index, globs)| {
        let bad = globs.iter().filter(|glob| !can_match(glob));
        bad.map(move |glob| Doubt::Pattern {
            section,
            index,
            pattern: glob.pattern().to_owned(),
        })
    })
}

/// Whether a namespace can have a name that matches.
fn can_match(glob: &Glob) -> bool {
    let pattern = glob.pattern();
    // The shortest text that matches is a name, or becomes one with letters in place of the `*`.
    let shortest = pattern.replace('*', "").replace('?', "a");
    let longer = pattern.replace(['*', '?'], "a");
    is_dns_label(&shortest) || (shortest.len() <= MAX_LABEL_BYTES && is_dns_label(&longer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn doubts(sections: &str) -> Vec<String> {
        let file = format!("apiVersion: ecr-pull-secrets.dev/v1\nkind: Config\n{sections}");
        let config = Config::parse(&file).unwrap();
        config.doubts().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn recreation_without_missed_pods_is_named() {
        for (injection, count) in [("webhook", 0), ("none", 1)] {
            let sections = format!("injection: {injection}\nrepair: {{recreatePods: true}}\n");
            assert_eq!(doubts(&sections).len(), count, "{injection}");
        }
        assert!(doubts("injection: none\n").is_empty());
    }

    #[test]
    fn pattern_that_matches_no_namespace_is_named() {
        let long = "a".repeat(63);
        for good in [
            "team",
            "team-*",
            "*",
            "?",
            "*-x-*",
            "a?",
            &long,
            &format!("{long}*"),
        ] {
            assert!(can_match(&Glob::new(good)), "{good}");
        }
        for bad in [
            "Team_X",
            "team_*",
            "",
            "-team",
            "team-",
            "*.x",
            "team *",
            &"a".repeat(64),
        ] {
            assert!(!can_match(&Glob::new(bad)), "{bad}");
        }
        let registries = "registries: [123456789012.dkr.ecr.eu-central-1.amazonaws.com]";
        let found = doubts(&format!(
            "rules: [{{namespaces: [a, Team_X], deny: {{}}}}]\n\
             provision: [{{{registries}}}, {{namespaces: [B], {registries}}}]"
        ));
        let form = "matches no namespace; give lower-case letters, digits and `-`, or `*` and `?`";
        assert_eq!(
            found,
            [
                format!("rules[0].namespaces: `Team_X` {form}"),
                format!("provision[1].namespaces: `B` {form}"),
            ]
        );
    }

    #[test]
    fn rule_after_one_that_takes_all_is_named() {
        let unreachable = |rules: &str| {
            let found = doubts(&format!("rules: [{rules}]"));
            found.iter().any(|text| {
                text == "rules[1] never decides: rules[0] matches first whatever it matches; move it up, or remove it"
            })
        };
        for (first, second) in [
            ("ambient: {}", "namespaces: [team], deny: {}"),
            ("ambient: {}", "deny: {}"),
            ("namespaces: ['*'], ambient: {}", "deny: {}"),
            (
                "namespaces: ['team-*'], ambient: {}",
                "namespaces: [team-a], deny: {}",
            ),
            (
                "namespaces: ['team-*'], ambient: {}",
                "namespaces: ['team-a-*', team-b], deny: {}",
            ),
            (
                "accounts: ['123456789012', '210987654321'], ambient: {}",
                "accounts: ['123456789012'], regions: [us-east-1], deny: {}",
            ),
        ] {
            assert!(
                unreachable(&format!("{{{first}}}, {{{second}}}")),
                "{second}"
            );
        }
        for (first, second) in [
            ("namespaces: [team], ambient: {}", "deny: {}"),
            (
                "namespaces: [team-a], ambient: {}",
                "namespaces: ['team-*'], deny: {}",
            ),
            (
                "namespaces: ['a-*'], ambient: {}",
                "namespaces: ['a-*', b], deny: {}",
            ),
            (
                "namespaces: ['?'], ambient: {}",
                "namespaces: ['*'], deny: {}",
            ),
            (
                "regions: [us-east-1], ambient: {}",
                "namespaces: [team], deny: {}",
            ),
        ] {
            assert!(
                !unreachable(&format!("{{{first}}}, {{{second}}}")),
                "{second}"
            );
        }
    }
}
