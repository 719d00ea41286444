use super::*;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

use crate::config::Injection;
use crate::selection::{Selection, Wish};
use crate::workload::plan::{AccountFact, NamespaceFact};
use crate::workload::pod::Pod;

const NAME: &str = "ecr-registry-credentials";

/// Denies one account in one region, and everything in the namespace `closed`.
const RULES: &str = "
apiVersion: ecr-pull-secrets.dev/v1
kind: Config
rules:
- {namespaces: [closed], deny: {}}
- {accounts: ['210987654321'], regions: [us-*], deny: {}}
- {namespaces: [team-*], assumeRole: {roleArn: 'arn:aws:iam::123456789012:role/pull'}}
- {ambient: {}}
";

const IMAGES: [&str; 4] = [
    "123456789012.dkr.ecr.eu-central-1.amazonaws.com/app",
    "210987654321.dkr.ecr.us-east-1.amazonaws.com/app",
    "public.ecr.aws/app",
    "nginx",
];

fn pods() -> impl Strategy<Value = Value> {
    let labels = select(vec![
        json!({}),
        json!({Wish::LABEL: "true"}),
        json!({Wish::LABEL: "false"}),
    ]);
    let secrets = select(vec![
        json!(null),
        json!([]),
        json!([{"name": "other"}]),
        json!([{"name": NAME}, {"name": "other"}]),
    ]);
    let images = subsequence(IMAGES.to_vec(), 0..=IMAGES.len());
    let mirror =
        prop_oneof![9 => Just(json!({})), 1 => Just(json!({"kubernetes.io/config.mirror": "x"}))];
    (labels, mirror, secrets, images).prop_map(|(labels, annotations, secrets, images)| {
        let container = |image: &&str| json!({"name": "c", "image": image});
        json!({
            "metadata": {"labels": labels, "annotations": annotations},
            "spec": {
                "containers": images.iter().map(container).collect::<Vec<_>>(),
                "imagePullSecrets": secrets,
            },
        })
    })
}

fn facts() -> impl Strategy<Value = Facts> {
    let wish = select(vec![Wish::None, Wish::In, Wish::Out]);
    let namespace = prop_oneof![
        4 => wish.clone().prop_map(NamespaceFact::Active),
        1 => wish.prop_map(NamespaceFact::Terminating),
        1 => Just(NamespaceFact::Missing),
        1 => Just(NamespaceFact::Unknown),
    ];
    let account = select(vec![AccountFact::Unrestricted, AccountFact::Restricted]);
    (namespace, account).prop_map(|(namespace, account)| Facts {
        namespace: Some(namespace),
        account: Some(account),
    })
}

/// The pod with the reference at the end of its list.
fn patched(pod: &Value) -> Value {
    let mut pod = pod.clone();
    let list = &mut pod["spec"]["imagePullSecrets"];
    if list.is_null() {
        *list = json!([]);
    }
    list.as_array_mut().unwrap().push(json!({"name": NAME}));
    pod
}

/// Asks `question` about a pod from its JSON.
fn about<T>(pod: &Value, namespace: &str, question: impl Fn(&Workload<'_>) -> T) -> T {
    let text = pod.to_string();
    let pod: Pod<'_> = serde_json::from_str(&text).unwrap();
    question(&Workload {
        namespace,
        pod: &pod,
        is_running: false,
    })
}

proptest! {
    /// A pod with a registry that admission serves is served with its reference, and without it is missed,
    /// unless pods name the pull Secret themselves. Every other pod is fine.
    #[test]
    fn leader_and_admission_agree(
        pod in pods(),
        facts in facts(),
        namespace in select(vec!["closed", "team-a", "web", "kube-system"]),
        selection in select(vec![Selection::OptOut, Selection::OptIn, Selection::AllPods]),
        injection in select(vec![Injection::Webhook, Injection::None]),
        phase in select(vec![PodPhase::Pending, PodPhase::Running]),
    ) {
        let mut config = Config::parse(RULES).unwrap();
        config.selection = selection;
        config.injection = injection;
        let planned = about(&pod, namespace, |workload| plan(workload, &facts, &config)).unwrap();
        let judge = |pod: &Value| about(pod, namespace, |workload| standing(workload, phase, &facts, &config)).unwrap();
        // The API server creates no pod in a namespace that terminates, so there is nothing to repair.
        let is_terminating = matches!(facts.namespace, Some(NamespaceFact::Terminating(_)));
        let wanted = planned.reference != PullReference::Withheld && !is_terminating && !planned.grants.is_empty();
        let stored = judge(&pod);
        match planned.reference {
            PullReference::Create | PullReference::Append if wanted => {
                let missed = match injection {
                    Injection::Webhook => PodStanding::Missed,
                    Injection::None => PodStanding::Fine,
                };
                prop_assert_eq!(stored, missed);
                prop_assert_eq!(judge(&patched(&pod)), PodStanding::Served(planned.grants));
            }
            PullReference::Named if wanted => {
                prop_assert_eq!(stored, PodStanding::Served(planned.grants));
            }
            _ => prop_assert_eq!(stored, PodStanding::Fine),
        }
    }

    #[test]
    fn ended_pod_is_fine_without_any_fact(pod in pods()) {
        let nothing = Facts { namespace: None, account: None };
        let standing = about(&pod, "web", |workload| standing(workload, PodPhase::Ended, &nothing, &Config::default()));
        prop_assert_eq!(standing, Ok(PodStanding::Fine));
    }
}

#[test]
fn pod_of_excluded_namespace_is_left_alone() {
    let facts = Facts {
        namespace: Some(NamespaceFact::Active(Wish::In)),
        account: None,
    };
    let config = Config::default().installed_in("ours");
    let pod = json!({"spec": {"containers": [{"image": IMAGES[0]}]}});
    for namespace in ["ours", "kube-system"] {
        for pod in [pod.clone(), patched(&pod)] {
            let judged = about(&pod, namespace, |workload| {
                standing(workload, PodPhase::Pending, &facts, &config)
            });
            assert_eq!(judged, Ok(PodStanding::Fine), "{pod} in {namespace}");
        }
    }
}

#[test]
fn stored_pod_wants_its_registries_unless_it_ended_or_opted_out() {
    let pod = |label: &str| {
        json!({
            "metadata": {"labels": {Wish::LABEL: label}},
            "spec": {"containers": IMAGES.map(|image| json!({"image": image}))},
        })
    };
    let wants = |pod: &Value, phase| {
        about(pod, "team", |workload| {
            let (wish, registries) = wanted(workload.pod, phase)?;
            let hosts: Vec<String> = registries.map(|one| one.host().to_owned()).collect();
            Some((wish, hosts))
        })
    };
    let hosts = || {
        IMAGES[..2]
            .iter()
            .map(|image| image.trim_end_matches("/app").to_owned())
    };
    for (label, wish) in [("", Wish::None), ("true", Wish::In)] {
        for phase in [PodPhase::Pending, PodPhase::Running] {
            let got = wants(&pod(label), phase);
            assert_eq!(got, Some((wish, hosts().collect())), "{label} {phase:?}");
        }
        assert_eq!(wants(&pod(label), PodPhase::Ended), None);
    }
    assert_eq!(wants(&pod("false"), PodPhase::Running), None);
    let mut mirror = pod("");
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    assert_eq!(wants(&mirror, PodPhase::Running), None);
}

#[test]
fn pod_left_out_on_purpose_is_fine() {
    let labelled = |label: &str, image: &str| {
        json!({
            "metadata": {"labels": {Wish::LABEL: label}},
            "spec": {"containers": [{"image": image}]},
        })
    };
    let facts = |wish, account| Facts {
        namespace: Some(NamespaceFact::Active(wish)),
        account: Some(account),
    };
    let free = facts(Wish::None, AccountFact::Unrestricted);
    let config = Config::parse(RULES).unwrap();
    let judge = |pod: &Value, namespace, facts: &Facts| {
        let stored =
            |workload: &Workload<'_>| standing(workload, PodPhase::Running, facts, &config);
        about(pod, namespace, stored).unwrap()
    };
    let plain = labelled("", IMAGES[0]);
    assert_eq!(judge(&plain, "web", &free), PodStanding::Missed);
    let restricted = facts(Wish::None, AccountFact::Restricted);
    let out = facts(Wish::Out, AccountFact::Unrestricted);
    let debugged = json!({"spec": {
        "containers": [{"image": "nginx"}],
        "ephemeralContainers": [{"image": IMAGES[0]}],
    }});
    for (pod, namespace, facts) in [
        (&plain, "closed", &free),                // a rule denies the namespace
        (&labelled("", IMAGES[1]), "web", &free), // a rule denies the registry
        (&plain, "web", &restricted),             // the ServiceAccount
        (&plain, "web", &out),                    // the namespace's label
        (&labelled("false", IMAGES[0]), "web", &free), // the pod's own
        (&debugged, "web", &free),                // it needed none when it came
    ] {
        assert_eq!(
            judge(pod, namespace, facts),
            PodStanding::Fine,
            "{pod} {namespace}"
        );
    }
}

#[test]
fn pod_without_ecr_image_is_never_missed() {
    let facts = Facts {
        namespace: Some(NamespaceFact::Active(Wish::In)),
        account: Some(AccountFact::Unrestricted),
    };
    let mut config = Config::default();
    config.selection = Selection::AllPods;
    let pod = json!({"spec": {"containers": [{"image": "nginx"}]}});
    let planned = about(&pod, "team", |workload| plan(workload, &facts, &config)).unwrap();
    assert_eq!(planned.reference, PullReference::Create);
    let nothing = Facts {
        namespace: None,
        account: None,
    };
    for pod in [pod.clone(), patched(&pod)] {
        for facts in [&facts, &nothing] {
            let judged = about(&pod, "team", |workload| {
                standing(workload, PodPhase::Running, facts, &config)
            });
            assert_eq!(judged, Ok(PodStanding::Fine), "{pod}");
        }
    }
}
