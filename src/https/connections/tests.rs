use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use super::*;

/// In ms after the start: long after everybody is slow.
const LATER: u64 = 100_000;

fn connections() -> Arc<Connections> {
    Connections::new(Duration::from_secs(60), Metrics::default())
}

/// That have sent nothing, from this time on.
fn fresh(all: &Arc<Connections>, count: usize, now: u64) -> Vec<Open> {
    let open = |_| all.open_at(now).expect("a place");
    (0..count).map(open).collect()
}

/// That have asked before, and do this since then.
fn known(all: &Arc<Connections>, count: usize, phase: Phase, now: u64) -> Vec<Open> {
    let ask = |_| {
        let open = all.open_at(now).expect("a place");
        open.connection().has_asked();
        open.connection().is_understood();
        open.connection().enter_at(phase, now);
        open
    };
    (0..count).map(ask).collect()
}

/// The positions of those that were cut.
async fn cut(connections: &[Open]) -> Vec<usize> {
    let mut cut = Vec::new();
    for (position, Open { connection, .. }) in connections.iter().enumerate() {
        let mut end = pin!(connection.is_cut());
        let is_cut = poll_fn(|context| Poll::Ready(end.as_mut().poll(context).is_ready()));
        if is_cut.await {
            cut.push(position);
        }
    }
    cut
}

#[tokio::test]
async fn the_oldest_fresh_one_makes_room() {
    let all = connections();
    let api_server = known(&all, 40, Phase::Idle, 0);
    let idle = fresh(&all, FRESH, 0);
    let newcomers = fresh(&all, 2, LATER);
    assert!(newcomers.iter().all(Open::was_full));
    assert!(!idle.iter().chain(&api_server).any(Open::was_full));
    assert_eq!(cut(&idle).await, [0, 1]);
    assert_eq!(cut(&api_server).await, [0; 0]);
    assert_eq!(cut(&newcomers).await, [0; 0]);
}

#[tokio::test]
async fn a_crowd_that_came_just_now_is_served_in_turn() {
    let all = connections();
    let crowd = fresh(&all, FRESH, LATER);
    assert!(all.open_at(LATER + millis(GRACE) - 1).is_none());
    assert_eq!(cut(&crowd).await, [0; 0]);
    assert!(all.open_at(LATER + millis(GRACE)).is_some());
    assert_eq!(cut(&crowd).await, [0]);
}

#[tokio::test]
async fn of_known_ones_the_slow_go_first_then_the_idle_and_never_those_at_work() {
    let all = connections();
    let work = known(&all, CAPACITY - 3, Phase::Work, 0);
    let idle = known(&all, 2, Phase::Idle, 1);
    idle[0].connection().enter_at(Phase::Idle, 2);
    let slow = known(&all, 1, Phase::Body, 3);
    let mut newcomers = fresh(&all, 1, LATER);
    assert_eq!((cut(&slow).await, cut(&idle).await), (vec![0], vec![]));
    newcomers.extend(fresh(&all, 1, LATER));
    assert_eq!(cut(&idle).await, [1]);
    newcomers.extend(fresh(&all, 1, LATER));
    assert_eq!(cut(&idle).await, [0]);
    assert!(all.open_at(LATER).is_none());
    assert_eq!(cut(&work).await, [0; 0]);
    drop(work);
    assert!(all.open_at(LATER).is_some());
}

#[tokio::test]
async fn each_phase_has_its_limit() {
    for phase in Phase::ALL {
        let all = connections();
        let connections = known(&all, 1, phase, LATER);
        let Some(limit) = phase.limit() else {
            all.cut_late(LATER + 1_000_000_000);
            assert_eq!(cut(&connections).await, [0; 0], "{phase:?}");
            continue;
        };
        all.cut_late(LATER + millis(limit) - 1);
        assert_eq!(cut(&connections).await, [0; 0], "{phase:?}");
        all.cut_late(LATER + millis(limit));
        assert_eq!(cut(&connections).await, [0], "{phase:?}");
    }
    // A client that closes what is idle for 90 s must be the first.
    assert!(Phase::Idle.limit() > Some(Duration::from_secs(90)));
}

#[tokio::test]
async fn bodies_are_cut_for_what_they_hold_the_oldest_first() {
    let all = connections();
    let bodies = known(&all, 4, Phase::Body, 0);
    for (kib, Open { connection, .. }) in [0, 10, 20, 30].into_iter().zip(&bodies) {
        connection.holds(kib);
    }
    bodies[1].connection().enter_at(Phase::Body, LATER);
    let by = bodies[0].connection().number;
    assert!(all.cut_slow_bodies(15, by, LATER + 1));
    assert_eq!(cut(&bodies).await, [2]);
    // The one that holds nothing would free nothing, and the young one has its time.
    assert!(!all.cut_slow_bodies(31, by, LATER + 1));
    // Nor does anybody go for himself.
    let oneself = bodies[3].connection().number;
    assert!(!all.cut_slow_bodies(1, oneself, LATER + 1));
    assert_eq!(cut(&bodies).await, [0; 0]);
    assert!(all.cut_slow_bodies(30, by, LATER + 1));
    assert_eq!(cut(&bodies).await, [3]);
}

#[test]
fn no_connection_is_young_for_ever_and_they_do_not_end_together() {
    let all = connections();
    let begun = Instant::now();
    let connections = fresh(&all, 100, 0);
    let ages = connections.iter().map(|Open { connection, .. }| {
        let age = connection.retires.duration_since(begun);
        assert!(age >= all.age && age < 2 * all.age + Duration::from_secs(10));
        assert!(!connection.is_old());
        age
    });
    let ages: Vec<_> = ages.collect();
    let spread = ages
        .iter()
        .max()
        .expect("one")
        .saturating_sub(*ages.iter().min().expect("one"));
    assert!(spread > all.age / 2, "{spread:?}");
    let old = Connections::new(Duration::ZERO, Metrics::default());
    assert!(fresh(&old, 1, 0)[0].connection().is_old());
}
