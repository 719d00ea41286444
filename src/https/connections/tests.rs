use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use super::record::SLOW_AFTER;
use super::table::{MAX_CONNECTIONS, MAX_FRESH};
use super::*;

/// A time in ms after the start at which all earlier connections are slow.
const LATER: u64 = 100_000;

fn connections() -> Arc<Connections> {
    Connections::new(Duration::from_secs(60), Metrics::default())
}

/// Connections that have sent nothing since this time.
fn fresh(all: &Arc<Connections>, count: usize, now: u64) -> Vec<ConnectionSlot> {
    let open = |_| all.open_at(now).expect("a slot");
    (0..count).map(open).collect()
}

/// Connections that have carried a review, and are in this phase since this time.
fn known(
    all: &Arc<Connections>,
    count: usize,
    phase: ConnectionPhase,
    now: u64,
) -> Vec<ConnectionSlot> {
    let open = |_| {
        let slot = all.open_at(now).expect("a slot");
        slot.connection().request_received();
        slot.connection().review_decoded();
        slot.connection().record.enter(phase, now);
        slot
    };
    (0..count).map(open).collect()
}

/// The positions of the evicted connections.
async fn evicted(slots: &[ConnectionSlot]) -> Vec<usize> {
    let mut evicted = Vec::new();
    for (position, ConnectionSlot { connection, .. }) in slots.iter().enumerate() {
        let mut end = pin!(connection.evicted());
        let is_evicted = poll_fn(|context| Poll::Ready(end.as_mut().poll(context).is_ready()));
        if is_evicted.await {
            evicted.push(position);
        }
    }
    evicted
}

#[tokio::test]
async fn oldest_fresh_connection_makes_room() {
    let all = connections();
    let api_server = known(&all, 40, ConnectionPhase::Idle, 0);
    let idle = fresh(&all, MAX_FRESH, 0);
    let new = fresh(&all, 2, LATER);
    assert!(new.iter().all(ConnectionSlot::was_full));
    assert!(!idle.iter().chain(&api_server).any(ConnectionSlot::was_full));
    assert_eq!(evicted(&idle).await, [0, 1]);
    assert_eq!(evicted(&api_server).await, [0; 0]);
    assert_eq!(evicted(&new).await, [0; 0]);
}

#[tokio::test]
async fn sudden_flood_is_served_in_turn() {
    let all = connections();
    let flood = fresh(&all, MAX_FRESH, LATER);
    assert!(all.open_at(LATER + millis(SLOW_AFTER) - 1).is_none());
    assert_eq!(evicted(&flood).await, [0; 0]);
    assert!(all.open_at(LATER + millis(SLOW_AFTER)).is_some());
    assert_eq!(evicted(&flood).await, [0]);
}

#[tokio::test]
async fn slow_connections_go_before_idle_and_never_working() {
    let all = connections();
    let work = known(&all, MAX_CONNECTIONS - 3, ConnectionPhase::Work, 0);
    let idle = known(&all, 2, ConnectionPhase::Idle, 1);
    idle[0].connection().record.enter(ConnectionPhase::Idle, 2);
    let slow = known(&all, 1, ConnectionPhase::Body, 3);
    let mut new = fresh(&all, 1, LATER);
    assert_eq!(
        (evicted(&slow).await, evicted(&idle).await),
        (vec![0], vec![])
    );
    new.extend(fresh(&all, 1, LATER));
    assert_eq!(evicted(&idle).await, [1]);
    new.extend(fresh(&all, 1, LATER));
    assert_eq!(evicted(&idle).await, [0]);
    assert!(all.open_at(LATER).is_none());
    assert_eq!(evicted(&work).await, [0; 0]);
    drop(work);
    assert!(all.open_at(LATER).is_some());
}

#[tokio::test]
async fn each_phase_has_its_limit() {
    for phase in ConnectionPhase::ALL {
        let all = connections();
        let connections = known(&all, 1, phase, LATER);
        let Some(limit) = phase.limit() else {
            all.evict_overdue(LATER + 1_000_000_000);
            assert_eq!(evicted(&connections).await, [0; 0], "{phase:?}");
            continue;
        };
        all.evict_overdue(LATER + millis(limit) - 1);
        assert_eq!(evicted(&connections).await, [0; 0], "{phase:?}");
        all.evict_overdue(LATER + millis(limit));
        assert_eq!(evicted(&connections).await, [0], "{phase:?}");
    }
    // A client that closes idle connections after 90 s must be first.
    assert!(ConnectionPhase::Idle.limit() > Some(Duration::from_secs(90)));
}

#[tokio::test]
async fn slowest_bodies_are_evicted_for_their_memory() {
    let all = connections();
    let bodies = known(&all, 4, ConnectionPhase::Body, 0);
    for (kib, ConnectionSlot { connection, .. }) in [0, 10, 20, 30].into_iter().zip(&bodies) {
        connection.set_charged(kib);
    }
    bodies[1]
        .connection()
        .record
        .enter(ConnectionPhase::Body, LATER);
    let by = bodies[0].connection().record.number;
    assert!(all.evict_slow_bodies(15, false, by, LATER + 1));
    assert_eq!(evicted(&bodies).await, [2]);
    // The first frees no memory, and the second is not slow yet.
    assert!(!all.evict_slow_bodies(31, false, by, LATER + 1));
    // A connection evicts no body of its own.
    let own = bodies[3].connection().record.number;
    assert!(!all.evict_slow_bodies(1, false, own, LATER + 1));
    assert_eq!(evicted(&bodies).await, [0; 0]);
    assert!(all.evict_slow_bodies(30, false, by, LATER + 1));
    assert_eq!(evicted(&bodies).await, [3]);
}

#[tokio::test]
async fn long_body_evicts_none_that_frees_it_nothing() {
    let all = connections();
    let bodies = known(&all, 3, ConnectionPhase::Body, 0);
    for (is_long, ConnectionSlot { connection, .. }) in [false, true, true].into_iter().zip(&bodies)
    {
        connection.body_begins(is_long);
        connection.set_charged(10);
    }
    let by = bodies[2].connection().record.number;
    assert!(!all.evict_slow_bodies(11, true, by, LATER));
    assert!(all.evict_slow_bodies(10, true, by, LATER));
    assert_eq!(evicted(&bodies).await, [1]);
}

#[test]
fn connections_retire_at_different_times() {
    let all = connections();
    let begun = Instant::now();
    let connections = fresh(&all, 100, 0);
    let ages = connections.iter().map(|ConnectionSlot { connection, .. }| {
        let age = connection.record.retires.duration_since(begun);
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
