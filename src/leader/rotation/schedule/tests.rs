use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ecr_pull_secrets_core::identity::Identity;
use ecr_pull_secrets_core::image::Registry;

use super::*;

const MAX_AGE: Duration = Duration::from_secs(6 * 60 * 60);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn key() -> Arc<TokenKey> {
    let registry = Registry::of_host("123456789012.dkr.ecr.us-east-1.amazonaws.com").unwrap();
    Arc::new(TokenKey::new(Identity::Ambient, &registry))
}

fn token(minted_at: i64, expires_at: i64) -> Token {
    let text = BASE64_STANDARD.encode("AWS:password");
    Token::new(text, at(minted_at), Some(at(expires_at))).unwrap()
}

/// One key in use, with an oldest token and a held one.
fn schedule(oldest: &Token, held: Option<&Token>, now: Instant) -> Schedule {
    let mut schedule = Schedule::new(MAX_AGE);
    update(&mut schedule, oldest, held, now);
    schedule
}

fn update(schedule: &mut Schedule, oldest: &Token, held: Option<&Token>, now: Instant) {
    let owner = IdentityMark::of("ambient");
    let tokens = Use {
        owner,
        meanwhile: None,
        oldest: oldest.into(),
        held: held.cloned(),
    };
    schedule.update(HashMap::from([(key(), tokens)]), now);
}

fn idle(schedule: &Schedule, wall: i64, now: Instant) -> u64 {
    schedule.idle(at(wall), now).unwrap().as_secs()
}

#[tokio::test]
async fn a_token_of_twenty_seconds_is_renewed_after_ten() {
    let now = Instant::now();
    let held = token(0, 20);
    let mut schedule = schedule(&held, Some(&held), now);
    assert_eq!(idle(&schedule, 3, now), 7);
    assert!(schedule.start_due(at(9), now).is_empty());
    assert_eq!(idle(&schedule, 10, now), 0);
    assert_eq!(schedule.start_due(at(10), now), [key()]);
    // Once.
    assert!(schedule.start_due(at(11), now).is_empty());
    assert_eq!(schedule.idle(at(11), now), None);
    let next = token(10, 30);
    schedule.refreshed(&key(), Some(&next), at(10), now);
    update(&mut schedule, &next, Some(&next), now);
    assert_eq!(idle(&schedule, 10, now), 10);
}

#[tokio::test]
async fn a_failure_is_tried_again_after_a_pause_that_grows() {
    let mut now = Instant::now();
    let held = token(0, 12 * 3600);
    let mut schedule = schedule(&held, Some(&held), now);
    let wall = at(6 * 3600);
    let mut pauses = Vec::new();
    for _ in 0..10 {
        assert_eq!(schedule.start_due(wall, now).len(), 1);
        schedule.refreshed(&key(), None, wall, now);
        let pause = schedule.idle(wall, now).unwrap();
        assert!(schedule.start_due(wall, now).is_empty());
        assert!(pause >= Duration::from_millis(500));
        pauses.push(pause);
        now += pause;
    }
    assert!(pauses[9] > Duration::from_secs(100), "{pauses:?}");
    // It works again, and counts anew.
    schedule.start_due(wall, now);
    schedule.refreshed(&key(), Some(&token(6 * 3600, 18 * 3600)), wall, now);
    schedule.start_due(wall, now);
    schedule.refreshed(&key(), None, wall, now);
    assert!(schedule.idle(wall, now).unwrap() <= Duration::from_secs(1));
}

/// Such as one that AWS gave out before, or one that lives for a second.
#[tokio::test]
async fn a_token_that_is_due_as_it_comes_is_not_asked_for_in_a_loop() {
    let now = Instant::now();
    let held = token(0, 20);
    let mut schedule = schedule(&held, Some(&held), now);
    assert_eq!(schedule.start_due(at(15), now).len(), 1);
    schedule.refreshed(&key(), Some(&held), at(15), now);
    assert!(schedule.start_due(at(15), now).is_empty());
    assert!(schedule.idle(at(15), now).unwrap() >= Duration::from_millis(500));
}

#[tokio::test]
async fn what_another_replica_minted_a_moment_ago_is_not_minted_again() {
    let now = Instant::now();
    let (old, new) = (token(0, 1000), token(600, 1600));
    // The namespaces have it, and this process has an older one or none.
    for held in [None, Some(&old)] {
        let mut schedule = schedule(&new, held, now);
        assert!(schedule.start_due(at(700), now).is_empty());
        assert_eq!(idle(&schedule, 700, now), 400);
        assert_eq!(schedule.start_due(at(1100), now).len(), 1);
    }
}

/// A namespace that cannot be written is no reason to mint.
#[tokio::test]
async fn while_the_held_token_is_fresh_nothing_is_due() {
    let now = Instant::now();
    let held = token(600, 1600);
    for stuck in [token(0, 1000), token(0, 2000), token(-9000, -8000)] {
        let mut schedule = schedule(&stuck, Some(&held), now);
        assert!(schedule.start_due(at(1050), now).is_empty());
        assert_eq!(idle(&schedule, 1050, now), 50);
    }
}

#[tokio::test]
async fn a_clock_that_is_set_makes_due_and_never_stalls() {
    let now = Instant::now();
    let held = token(0, 12 * 3600);
    for wall in [-400, -1_000_000, 6 * 3600, 1_000_000] {
        let mut schedule = schedule(&held, Some(&held), now);
        assert_eq!(schedule.start_due(at(wall), now).len(), 1, "{wall}");
    }
    // By less than its tolerance.
    let mut schedule = schedule(&held, Some(&held), now);
    assert!(schedule.start_due(at(-200), now).is_empty());
}

#[tokio::test]
async fn what_nobody_uses_any_more_is_not_renewed() {
    let now = Instant::now();
    let held = token(0, 20);
    let mut schedule = schedule(&held, Some(&held), now);
    schedule.start_due(at(15), now);
    schedule.update(HashMap::new(), now);
    // Its renewal is under way.
    schedule.refreshed(&key(), None, at(15), now);
    schedule.update(HashMap::new(), now);
    assert_eq!(schedule.idle(at(15), now), None);
    assert!(schedule.start_due(at(100), now).is_empty());
    schedule.refreshed(&key(), None, at(15), now);
}

#[tokio::test]
async fn a_token_that_came_from_elsewhere_is_noticed() {
    let now = Instant::now();
    let held = token(0, 20);
    let schedule = schedule(&held, Some(&held), now);
    assert!(!schedule.is_outdated(|_| Some(token(0, 20))));
    assert!(schedule.is_outdated(|_| Some(token(5, 25))));
    assert!(schedule.is_outdated(|_| None));
}

#[test]
fn jitter_lies_between_nothing_and_one() {
    let all: Vec<f64> = (0..100).map(|_| jitter()).collect();
    assert!(all.iter().all(|jitter| (0.0..1.0).contains(jitter)));
    assert!(all.iter().any(|jitter| jitter != &all[0]));
}
