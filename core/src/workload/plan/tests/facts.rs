//! The facts, and what each makes of a plan.

use super::*;

use NamespaceFact::{Active, Missing, Terminating, Unknown};

/// Denies the registry [`OTHER`] in the namespace `team`, and allows everything else.
const RULES: &str = "
apiVersion: ecr-pull-secrets.dev/v1
kind: Config
rules:
- {accounts: ['210987654321'], namespaces: [team], deny: {}}
- {ambient: {}}
";

fn pod(hosts: &[&str], secrets: &Value, label: &str) -> String {
    let containers = hosts.iter().map(|host| json!({"image": image(host)}));
    let containers: Value = containers.collect();
    json!({
        "metadata": {"labels": {Wish::LABEL: label}},
        "spec": {
            "containers": containers,
            // If the pod runs, these are what the review is about.
            "ephemeralContainers": containers,
            "imagePullSecrets": secrets,
        },
    })
    .to_string()
}

fn ask(pod: &str, is_running: bool, facts: Facts, config: &Config) -> Result<Plan, Fact> {
    let pod: Pod<'_> = serde_json::from_str(pod).unwrap();
    let workload = Workload {
        namespace: "team",
        pod: &pod,
        is_running,
    };
    plan(&workload, &facts, config)
}

const NOTHING: Facts = Facts {
    namespace: None,
    account: None,
};

#[test]
fn plan_asks_for_the_facts_that_it_needs() {
    let plain = pod(&[HOST], &json!(null), "");
    let named = pod(&[HOST], &json!([{"name": NAME}]), "");
    let config = Config::default();
    let namespace = |fact| Facts {
        namespace: Some(fact),
        ..NOTHING
    };
    for (pod, is_running, facts, wanted) in [
        (&plain, false, NOTHING, Some(Fact::Namespace)),
        (&plain, true, NOTHING, Some(Fact::Namespace)),
        (&named, false, NOTHING, Some(Fact::Namespace)),
        (
            &plain,
            false,
            Facts {
                account: Some(AccountFact::Restricted),
                ..NOTHING
            },
            Some(Fact::Namespace),
        ),
        (
            &plain,
            false,
            namespace(Active(Wish::None)),
            Some(Fact::Account),
        ),
        (&plain, false, namespace(Unknown), Some(Fact::Account)),
        (&plain, false, namespace(Missing), None),
        (&plain, false, namespace(Terminating(Wish::None)), None),
        (&plain, false, namespace(Active(Wish::Out)), None),
        // A reference that is there, or cannot be added, does not depend on the account.
        (&plain, true, namespace(Active(Wish::None)), None),
        (&named, false, namespace(Active(Wish::None)), None),
        (&named, true, namespace(Active(Wish::None)), None),
    ] {
        let asked = ask(pod, is_running, facts, &config).err();
        assert_eq!(asked, wanted, "{pod} {is_running} {facts:?}");
    }
}

#[test]
fn pod_that_no_fact_can_change_needs_none() {
    let mirror = json!({
        "metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}},
        "spec": {"containers": [{"image": image(HOST)}]},
    });
    for (pod, skip) in [
        (mirror.to_string(), Skip::MirrorPod),
        (pod(&[], &json!(null), "true"), Skip::NoEcrImage),
        (pod(&[HOST], &json!(null), "false"), Skip::OptedOut),
    ] {
        for selection in [Selection::OptOut, Selection::OptIn] {
            for is_running in [false, true] {
                assert_eq!(
                    ask(&pod, is_running, NOTHING, &config(selection)),
                    Ok(Plan::skip(skip)),
                    "{pod}"
                );
            }
        }
    }
}

/// Every combination of facts, for a pod by each state of its list.
#[test]
fn each_combination_of_facts_has_its_plan() {
    let terminating = |reference| Plan::degraded(reference, Cause::NamespaceTerminating);
    let restricted = Plan::degraded(PullReference::Withheld, Cause::ServiceAccountRestricted);
    let lacks = Plan::degraded(PullReference::Withheld, Cause::PodLacksReference);
    let served = |reference| serve(reference, &[HOST]);
    for (secrets, reference) in [
        (json!(null), PullReference::Create),
        (json!([]), PullReference::Append),
        (json!([{"name": NAME}]), PullReference::Named),
    ] {
        let pod = pod(&[HOST], &secrets, "");
        let is_named = reference == PullReference::Named;
        for namespace in [
            Active(Wish::None),
            Active(Wish::In),
            Active(Wish::Out),
            Terminating(Wish::None),
            Terminating(Wish::In),
            Terminating(Wish::Out),
            Missing,
            Unknown,
        ] {
            for (account, is_running) in [
                (AccountFact::Unrestricted, false),
                (AccountFact::Unrestricted, true),
                (AccountFact::Restricted, false),
                (AccountFact::Restricted, true),
            ] {
                let wanted = match namespace {
                    Active(Wish::Out) | Terminating(Wish::Out) => Plan::skip(Skip::OptedOut),
                    Missing => Plan::skip(Skip::NamespaceMissing),
                    Terminating(_) if is_running && !is_named => {
                        terminating(PullReference::Withheld)
                    }
                    Terminating(_) => terminating(reference),
                    Active(_) | Unknown if is_named => served(reference),
                    Active(_) | Unknown if is_running => lacks.clone(),
                    Active(_) | Unknown if account == AccountFact::Restricted => restricted.clone(),
                    Active(_) | Unknown => served(reference),
                };
                let facts = known(namespace, account);
                let got = ask(&pod, is_running, facts, &Config::default());
                assert_eq!(got, Ok(wanted), "{pod} {is_running} {facts:?}");
            }
        }
    }
}

#[test]
fn excluded_namespace_gets_nothing_for_any_pod() {
    let config = Config::parse(
        "{apiVersion: ecr-pull-secrets.dev/v1, kind: Config, scope: {excludedNamespaces: [team]}}",
    );
    let excluded = config.unwrap();
    let ours = Config::default().installed_in("team");
    for config in [excluded, ours] {
        for secrets in [json!(null), json!([]), json!([{"name": NAME}])] {
            for label in ["", "true"] {
                let pod = pod(&[HOST], &secrets, label);
                let exempt = Ok(Plan::skip(Skip::NamespaceExempt));
                assert_eq!(ask(&pod, false, NOTHING, &config), exempt, "{pod}");
                assert_eq!(ask(&pod, true, NOTHING, &config), exempt, "{pod}");
            }
        }
    }
}

#[test]
fn opt_in_takes_the_wish_of_a_known_namespace() {
    let pod = pod(&[HOST], &json!(null), "");
    let config = config(Selection::OptIn);
    let plan = |fact| ask(&pod, false, known(fact, AccountFact::Unrestricted), &config);
    for (fact, wanted) in [
        (Active(Wish::None), Plan::skip(Skip::OptedOut)),
        (Active(Wish::In), serve(PullReference::Create, &[HOST])),
        (Missing, Plan::skip(Skip::OptedOut)),
        (Unknown, serve(PullReference::Create, &[HOST])),
    ] {
        assert_eq!(plan(fact), Ok(wanted), "{fact:?}");
    }
    assert_eq!(
        ask(&pod, false, NOTHING, &config),
        Err(Fact::Namespace),
        "its wish may be `true`"
    );
}

#[test]
fn all_pods_needs_no_ecr_image() {
    let config = config(Selection::AllPods);
    let lists = [
        (json!(null), PullReference::Create),
        (json!([{"name": "other"}]), PullReference::Append),
        (json!([{"name": NAME}]), PullReference::Named),
    ];
    for (hosts, (secrets, reference)) in [&[][..], &[HOST]]
        .into_iter()
        .flat_map(|hosts| lists.clone().map(|list| (hosts, list)))
    {
        let pod = |label| pod(hosts, &secrets, label);
        let plan =
            |pod: &str, fact| ask(pod, false, known(fact, AccountFact::Unrestricted), &config);
        for (label, fact, wanted) in [
            ("", Active(Wish::In), serve(reference, hosts)),
            ("true", Active(Wish::In), serve(reference, hosts)),
            ("", Unknown, serve(reference, hosts)),
            ("false", Active(Wish::In), Plan::skip(Skip::OptedOut)),
            ("", Active(Wish::Out), Plan::skip(Skip::OptedOut)),
            // Only the namespace's label selects.
            ("", Active(Wish::None), Plan::skip(Skip::OptedOut)),
            ("true", Active(Wish::None), Plan::skip(Skip::OptedOut)),
        ] {
            assert_eq!(
                plan(&pod(label), fact),
                Ok(wanted),
                "{hosts:?} {label} {fact:?}"
            );
        }
        assert_eq!(ask(&pod(""), false, NOTHING, &config), Err(Fact::Namespace));
    }
}

#[test]
fn pod_without_need_gets_no_warning() {
    let config = config(Selection::AllPods);
    let plain = pod(&[], &json!(null), "");
    for (account, is_running) in [
        (AccountFact::Restricted, false),
        (AccountFact::Unrestricted, true),
    ] {
        let facts = known(Active(Wish::In), account);
        let planned = ask(&plain, is_running, facts, &config);
        assert_eq!(planned, Ok(Plan::skip(Skip::NoEcrImage)), "{account:?}");
    }
    // The patch would not apply.
    for pod in ["{}", "{\"spec\": null}"] {
        let planned = ask(pod, false, NOTHING, &config);
        assert_eq!(planned, Ok(Plan::skip(Skip::NoEcrImage)), "{pod}");
    }
}

#[test]
fn denied_registry_is_left_out_with_a_cause() {
    let config = Config::parse(RULES).unwrap();
    let facts = known(Active(Wish::None), AccountFact::Unrestricted);
    for secrets in [json!(null), json!([]), json!([{"name": NAME}])] {
        for is_running in [false, true] {
            let is_named = secrets.pointer("/0").is_some();
            if is_running && !is_named {
                continue;
            }
            let whole = ask(&pod(&[HOST], &secrets, ""), is_running, facts, &config).unwrap();
            assert_eq!(whole.causes, []);
            let part = pod(&[OTHER, HOST], &secrets, "");
            let part = ask(&part, is_running, facts, &config).unwrap();
            assert_eq!(part.causes, [Cause::DeniedByRule]);
            assert_eq!(part.reference, whole.reference);
            assert_eq!(part.grants, whole.grants);
            let none = ask(&pod(&[OTHER], &secrets, ""), is_running, facts, &config);
            let denied = Plan::degraded(PullReference::Withheld, Cause::DeniedByRule);
            assert_eq!(none, Ok(denied), "{secrets}");
        }
    }
}

#[test]
fn unanswered_facts_give_the_reference() {
    let plain = pod(&[HOST], &json!(null), "");
    let config = config(Selection::OptIn);
    let mut facts = NOTHING;
    let mut asked = Vec::new();
    while let Err(fact) = ask(&plain, false, facts, &config) {
        asked.push(fact);
        facts.give_up(fact);
    }
    assert_eq!(asked, [Fact::Namespace, Fact::Account]);
    let planned = ask(&plain, false, facts, &config);
    assert_eq!(planned, Ok(serve(PullReference::Create, &[HOST])));
}

#[test]
fn late_cause_goes_first() {
    let plan = Plan {
        causes: vec![Cause::DeniedByRule],
        ..serve(PullReference::Append, &[HOST])
    };
    assert_eq!(plan.clone().settle(None), plan);
    let late = plan.clone().settle(Some(Cause::AwsTimeout));
    assert_eq!(late.causes, [Cause::AwsTimeout, Cause::DeniedByRule]);
    assert_eq!(late.reference, PullReference::Append);
    assert_eq!(late.grants, plan.grants);
}

#[test]
fn malformed_secret_withdraws_only_an_added_reference() {
    for (reference, wanted) in [
        (PullReference::Create, PullReference::Withheld),
        (PullReference::Append, PullReference::Withheld),
        (PullReference::Named, PullReference::Named),
    ] {
        let plan = serve(reference, &[HOST]).settle(Some(Cause::ForeignMalformed));
        assert_eq!(plan.reference, wanted);
        assert_eq!(plan.causes, [Cause::ForeignMalformed]);
        for late in [
            Cause::ForeignOwner,
            Cause::ForeignType,
            Cause::QuotaExceeded,
        ] {
            let plan = serve(reference, &[HOST]).settle(Some(late));
            assert_eq!(plan.reference, reference, "{late}");
        }
    }
}
