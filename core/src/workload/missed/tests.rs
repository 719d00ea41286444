use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn group(namespace: &str, controller: &str) -> MissedGroup {
    MissedGroup {
        namespace: namespace.into(),
        controller: (!controller.is_empty()).then(|| controller.into()),
        opts_in: false,
    }
}

fn at(second: i64) -> Option<Timestamp> {
    Some(Timestamp::from_second(second).unwrap())
}

/// Adds a pod to its group, as of a term in which no Event was there before.
fn add(groups: &mut MissedGroups<String>, wanted: MissedGroup, pod: u64) -> MissedGroup {
    let place = groups.place(wanted).expect("room");
    let about = place.controller.as_deref().unwrap_or("namespace");
    groups.learn(&place, about.to_owned(), None);
    assert!(groups.add(&place, pod, at(5), Duration::ZERO));
    place
}

#[test]
fn reported_pod_is_known_as_long_as_it_exists() {
    let mut pods = ReportedPods::default();
    for pod in 0..30_000 {
        assert!(!pods.has("team", pod));
        pods.note("team", pod);
    }
    for _ in 0..3 {
        pods.end_sweep();
        assert!((0..30_000).all(|pod| pods.has("team", pod)));
        // It may have been reported at the same time by another task.
        pods.note("team", 7);
        assert_eq!(pods.total, 30_000);
    }
    pods.end_sweep();
    assert!(pods.has("team", 7) && !pods.has("other", 7));
    // All others are gone.
    pods.end_sweep();
    assert_eq!(pods.total, 1);
    assert!(pods.has("team", 7) && !pods.has("team", 8));
    pods.end_sweep();
    pods.end_sweep();
    assert!(pods.by_namespace.is_empty());
}

/// Whether there is room for one more pod.
fn room(pods: &ReportedPods, namespace: &str) -> Result<(), NoSlot> {
    let mut under_way = PodsUnderWay::default();
    assert!(under_way.begin(namespace, u64::MAX));
    pods.room(namespace, &under_way)
}

#[test]
fn reported_pods_leave_room_for_other_namespaces() {
    let mut pods = ReportedPods::default();
    let all = MAX_PODS as u64;
    for pod in 0..all / 4 {
        assert_eq!(room(&pods, "tenant"), Ok(()));
        pods.note("tenant", pod);
    }
    assert_eq!(room(&pods, "tenant"), Err(NoSlot::Namespace));
    for pod in all / 4..all {
        let namespace = format!("team-{}", pod % 16);
        assert_eq!(room(&pods, &namespace), Ok(()));
        pods.note(&namespace, pod);
    }
    assert_eq!(room(&pods, "next"), Err(NoSlot::Replica));
    // Two lists of all pods do not have them.
    pods.end_sweep();
    assert_eq!(room(&pods, "next"), Err(NoSlot::Replica));
    pods.end_sweep();
    assert_eq!(room(&pods, "tenant"), Ok(()));
}

#[test]
fn pods_under_way_take_room() {
    let (pods, mut under_way) = (ReportedPods::default(), PodsUnderWay::default());
    let all = MAX_PODS as u64;
    let namespace = |pod: u64| match pod {
        pod if pod < all / 4 => "tenant".to_owned(),
        pod => format!("team-{}", pod % 16),
    };
    for pod in 0..all {
        assert!(under_way.begin(&namespace(pod), pod));
        assert!(!under_way.begin(&namespace(pod), pod));
        assert_eq!(pods.room(&namespace(pod), &under_way), Ok(()));
    }
    assert!(under_way.begin("team", all));
    assert_eq!(pods.room("team", &under_way), Err(NoSlot::Replica));
    assert!(under_way.begin("tenant", all + 1));
    assert_eq!(pods.room("tenant", &under_way), Err(NoSlot::Namespace));
    under_way.end("tenant", all + 1);
    under_way.end("tenant", 0);
    assert_eq!(pods.room("team", &under_way), Ok(()));
    under_way.end("team", all);
    for pod in 1..all {
        under_way.end(&namespace(pod), pod);
    }
    assert!(under_way.pods.is_empty() && under_way.by_namespace.is_empty());
}

#[test]
fn twenty_pods_a_second_get_their_own_event() {
    let mut pace = EventPace::default();
    let mut raise = |now: Duration| (0..1000).filter(|_| pace.take("team", now)).count();
    assert_eq!(raise(SECOND / 2), 20);
    assert_eq!(raise(SECOND * 9 / 10), 0);
    assert_eq!(raise(SECOND * 3), 20);
    assert_eq!(raise(SECOND * 3 + SECOND / 2), 0);
}

#[test]
fn burst_of_one_namespace_leaves_events_to_others() {
    let mut pace = EventPace::default();
    let raised = |pace: &mut EventPace, namespace: &str| {
        (0..1000).filter(|_| pace.take(namespace, SECOND)).count()
    };
    assert_eq!(raised(&mut pace, "tenant"), 20);
    assert_eq!(raised(&mut pace, "team"), 3);
    let others = (0..100).map(|number| raised(&mut pace, &number.to_string()));
    assert_eq!(others.sum::<usize>(), 37);
}

#[test]
fn only_pod_from_before_the_installation_is_older() {
    assert!(is_older(at(9), at(10)));
    assert!(!is_older(at(10), at(10)) && !is_older(at(11), at(10)));
    assert!(!is_older(None, at(10)) && !is_older(at(9), None));
}

#[test]
fn pods_of_one_controller_gather_for_one_event() {
    let mut groups = MissedGroups::default();
    for pod in 0..1000 {
        add(&mut groups, group("team", "set"), pod);
    }
    assert!(groups.begin(SECOND / 2).is_none());
    let report = groups.begin(SECOND).unwrap();
    assert_eq!((&*report.about, report.count), ("set", 1000));
    assert!(groups.begin(SECOND).is_none(), "one at a time");
    // One more comes meanwhile: the count grows, at most every few seconds.
    add(&mut groups, group("team", "set"), 1000);
    groups.end(&report, true, SECOND);
    assert!(groups.begin(5 * SECOND).is_none());
    assert_eq!(groups.next(), Some(6 * SECOND));
    let report = groups.begin(6 * SECOND).unwrap();
    assert_eq!((report.pods.clone(), report.count), (vec![1000], 1001));
    groups.end(&report, true, 6 * SECOND);
    assert!(groups.begin(100 * SECOND).is_none(), "none waits");
    assert_eq!(groups.next(), None);
}

#[test]
fn next_leader_goes_on_from_the_count() {
    let mut groups = MissedGroups::default();
    let set = group("team", "set");
    assert_eq!(groups.reported_until(&set), None);
    groups.learn(&set, "set".to_owned(), Some((at(7).unwrap(), 40)));
    assert_eq!(groups.reported_until(&set), Some(at(7)));
    assert!(groups.add(&set, 3, at(9), Duration::ZERO));
    assert_eq!(groups.begin(SECOND).unwrap().count, 41);
}

#[test]
fn busy_group_leaves_its_last_second_open() {
    let mut groups = MissedGroups::default();
    let set = group("team", "set");
    groups.learn(&set, "set".to_owned(), None);
    // A pod every half second: the Event does not wait for the last one.
    for half in 0..6_u32 {
        assert!(groups.begin(SECOND * half / 2).is_none());
        groups.add(
            &set,
            half.into(),
            at(i64::from(half) / 2),
            SECOND * half / 2,
        );
    }
    let report = groups.begin(3 * SECOND).unwrap();
    assert_eq!((report.count, report.until), (6, at(1)));
    groups.end(&report, true, 3 * SECOND);
    groups.add(&set, 6, at(2), 4 * SECOND);
    let report = groups.begin(9 * SECOND).unwrap();
    assert_eq!(
        (report.count, report.until),
        (7, at(2)),
        "no other followed"
    );
}

#[test]
fn failed_event_waits_longer_each_time() {
    let mut groups = MissedGroups::default();
    add(&mut groups, group("team", ""), 1);
    let (mut now, mut attempts) = (SECOND, 0);
    while now < 600 * SECOND {
        if let Some(report) = groups.begin(now) {
            attempts += 1;
            assert_eq!(report.pods, [1]);
            groups.end(&report, false, now);
        }
        now += SECOND;
    }
    assert!((35..=60).contains(&attempts), "{attempts}");
}

#[test]
fn namespace_with_many_controllers_has_few_groups() {
    let mut groups = MissedGroups::default();
    for pod in 0..1000 {
        add(&mut groups, group("tenant", &pod.to_string()), pod);
    }
    assert_eq!(groups.groups.len(), MAX_OF_NAMESPACE + 1);
    let place = add(&mut groups, group("team", "set"), 1000);
    assert_eq!(place, group("team", "set"));
    let rest = &groups.groups[&group("tenant", "")];
    assert_eq!(rest.waiting.len(), 1000 - MAX_OF_NAMESPACE);
    // Once they are reported, they make way.
    while let Some(report) = groups.begin(SECOND) {
        groups.end(&report, true, SECOND);
    }
    let new = group("tenant", "new");
    assert_eq!(groups.place(new.clone()), Some(new));
}

#[test]
fn groups_are_bounded() {
    let mut groups = MissedGroups::default();
    let mut refused = 0;
    for number in 0..2 * MAX_GROUPS {
        let Some(place) = groups.place(group(&number.to_string(), "set")) else {
            refused += 1;
            continue;
        };
        groups.learn(&place, String::new(), None);
        assert!(groups.add(&place, number as u64, at(5), Duration::ZERO));
    }
    assert_eq!((groups.groups.len(), refused), (MAX_GROUPS, MAX_GROUPS));
}
