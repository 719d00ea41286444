use super::*;

const EAST: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
const WEST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
const PODS: SecretClaim = SecretClaim::Pods(Wish::None);

fn target(namespace: &str) -> Target {
    Target::new(namespace, "pull")
}

/// What one sweep found: pods without a label, by namespace and host.
fn swept(pods: &[(&str, &str)]) -> WantedRegistries {
    let mut wanted = WantedRegistries::default();
    sweep(&mut wanted, pods);
    wanted
}

fn sweep(wanted: &mut WantedRegistries, pods: &[(&str, &str)]) {
    let number = wanted.begin_sweep();
    for (namespace, host) in pods {
        wanted.note_pod(&target(namespace), Wish::None, [*host]);
    }
    wanted.end_sweep(number);
}

#[test]
fn registry_is_wanted_where_a_pod_names_it() {
    let wanted = swept(&[("team", EAST), ("other", WEST)]);
    assert_eq!(wanted.claim(&target("team"), EAST), Some(PODS));
    assert_eq!(wanted.claim(&target("other"), WEST), Some(PODS));
    assert_eq!(wanted.claim(&target("team"), WEST), None);
    assert_eq!(wanted.claim(&target("other"), EAST), None);
    assert_eq!(
        wanted.claim(&Target::new("team", "pull-builder"), EAST),
        None
    );
    assert_eq!(wanted.is_named(&target("team")), Some(true));
    assert_eq!(wanted.is_named(&target("quiet")), Some(false));
}

#[test]
fn pods_count_once_a_sweep_has_ended() {
    let mut wanted = WantedRegistries::default();
    wanted.note_pod(&target("team"), Wish::None, [EAST]);
    assert_eq!(wanted.claim(&target("team"), EAST), None);
    assert_eq!(wanted.is_named(&target("team")), Some(true));
    assert_eq!(wanted.is_named(&target("quiet")), None);
    let number = wanted.begin_sweep();
    wanted.note_pod(&target("team"), Wish::None, [EAST]);
    assert!(!wanted.is_swept());
    wanted.end_sweep(number);
    assert_eq!(wanted.claim(&target("team"), EAST), Some(PODS));
}

#[test]
fn sweep_replaces_what_came_before_it() {
    let mut wanted = swept(&[("gone", EAST), ("stays", EAST)]);
    let number = wanted.begin_sweep();
    wanted.note_pod(&target("stays"), Wish::None, [EAST]);
    // The watch brings a pod of a namespace that the list has passed.
    wanted.note_pod(&target("new"), Wish::None, [WEST]);
    assert_eq!(wanted.claim(&target("gone"), EAST), Some(PODS), "not over");
    wanted.end_sweep(number);
    assert_eq!(wanted.claim(&target("gone"), EAST), None);
    assert_eq!(wanted.claim(&target("stays"), EAST), Some(PODS));
    assert_eq!(wanted.claim(&target("new"), WEST), Some(PODS));
}

#[test]
fn outdated_sweep_changes_nothing() {
    let mut wanted = swept(&[("team", EAST)]);
    let failed = wanted.begin_sweep();
    let next = wanted.begin_sweep();
    wanted.end_sweep(failed);
    assert_eq!(wanted.claim(&target("team"), EAST), Some(PODS));
    // The term ends, and a loop of it is late.
    wanted.forget();
    wanted.end_sweep(next);
    assert!(!wanted.is_swept());
    assert_eq!(wanted.is_named(&target("team")), None);
}

#[test]
fn label_of_any_pod_opts_in_until_it_is_gone() {
    let team = target("team");
    let mut wanted = WantedRegistries::default();
    let number = wanted.begin_sweep();
    wanted.note_pod(&team, Wish::In, [EAST]);
    wanted.note_pod(&team, Wish::None, [EAST, WEST]);
    wanted.end_sweep(number);
    assert_eq!(wanted.claim(&team, EAST), Some(SecretClaim::Pods(Wish::In)));
    assert_eq!(wanted.claim(&team, WEST), Some(PODS));
    let number = wanted.begin_sweep();
    wanted.note_pod(&team, Wish::None, [EAST]);
    assert_eq!(wanted.claim(&team, EAST), Some(SecretClaim::Pods(Wish::In)));
    wanted.end_sweep(number);
    assert_eq!(wanted.claim(&team, EAST), Some(PODS));
}

#[test]
fn configuration_wants_what_it_said_last() {
    let (team, mut wanted) = (target("team"), WantedRegistries::default());
    assert_eq!(wanted.is_provisioned(&team), None);
    wanted.provision(&team, [EAST, WEST]);
    wanted.provision_is_known();
    assert_eq!(wanted.claim(&team, EAST), Some(SecretClaim::Configuration));
    assert_eq!(wanted.is_provisioned(&team), Some(true));
    wanted.provision(&target("other"), [EAST]);
    wanted.provision(&team, [WEST]);
    assert_eq!(wanted.claim(&team, EAST), None);
    assert_eq!(wanted.claim(&team, WEST), Some(SecretClaim::Configuration));
    sweep(&mut wanted, &[]);
    assert_eq!(wanted.claim(&team, WEST), Some(SecretClaim::Configuration));
    wanted.provision(&team, []);
    assert_eq!(wanted.is_provisioned(&team), Some(false));
    assert_eq!(wanted.is_provisioned(&target("other")), Some(true));
}

#[test]
fn secret_named_for_no_registry_is_named() {
    let mut wanted = WantedRegistries::default();
    let number = wanted.begin_sweep();
    wanted.note_name(&target("team"));
    wanted.end_sweep(number);
    assert_eq!(wanted.is_named(&target("team")), Some(true));
    assert_eq!(wanted.claim(&target("team"), ""), None);
    sweep(&mut wanted, &[]);
    assert_eq!(wanted.is_named(&target("team")), Some(false));
}

#[test]
fn pod_without_registries_names_its_secret_and_others_need_one_entry() {
    let mut wanted = swept(&[("team", EAST)]);
    assert_eq!(wanted.by_pods.len(), 1);
    wanted.note_pod(&target("plain"), Wish::None, []);
    assert_eq!(wanted.is_named(&target("plain")), Some(true));
    assert_eq!(wanted.by_pods.len(), 2);
}

#[test]
fn edition_changes_with_the_answers() {
    let (team, mut wanted) = (target("team"), swept(&[("team", EAST)]));
    let mut last = wanted.edition();
    let mut is_new = |wanted: &WantedRegistries| {
        std::mem::replace(&mut last, wanted.edition()) != wanted.edition()
    };
    wanted.note_pod(&team, Wish::None, [EAST]);
    assert!(!is_new(&wanted), "the same pod again");
    wanted.note_pod(&team, Wish::None, [WEST]);
    assert!(is_new(&wanted), "another registry");
    wanted.note_pod(&team, Wish::In, [EAST]);
    assert!(is_new(&wanted), "another wish");
    wanted.provision(&team, [EAST]);
    assert!(is_new(&wanted), "provisioned");
    wanted.provision(&team, [EAST]);
    assert!(!is_new(&wanted), "provisioned again");
    sweep(&mut wanted, &[("team", EAST)]);
    assert!(is_new(&wanted), "swept");
}

fn hosts(count: usize) -> Vec<String> {
    let host = |account| format!("{account:012}.dkr.ecr.us-east-1.amazonaws.com");
    (0..count).map(host).collect()
}

#[test]
fn registries_of_gone_pods_make_room_in_sweep() {
    let (hosts, team) = (hosts(MAX_BY_PODS + 2), target("team"));
    let (before, now) = hosts.split_at(MAX_BY_PODS);
    let mut wanted = swept(&[]);
    for host in before {
        wanted.note_pod(&team, Wish::None, [host.as_str()]);
    }
    let kept = &before[MAX_BY_PODS / 2];
    let sweep = wanted.begin_sweep();
    wanted.note_pod(&team, Wish::None, [kept.as_str()]);
    for host in now {
        wanted.note_pod(&team, Wish::None, [host.as_str()]);
    }
    assert_eq!(wanted.by_pods.len(), MAX_BY_PODS);
    wanted.end_sweep(sweep);
    for host in now.iter().chain([kept]) {
        assert_eq!(wanted.claim(&team, host), Some(PODS), "{host}");
    }
    assert_eq!(wanted.by_pods.len(), 3);
}

#[test]
fn registries_of_one_namespace_are_bounded() {
    let hosts = hosts(1000);
    let mut wanted = swept(&[]);
    wanted.note_pod(
        &target("hostile"),
        Wish::None,
        hosts.iter().map(String::as_str),
    );
    wanted.note_pod(&target("hostile"), Wish::In, [EAST]);
    wanted.note_name(&target("hostile"));
    assert_eq!(wanted.by_pods.len(), MAX_BY_PODS + 1);
    assert_eq!(wanted.claim(&target("hostile"), &hosts[0]), Some(PODS));
    wanted.note_pod(&target("team"), Wish::None, [EAST]);
    assert_eq!(wanted.claim(&target("team"), EAST), Some(PODS));
}

#[test]
fn ten_thousand_namespaces_take_little_memory() {
    // A node of the map has eleven entries, and is two thirds full.
    let entry = size_of::<Key>() + size_of::<PodWant>();
    assert!(
        10_000 * entry * 3 / 2 < 300 * 1024,
        "{entry} bytes an entry"
    );
}
