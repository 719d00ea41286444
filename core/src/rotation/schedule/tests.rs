use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::*;
use crate::identity::{Identity, IdentityMark};
use crate::image::Registry;

const MAX_AGE: Duration = Duration::from_secs(6 * 60 * 60);
const START: Duration = Duration::from_secs(1000);
const JITTERS: [f64; 3] = [0.0, 0.5, 1.0];

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

/// The wall clock at this second, the monotonic one at its start.
fn wall(second: i64) -> Moment {
    Moment {
        wall: at(second),
        elapsed: START,
    }
}

fn key() -> Arc<TokenKey> {
    let registry = Registry::of_host("123456789012.dkr.ecr.us-east-1.amazonaws.com").unwrap();
    Arc::new(TokenKey::new(Identity::Ambient, &registry))
}

fn token(minted_at: i64, expires_at: i64) -> Token {
    let text = BASE64_STANDARD.encode("AWS:password");
    Token::new(text, at(minted_at), Some(at(expires_at))).unwrap()
}

/// The tokens of a key that only pods want.
fn tokens_of(oldest: &Token, held: Option<&Token>) -> KeyUse {
    KeyUse {
        identity: IdentityMark::of("ambient"),
        meanwhile: None,
        oldest: oldest.into(),
        held: held.cloned(),
        is_configured: false,
    }
}

fn key_of(region: &str) -> Arc<TokenKey> {
    let region = region.into();
    Arc::new(TokenKey {
        region,
        ..TokenKey::clone(&key())
    })
}

/// One key in use, with an oldest token and a held one.
fn schedule(oldest: &Token, held: Option<&Token>) -> RenewalSchedule {
    let mut schedule = RenewalSchedule::default();
    update(&mut schedule, oldest, held);
    schedule
}

fn update(schedule: &mut RenewalSchedule, oldest: &Token, held: Option<&Token>) {
    let tokens = tokens_of(oldest, held);
    schedule.update(HashMap::from([(key(), tokens)]), wall(0));
}

fn start_due(schedule: &mut RenewalSchedule, second: i64) -> Vec<Arc<TokenKey>> {
    schedule.start_due(MAX_AGE, wall(second))
}

fn idle(schedule: &RenewalSchedule, second: i64) -> u64 {
    schedule.idle(MAX_AGE, wall(second)).unwrap().as_secs()
}

fn ended(schedule: &mut RenewalSchedule, token: Option<&Token>, at: Moment) {
    schedule.ended(&key(), token, MAX_AGE, at, 0.5);
}

#[test]
fn token_of_twenty_seconds_is_renewed_after_ten() {
    let held = token(0, 20);
    let mut schedule = schedule(&held, Some(&held));
    assert_eq!(idle(&schedule, 3), 7);
    assert!(start_due(&mut schedule, 9).is_empty());
    assert_eq!(idle(&schedule, 10), 0);
    assert_eq!(start_due(&mut schedule, 10), [key()]);
    // Once.
    assert!(start_due(&mut schedule, 11).is_empty());
    assert_eq!(schedule.idle(MAX_AGE, wall(11)), None);
    let next = token(10, 30);
    ended(&mut schedule, Some(&next), wall(10));
    update(&mut schedule, &next, Some(&next));
    assert_eq!(idle(&schedule, 10), 10);
}

#[test]
fn failed_renewal_is_retried_after_growing_pauses() {
    for jitter in JITTERS {
        let held = token(0, 12 * 3600);
        let mut schedule = schedule(&held, Some(&held));
        let mut now = wall(6 * 3600);
        let mut pauses = Vec::new();
        for _ in 0..10 {
            assert_eq!(schedule.start_due(MAX_AGE, now).len(), 1);
            schedule.ended(&key(), None, MAX_AGE, now, jitter);
            let pause = schedule.idle(MAX_AGE, now).unwrap();
            assert!(schedule.start_due(MAX_AGE, now).is_empty());
            assert!(pause >= Duration::from_millis(500));
            pauses.push(pause);
            now.elapsed += pause;
        }
        assert!(pauses[9] > Duration::from_secs(100), "{pauses:?}");
        // A success starts the count again.
        schedule.start_due(MAX_AGE, now);
        let next = token(6 * 3600, 18 * 3600);
        schedule.ended(&key(), Some(&next), MAX_AGE, now, jitter);
        schedule.start_due(MAX_AGE, now);
        schedule.ended(&key(), None, MAX_AGE, now, jitter);
        assert!(schedule.idle(MAX_AGE, now).unwrap() <= Duration::from_secs(1));
    }
}

/// AWS does not know the region of a forged Secret.
#[test]
fn key_that_only_pods_want_takes_few_calls() {
    let forged = token(0, 1);
    for (is_configured, most) in [(false, 20), (true, 250)] {
        let mut tokens = tokens_of(&forged, None);
        (tokens.is_configured, tokens.meanwhile) = (is_configured, Some(at(3601)));
        let mut schedule = RenewalSchedule::default();
        schedule.update(HashMap::from([(key(), tokens.clone())]), wall(3600));
        let (mut calls, mut now) = (0, wall(3600));
        while now.elapsed < START + Duration::from_secs(3600) {
            calls += schedule.start_due(MAX_AGE, now).len();
            schedule.ended(&key(), None, MAX_AGE, now, 1.0);
            // The tenant writes its Secret again.
            tokens.meanwhile = Some(now.wall + jiff::SignedDuration::from_secs(1));
            schedule.update(HashMap::from([(key(), tokens.clone())]), now);
            now.elapsed += schedule.idle(MAX_AGE, now).unwrap();
        }
        assert!((most / 2..=most).contains(&calls), "{calls}");
    }
}

/// Calls of AWS have one queue: what comes last in it delays no other.
#[test]
fn unproven_keys_are_renewed_last() {
    let [early, late, expired] = [token(0, 20), token(0, 30), token(0, 1)];
    let mut configured = tokens_of(&late, None);
    configured.is_configured = true;
    let uses = HashMap::from([
        (key_of("unproven"), tokens_of(&expired, None)),
        (key_of("late"), configured),
        (key_of("early"), tokens_of(&early, Some(&early))),
        (key_of("expired"), tokens_of(&expired, Some(&expired))),
    ]);
    let mut schedule = RenewalSchedule::default();
    schedule.update(uses, wall(15));
    let due = start_due(&mut schedule, 15);
    let regions: Vec<&str> = due.iter().map(|key| &*key.region).collect();
    assert_eq!(regions, ["expired", "early", "late", "unproven"]);
}

/// AWS gave it out before, or it lives for a second.
#[test]
fn token_that_arrives_due_causes_no_loop() {
    let held = token(0, 20);
    for jitter in JITTERS {
        let mut schedule = schedule(&held, Some(&held));
        assert_eq!(start_due(&mut schedule, 15).len(), 1);
        schedule.ended(&key(), Some(&held), MAX_AGE, wall(15), jitter);
        assert!(start_due(&mut schedule, 15).is_empty());
        assert!(schedule.idle(MAX_AGE, wall(15)).unwrap() >= Duration::from_millis(500));
    }
}

#[test]
fn token_of_another_replica_is_not_minted_again() {
    let (old, new) = (token(0, 100), token(60, 160));
    // The Secrets have it, and this process has an older one or none.
    for held in [None, Some(&old)] {
        let mut schedule = schedule(&new, held);
        assert!(start_due(&mut schedule, 70).is_empty());
        assert_eq!(idle(&schedule, 70), 40);
        assert_eq!(start_due(&mut schedule, 110).len(), 1);
    }
}

/// A Secret that cannot be written is no reason to mint.
#[test]
fn nothing_is_due_while_held_token_is_fresh() {
    let held = token(60, 160);
    for stuck in [token(0, 100), token(0, 200), token(-900, -800)] {
        let mut schedule = schedule(&stuck, Some(&held));
        assert!(start_due(&mut schedule, 105).is_empty());
        assert_eq!(idle(&schedule, 105), 5);
    }
}

#[test]
fn clock_that_is_set_makes_token_due() {
    let held = token(0, 12 * 3600);
    for second in [-400, -1_000_000, 6 * 3600, 1_000_000] {
        let mut schedule = schedule(&held, Some(&held));
        assert_eq!(start_due(&mut schedule, second).len(), 1, "{second}");
    }
    // By less than its tolerance.
    let mut schedule = schedule(&held, Some(&held));
    assert!(start_due(&mut schedule, -200).is_empty());
}

#[test]
fn unused_key_is_not_renewed() {
    let held = token(0, 20);
    let mut schedule = schedule(&held, Some(&held));
    start_due(&mut schedule, 15);
    schedule.update(HashMap::new(), wall(15));
    // Its renewal is under way.
    ended(&mut schedule, None, wall(15));
    schedule.update(HashMap::new(), wall(15));
    assert_eq!(schedule.idle(MAX_AGE, wall(15)), None);
    assert!(start_due(&mut schedule, 100).is_empty());
    ended(&mut schedule, None, wall(15));
}

/// A thousand keys that were minted in one minute do not all wait for the same second.
#[test]
fn keys_of_one_age_are_due_one_after_another() {
    let held = token(0, 12 * 3600);
    let uses = (0..1000).map(|number| {
        let key = key_of(&format!("land-{number}"));
        (key, tokens_of(&held, Some(&held)))
    });
    let mut schedule = RenewalSchedule::default();
    schedule.update(uses.collect(), wall(0));
    let mut all = 0;
    for second in (0..=6 * 3600).step_by(60) {
        let due = start_due(&mut schedule, second).len();
        assert!(due < 60, "{due} at {second}");
        all += due;
    }
    assert_eq!(all, 1000);
}
