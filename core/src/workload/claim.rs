//! The one question before each write: does a claim on the pull Secret of a namespace count there?
//!
//! Admission asks it, and so does each loop of the leader, and a flight before each attempt. Which
//! registries a claim may name is the business of the [rules](crate::rules).

use crate::cause::Cause;
use crate::config::Config;
use crate::selection::Wish;

/// The state of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceFact {
    /// It exists, with this wish.
    Active(Wish),
    /// It is being deleted: the API server creates nothing in it.
    Terminating(Wish),
    /// It does not exist.
    Missing,
    /// The API server did not answer in time.
    Unknown,
}

impl NamespaceFact {
    /// The wish that the namespace's label states. [`Wish::In`] for an unknown namespace: a
    /// reference too many does no harm, and a missing one cannot be added later.
    pub fn wish(self) -> Wish {
        match self {
            Self::Active(wish) | Self::Terminating(wish) => wish,
            Self::Missing => Wish::None,
            Self::Unknown => Wish::In,
        }
    }
}

/// What wants a registry of a pull Secret. The Secret itself never does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretClaim {
    /// Pods that name the Secret, by the wish of their own labels.
    Pods(Wish),
    /// An entry of `provision`. It wins over the namespace's label and over exclusions.
    Configuration,
}

/// Why a claim does not count in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unserved {
    /// The labels of pod and namespace, by the configuration's selection.
    OptedOut,
    /// The configuration leaves the namespace out.
    Excluded,
    /// The namespace does not exist.
    Missing,
    /// The namespace is being deleted.
    Terminating,
}

impl Unserved {
    /// One word, for the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::OptedOut => "opted_out",
            Self::Excluded => "excluded",
            Self::Missing => "missing",
            Self::Terminating => "terminating",
        }
    }

    /// What a caller hears whose Secret is not written. A namespace may opt in again, and the next
    /// caller asks again.
    pub fn cause(self) -> Cause {
        match self {
            Self::OptedOut | Self::Excluded => Cause::StillWorking,
            Self::Missing => Cause::NamespaceMissing,
            Self::Terminating => Cause::NamespaceTerminating,
        }
    }
}

impl SecretClaim {
    /// The claim of both: the one that counts in more namespaces.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Configuration, _) | (_, Self::Configuration) => Self::Configuration,
            (Self::Pods(Wish::In), _) | (_, Self::Pods(Wish::In)) => Self::Pods(Wish::In),
            (Self::Pods(Wish::Out), other) => other,
            (Self::Pods(Wish::None), _) => self,
        }
    }

    /// Why the claim does not count in a namespace; `None` where it counts.
    pub fn unserved(
        self,
        config: &Config,
        namespace: &str,
        fact: NamespaceFact,
    ) -> Option<Unserved> {
        match self {
            Self::Pods(wish) if !config.selection.admits(wish, fact.wish()) => {
                return Some(Unserved::OptedOut);
            }
            Self::Pods(_) if config.scope.excludes(namespace) => return Some(Unserved::Excluded),
            Self::Configuration if config.scope.is_ours(namespace) => {
                return Some(Unserved::Excluded);
            }
            Self::Pods(_) | Self::Configuration => {}
        }
        match fact {
            NamespaceFact::Missing => Some(Unserved::Missing),
            NamespaceFact::Terminating(_) => Some(Unserved::Terminating),
            NamespaceFact::Active(_) | NamespaceFact::Unknown => None,
        }
    }

    /// Whether the claim counts in a namespace.
    pub fn counts(self, config: &Config, namespace: &str, fact: NamespaceFact) -> bool {
        self.unserved(config, namespace, fact).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selection::Selection;

    use NamespaceFact::{Active, Missing, Terminating, Unknown};
    use Wish::{In, None as Unsaid, Out};

    const ALL: [NamespaceFact; 8] = [
        Active(Unsaid),
        Active(In),
        Active(Out),
        Terminating(Unsaid),
        Terminating(In),
        Terminating(Out),
        Missing,
        Unknown,
    ];

    fn config(selection: Selection) -> Config {
        let mut config = Config::default().installed_in("ours");
        config.selection = selection;
        config
    }

    #[test]
    fn label_and_selection_decide_about_pods() {
        for (selection, pods, fact, unserved) in [
            (Selection::OptOut, Unsaid, Active(Unsaid), None),
            (Selection::OptOut, In, Active(Out), Some(Unserved::OptedOut)),
            (
                Selection::OptIn,
                Unsaid,
                Active(Unsaid),
                Some(Unserved::OptedOut),
            ),
            (Selection::OptIn, In, Active(Unsaid), None),
            (Selection::OptIn, Unsaid, Active(In), None),
            (Selection::OptIn, Unsaid, Unknown, None),
            (
                Selection::AllPods,
                In,
                Active(Unsaid),
                Some(Unserved::OptedOut),
            ),
            (Selection::AllPods, Unsaid, Active(In), None),
            (
                Selection::AllPods,
                Out,
                Active(In),
                Some(Unserved::OptedOut),
            ),
            (Selection::AllPods, Unsaid, Unknown, None),
            (Selection::OptOut, Unsaid, Missing, Some(Unserved::Missing)),
            (
                Selection::OptOut,
                Unsaid,
                Terminating(In),
                Some(Unserved::Terminating),
            ),
            (
                Selection::OptOut,
                Unsaid,
                Terminating(Out),
                Some(Unserved::OptedOut),
            ),
        ] {
            let got = SecretClaim::Pods(pods).unserved(&config(selection), "team", fact);
            assert_eq!(got, unserved, "{selection:?} {pods:?} {fact:?}");
        }
    }

    #[test]
    fn excluded_namespace_serves_no_pod() {
        let config = config(Selection::OptOut);
        for namespace in ["kube-system", "kube-public", "kube-node-lease", "ours"] {
            for fact in ALL {
                let claim = SecretClaim::Pods(In);
                assert!(!claim.counts(&config, namespace, fact), "{namespace}");
            }
        }
    }

    #[test]
    fn configuration_wins_over_label_and_exclusion() {
        for selection in [Selection::OptOut, Selection::OptIn, Selection::AllPods] {
            let config = config(selection);
            for fact in ALL {
                let is_there = matches!(fact, Active(_) | Unknown);
                for namespace in ["team", "kube-system"] {
                    let counts = SecretClaim::Configuration.counts(&config, namespace, fact);
                    assert_eq!(counts, is_there, "{namespace} {fact:?}");
                }
                assert!(!SecretClaim::Configuration.counts(&config, "ours", fact));
            }
        }
    }

    #[test]
    fn claim_of_two_counts_wherever_one_does() {
        let claims = [
            SecretClaim::Pods(Out),
            SecretClaim::Pods(Unsaid),
            SecretClaim::Pods(In),
            SecretClaim::Configuration,
        ];
        for selection in [Selection::OptOut, Selection::OptIn, Selection::AllPods] {
            let config = config(selection);
            for (one, other) in claims
                .iter()
                .flat_map(|one| claims.map(|other| (*one, other)))
            {
                assert_eq!(one.or(other), other.or(one));
                for (namespace, fact) in ["team", "kube-system", "ours"]
                    .into_iter()
                    .flat_map(|namespace| ALL.map(|fact| (namespace, fact)))
                {
                    let counts = |claim: SecretClaim| claim.counts(&config, namespace, fact);
                    assert_eq!(
                        counts(one.or(other)),
                        counts(one) || counts(other),
                        "{one:?} {other:?} {namespace} {fact:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn unknown_namespace_admits_like_one_that_opted_in() {
        assert_eq!(Unknown.wish(), In);
        assert_eq!(Missing.wish(), Unsaid);
        assert_eq!(Active(Out).wish(), Out);
        assert_eq!(Terminating(In).wish(), In);
    }
}
