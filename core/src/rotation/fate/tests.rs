use super::*;
use crate::selection::Selection;

use NamespaceFact::{Active, Missing, Terminating, Unknown};
use Wish::{In, None as Unsaid, Out};

const HOST: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
const OTHER: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
/// Both want it.
const BOTH: &str = "both";

fn config(selection: Selection) -> Config {
    let mut config = Config::default().installed_in("ours");
    config.selection = selection;
    config
}

/// Pods of `team` want [`HOST`], and one of `labelled` opts in by itself. The configuration wants it in
/// `provided` and in [`BOTH`].
fn wanted() -> WantedRegistries {
    let mut wanted = WantedRegistries::default();
    let sweep = wanted.begin_sweep();
    for (namespace, wish) in [
        ("team", Unsaid),
        ("labelled", In),
        ("kube-system", In),
        ("ours", In),
        (BOTH, Unsaid),
    ] {
        wanted.note_pod(&Target::new(namespace, "pull"), wish, [HOST]);
    }
    for namespace in ["provided", BOTH] {
        wanted.provision(&Target::new(namespace, "pull"), [HOST]);
    }
    wanted.provision_is_known();
    wanted.end_sweep(sweep);
    wanted
}

fn of(
    wanted: &WantedRegistries,
    selection: Selection,
    namespace: &str,
    host: &str,
    wish: Wish,
) -> EntryFate {
    let target = Target::new(namespace, "pull");
    fate(
        wanted,
        &config(selection),
        &target,
        host,
        Some(Active(wish)),
        true,
    )
}

#[test]
fn entry_is_renewed_for_pods_that_want_it() {
    let wanted = wanted();
    for (selection, namespace, wish, expected) in [
        (
            Selection::OptOut,
            "team",
            Unsaid,
            EntryFate::Renew(SecretClaim::Pods(Unsaid)),
        ),
        (
            Selection::OptOut,
            "team",
            In,
            EntryFate::Renew(SecretClaim::Pods(Unsaid)),
        ),
        (Selection::OptOut, "team", Out, EntryFate::Withdraw),
        (Selection::OptOut, "labelled", Out, EntryFate::Withdraw),
        (Selection::OptIn, "team", Unsaid, EntryFate::Withdraw),
        (
            Selection::OptIn,
            "team",
            In,
            EntryFate::Renew(SecretClaim::Pods(Unsaid)),
        ),
        (
            Selection::OptIn,
            "labelled",
            Unsaid,
            EntryFate::Renew(SecretClaim::Pods(In)),
        ),
        (Selection::OptOut, "quiet", Unsaid, EntryFate::Expire),
        (Selection::OptOut, "quiet", Out, EntryFate::Withdraw),
        (Selection::OptIn, "quiet", Unsaid, EntryFate::Withdraw),
        (Selection::OptIn, "quiet", In, EntryFate::Expire),
        (Selection::OptOut, "kube-system", In, EntryFate::Withdraw),
        (Selection::OptOut, "ours", In, EntryFate::Withdraw),
    ] {
        let got = of(&wanted, selection, namespace, HOST, wish);
        assert_eq!(got, expected, "{selection:?} {namespace} {wish:?}");
    }
}

#[test]
fn invented_host_of_a_secret_is_never_renewed() {
    let wanted = wanted();
    for namespace in ["team", "provided", BOTH] {
        let got = of(&wanted, Selection::OptOut, namespace, OTHER, Unsaid);
        assert_eq!(got, EntryFate::Expire, "{namespace}");
    }
}

#[test]
fn provisioned_entry_is_renewed_against_the_label() {
    let wanted = wanted();
    for namespace in ["provided", BOTH] {
        for wish in [Unsaid, In, Out] {
            let got = of(&wanted, Selection::OptIn, namespace, HOST, wish);
            assert_eq!(
                got,
                EntryFate::Renew(SecretClaim::Configuration),
                "{namespace} {wish:?}"
            );
        }
        // The namespace is named, so nothing is removed from its Secret.
        let got = of(&wanted, Selection::OptOut, namespace, OTHER, Out);
        assert_eq!(got, EntryFate::Expire, "{namespace}");
    }
}

#[test]
fn denied_entry_is_withdrawn_whatever_wants_it() {
    let (wanted, config) = (wanted(), config(Selection::OptOut));
    for namespace in ["team", "provided", BOTH, "quiet"] {
        let target = Target::new(namespace, "pull");
        let got = fate(&wanted, &config, &target, HOST, Some(Active(Unsaid)), false);
        assert_eq!(got, EntryFate::Withdraw, "{namespace}");
    }
}

#[test]
fn entry_in_a_namespace_that_is_going_expires() {
    let (wanted, config) = (wanted(), config(Selection::OptOut));
    for fact in [
        None,
        Some(Missing),
        Some(Unknown),
        Some(Terminating(Unsaid)),
        Some(Terminating(Out)),
    ] {
        for is_allowed in [true, false] {
            let target = Target::new("team", "pull");
            let got = fate(&wanted, &config, &target, HOST, fact, is_allowed);
            assert_eq!(got, EntryFate::Expire, "{fact:?}");
        }
    }
}

#[test]
fn nothing_is_withdrawn_before_its_claims_are_known() {
    let mut wanted = WantedRegistries::default();
    let of = |wanted: &WantedRegistries, selection, wish| of(wanted, selection, "team", HOST, wish);
    assert_eq!(of(&wanted, Selection::OptOut, Out), EntryFate::Expire);
    wanted.provision_is_known();
    assert_eq!(of(&wanted, Selection::OptOut, Out), EntryFate::Withdraw);
    // A pod may opt in by its own label.
    assert_eq!(of(&wanted, Selection::OptIn, Unsaid), EntryFate::Expire);
    let sweep = wanted.begin_sweep();
    wanted.end_sweep(sweep);
    assert_eq!(of(&wanted, Selection::OptIn, Unsaid), EntryFate::Withdraw);
}
