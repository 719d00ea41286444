use super::*;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

const HOUR: i64 = 3600;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn token(minted_at: i64, expires_at: i64) -> Token {
    let text = BASE64_STANDARD.encode("AWS:password");
    Token::new(text, at(minted_at), Some(at(expires_at))).unwrap()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn holding(token: Token) -> Holding<&'static str> {
    let mut holding = Holding::default();
    holding.keep(token);
    holding
}

#[test]
fn offer_depends_on_what_is_left_of_token() {
    let holding = holding(token(0, 10 * HOUR));
    assert!(matches!(holding.offer(at(9 * HOUR - 1)), Offer::Held(_)));
    assert!(matches!(holding.offer(at(9 * HOUR)), Offer::NextOrHeld(_)));
    let last = at(10 * HOUR - 1);
    assert!(matches!(holding.offer(last), Offer::NextOrHeld(_)));
    assert!(matches!(holding.offer(at(10 * HOUR)), Offer::Next));
    let empty = Holding::<&str>::default();
    assert!(matches!(empty.offer(at(0)), Offer::Next));
}

#[test]
fn failure_is_remembered_for_seconds() {
    for (cause, remembered) in [
        (Cause::AwsTimeout, seconds(3)),
        (Cause::AwsAccessDenied, seconds(10)),
        (Cause::DeniedByRule, seconds(10)),
    ] {
        let mut holding = Holding::default();
        assert_eq!(holding.recent_failure(seconds(5)), None);
        holding.fail(cause, "why", seconds(5));
        let end = seconds(5) + remembered;
        let just_before = end - Duration::from_nanos(1);
        assert_eq!(holding.recent_failure(just_before), Some(&"why"), "{cause}");
        assert_eq!(holding.recent_failure(end), None, "{cause}");
    }
}

#[test]
fn token_clears_failure_and_failure_keeps_token() {
    assert!(!Holding::<&str>::default().has_worked());
    let mut holding = holding(token(0, HOUR));
    assert!(holding.has_worked());
    holding.fail(Cause::AwsTimeout, "why", seconds(1));
    assert!(holding.token().is_some() && !holding.has_worked());
    holding.keep(token(1, HOUR));
    assert_eq!(holding.recent_failure(seconds(1)), None);
    assert!(holding.has_worked());
}

#[test]
fn better_token_of_another_replica_is_learned() {
    let mut holding = Holding::<&str>::default();
    assert!(holding.learn(token(0, HOUR), at(0)));
    assert!(!holding.learn(token(0, HOUR), at(0)));
    assert!(!holding.learn(token(1, HOUR - 1), at(1)));
    holding.fail(Cause::AwsTimeout, "why", seconds(1));
    assert!(holding.learn(token(1, HOUR + 1), at(1)));
    assert_eq!(holding.token().unwrap().expires_at, at(HOUR + 1));
    assert_eq!(holding.recent_failure(seconds(1)), None);
}

#[test]
fn namespace_distrusts_token_once_in_six_hours() {
    let mut holding = holding(token(0, 12 * HOUR));
    let six_hours = seconds(6 * 60 * 60);
    assert!(holding.distrust("team", at(HOUR), seconds(100)));
    let just_before = seconds(100) + six_hours - Duration::from_nanos(1);
    assert!(!holding.distrust("team", at(2 * HOUR), just_before));
    assert!(holding.distrust("team", at(2 * HOUR), seconds(100) + six_hours));
}

#[test]
fn one_namespace_uses_up_no_distrust_of_others() {
    let mut holding = holding(token(0, 12 * HOUR));
    let distrusts = |holding: &mut Holding<_>, namespace: &str, second| {
        holding.distrust(namespace, at(HOUR), seconds(second))
    };
    for second in 0..100 {
        let is_first = second == 0;
        assert_eq!(distrusts(&mut holding, "hostile", second), is_first);
    }
    // All namespaces together have a limit, too.
    let half_an_hour = 30 * 60;
    assert!(!distrusts(&mut holding, "one", half_an_hour - 1));
    assert!(distrusts(&mut holding, "one", half_an_hour));
    assert!(!distrusts(&mut holding, "two", 2 * half_an_hour - 1));
}

/// The queue of callers was full, or another replica had replaced the token.
#[test]
fn distrust_without_a_call_counts_for_nothing() {
    let mut holding = holding(token(0, 12 * HOUR));
    assert!(holding.distrust("team", at(HOUR), seconds(1)));
    assert!(!holding.distrust("other", at(HOUR), seconds(1)));
    holding.undo_distrust("team");
    assert!(holding.distrust("other", at(HOUR), seconds(1)));
    // One that called still counts.
    holding.undo_distrust("team");
    let half_an_hour = seconds(1 + 30 * 60);
    assert!(!holding.distrust("other", at(HOUR), half_an_hour));
    assert!(holding.distrust("team", at(HOUR), half_an_hour));
}

/// A tenant with hundreds of namespaces reports a refusal in each, again and again.
#[test]
fn distrust_of_many_namespaces_leaves_others_theirs() {
    let mut holding = holding(token(0, 12 * HOUR));
    let mut replaced = 0;
    for minute in 0..12 * 60 {
        let namespace = format!("hostile-{}", minute % 400);
        if holding.distrust(&namespace, at(HOUR), seconds(60 * minute)) {
            replaced += 1;
            assert!(holding.distrusted.len() <= 12);
        }
    }
    assert_eq!(replaced, 24);
    assert!(holding.distrust("team", at(HOUR), seconds(12 * 60 * 60)));
}

#[test]
fn young_token_is_not_distrusted() {
    let mut holding = holding(token(HOUR, 12 * HOUR));
    for now in [HOUR - 599, HOUR, HOUR + 599] {
        assert!(is_young(holding.token().unwrap(), at(now)));
        assert!(!holding.distrust("team", at(now), seconds(1)));
    }
    assert!(holding.distrust("team", at(HOUR + 600), seconds(1)));
}

#[test]
fn new_token_does_not_reset_distrust() {
    let mut holding = holding(token(0, 12 * HOUR));
    assert!(holding.distrust("team", at(HOUR), seconds(1)));
    holding.keep(token(HOUR, 13 * HOUR));
    assert!(!holding.distrust("team", at(2 * HOUR), seconds(3600)));
}
