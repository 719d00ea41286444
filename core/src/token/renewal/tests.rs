use super::*;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use proptest::prelude::*;

const HOUR: i64 = 3600;
const NANOSECOND: SignedDuration = SignedDuration::from_nanos(1);
const SIX_HOURS: Duration = Duration::from_secs(6 * 60 * 60);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Noon on a fixed day.
fn noon() -> Timestamp {
    at(1_700_000_000 / (24 * HOUR) * 24 * HOUR + 12 * HOUR)
}

fn hours(count: i64) -> SignedDuration {
    SignedDuration::from_hours(count)
}

fn token(minted_at: Timestamp, expires_at: Option<Timestamp>) -> Token {
    Token::new(
        BASE64_STANDARD.encode("AWS:password"),
        minted_at,
        expires_at,
    )
    .unwrap()
}

#[test]
fn lifetime_is_twelve_hours_without_a_valid_expiry() {
    for (said, wanted) in [
        (None, noon() + hours(12)),
        (Some(noon() - hours(1)), noon() + hours(12)),
        (Some(noon()), noon() + hours(12)),
        (Some(Timestamp::UNIX_EPOCH), noon() + hours(12)),
        (Some(noon() + NANOSECOND), noon() + NANOSECOND),
        (Some(noon() + hours(1)), noon() + hours(1)),
        (Some(noon() + hours(36)), noon() + hours(36)),
    ] {
        assert_eq!(end_of_life(noon(), said), wanted, "{said:?}");
        assert_eq!(token(noon(), said).expires_at, wanted, "{said:?}");
    }
}

#[test]
fn due_time_is_half_lifetime_or_max_age() {
    let due = |lifetime: i64, max_age: Duration| {
        due_at(&token(noon(), Some(noon() + hours(lifetime))), max_age)
    };
    assert_eq!(due(12, SIX_HOURS), noon() + hours(6));
    assert_eq!(due(2, SIX_HOURS), noon() + hours(1));
    assert_eq!(due(36, SIX_HOURS), noon() + hours(6));
    assert_eq!(
        due(12, Duration::from_secs(60)),
        noon() + SignedDuration::from_secs(60)
    );
    assert_eq!(due(12, Duration::MAX), noon() + hours(6));
}

#[test]
fn stage_changes_exactly_at_its_limits() {
    let token = token(noon(), Some(noon() + hours(12)));
    let stage = |now| stage(&token, SIX_HOURS, now);
    assert_eq!(stage(noon()), Stage::Fresh);
    assert_eq!(stage(noon() + hours(6) - NANOSECOND), Stage::Fresh);
    assert_eq!(stage(noon() + hours(6)), Stage::Due);
    assert_eq!(stage(noon() + hours(12) - NANOSECOND), Stage::Due);
    assert_eq!(stage(noon() + hours(12)), Stage::Expired);
    assert_eq!(stage(Timestamp::MAX), Stage::Expired);
}

/// A clock that is or was wrong says nothing about the token's age, and a new token is cheap.
#[test]
fn token_is_due_after_clock_goes_back() {
    let token = token(noon(), None);
    let stage = |now| stage(&token, SIX_HOURS, now);
    let five_minutes = SignedDuration::from_mins(5);
    assert_eq!(stage(noon() - five_minutes), Stage::Fresh);
    assert_eq!(stage(noon() - five_minutes - NANOSECOND), Stage::Due);
    assert_eq!(stage(Timestamp::MIN), Stage::Due);
}

#[test]
fn token_is_overdue_a_fifth_of_lifetime_later() {
    let overdue = |lifetime: i64, jitter, after: i64| {
        let token = token(noon(), Some(noon() + SignedDuration::from_secs(lifetime)));
        is_overdue(&token, SIX_HOURS, at(noon().as_second() + after), jitter)
    };
    let day = 12 * HOUR;
    for (jitter, begins) in [
        (0.0, day * 7 / 10),
        (1.0, day * 8 / 10),
        (9.0, day * 8 / 10),
    ] {
        assert!(!overdue(day, jitter, begins - 1));
        assert!(overdue(day, jitter, begins));
    }
    assert!(overdue(day, 0.0, day - 1) && !overdue(day, 0.0, day));
    // A change of the leader takes half a minute.
    assert!(!overdue(90, 0.0, 74) && overdue(90, 0.0, 75));
    assert!((0..=60).all(|after| !overdue(20, 0.0, after)));
}

#[test]
fn token_serves_until_a_tenth_of_lifetime_remains() {
    let serves = |now| serves(noon(), noon() + hours(10), now);
    assert!(serves(noon()));
    assert!(serves(noon() + hours(9) - NANOSECOND));
    assert!(!serves(noon() + hours(9)));
    assert!(!serves(noon() + hours(10)));
}

/// A user can edit annotations.
#[test]
fn reversed_lifetime_does_not_serve_after_its_expiry() {
    let serves = |now| serves(noon() + hours(100), noon(), now);
    assert!(!serves(noon() + hours(1)));
    assert!(!serves(noon() + NANOSECOND));
    assert!(!serves(noon()));
}

#[test]
fn pauses_double_within_the_remaining_lifetime() {
    let token = token(noon(), Some(noon() + hours(12)));
    let pause = |failures, now| retry_in(Some(token.expires_at), failures, now, 1.0).as_secs_f64();
    let in_time = noon() + hours(6);
    let first: Vec<f64> = (0..12).map(|failures| pause(failures, in_time)).collect();
    assert_eq!(
        first,
        [
            1.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 300.0
        ]
    );
    assert!((pause(100, noon() + hours(12) - SignedDuration::from_secs(80)) - 10.0).abs() < 1e-9);
    assert!((pause(100, noon() + hours(12) - NANOSECOND) - 1.0).abs() < 1e-9);
    // The token has expired, and pods wait.
    assert!((pause(100, noon() + hours(12)) - 15.0).abs() < 1e-9);
    assert!((retry_in(None, 100, noon(), 1.0).as_secs_f64() - 15.0).abs() < 1e-9);
    assert_eq!(
        retry_in(None, 1, noon(), 0.0),
        Duration::from_millis(500),
        "jitter shortens a pause by at most half"
    );
}

/// The clock of a node without a time service may jump away and back.
#[test]
fn clock_jump_costs_one_renewal_in_either_direction() {
    let old = token(noon(), Some(noon() + hours(12)));
    for jump in [-72, -1, 7, 72].map(hours) {
        let now = noon() + jump;
        assert_ne!(stage(&old, SIX_HOURS, now), Stage::Fresh, "{jump:?}");
        for end in [Some(noon() + hours(12) + NANOSECOND), None] {
            let new = token(now, end);
            assert_eq!(stage(&new, SIX_HOURS, now), Stage::Fresh, "{jump:?}");
            assert!(
                supersedes(&new, old.minted_at, old.expires_at, now),
                "{jump:?}"
            );
            // Then the clock is corrected.
            if jump.is_positive() {
                assert_eq!(stage(&new, SIX_HOURS, noon()), Stage::Due, "{jump:?}");
            }
        }
    }
}

#[test]
fn present_token_supersedes_one_from_the_future() {
    let lives = |minted_at: i64, expires_at: i64| {
        token(
            noon() + SignedDuration::from_secs(minted_at),
            Some(noon() + SignedDuration::from_secs(expires_at)),
        )
    };
    let wins =
        |one: &Token, other: &Token| supersedes(one, other.minted_at, other.expires_at, noon());
    let present = lives(0, 12 * HOUR);
    let newer = lives(60, 12 * HOUR + 60);
    assert!(wins(&newer, &present) && !wins(&present, &newer));
    assert!(!wins(&present, &present.clone()));
    // From a clock that is an hour ahead, with an expiry by that clock.
    let ahead = lives(HOUR, 13 * HOUR);
    assert!(wins(&present, &ahead));
    // The token is valid, and a replica with a correct clock must accept it while AWS is down.
    assert!(wins(&ahead, &present));
    // ECR mints no such token.
    let incredible = lives(0, 25 * HOUR);
    assert!(wins(&present, &incredible) && !wins(&incredible, &present));
    assert!(wins(&lives(-HOUR, 1), &incredible));
    assert!(is_believable(noon() + hours(24), noon()));
    assert!(!is_believable(noon() + hours(24) + NANOSECOND, noon()));
    assert!(is_believable(Timestamp::MIN, Timestamp::MAX));
    assert!(!is_believable(Timestamp::MAX, Timestamp::MIN));
}

#[test]
fn extreme_times_cause_no_panic() {
    for minted_at in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
        for expires_at in [None, Some(Timestamp::MIN), Some(Timestamp::MAX)] {
            let token = token(minted_at, expires_at);
            for max_age in [Duration::ZERO, SIX_HOURS, Duration::MAX] {
                for now in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
                    stage(&token, max_age, now);
                    serves(minted_at, token.expires_at, now);
                    supersedes(&token, minted_at, token.expires_at, now);
                    for jitter in [0.0, 1.0, -1.0, f64::INFINITY, f64::NAN] {
                        for failures in [0, 1, u32::MAX] {
                            let pause = retry_in(Some(token.expires_at), failures, now, jitter);
                            assert!(pause >= Duration::from_millis(500));
                        }
                    }
                }
            }
        }
    }
    assert_eq!(end_of_life(Timestamp::MAX, None), Timestamp::MAX);
}

/// Points in time between 1970 and 2096.
fn time() -> impl Strategy<Value = Timestamp> {
    (0..4_000_000_000_i64, 0..1_000_000_000_i32)
        .prop_map(|(second, nanosecond)| Timestamp::new(second, nanosecond).unwrap())
}

/// Tokens with an expiry as AWS sets it, and with an invalid one.
fn tokens() -> impl Strategy<Value = Token> {
    let lifetime = prop_oneof![4 => 1..100_000_i64, 1 => -100_000..1_i64];
    (time(), proptest::option::of(lifetime)).prop_map(|(minted_at, lifetime)| {
        token(
            minted_at,
            lifetime.map(|seconds| minted_at + SignedDuration::from_secs(seconds)),
        )
    })
}

fn ages() -> impl Strategy<Value = Duration> {
    (0..200_000_000_u64).prop_map(Duration::from_millis)
}

proptest! {
    #[test]
    fn due_time_is_within_lifetime_and_max_age(token in tokens(), max_age in ages()) {
        let due = due_at(&token, max_age);
        let age = due.duration_since(token.minted_at);
        let lifetime = token.expires_at.duration_since(token.minted_at);
        prop_assert!(lifetime > SignedDuration::ZERO);
        prop_assert!(token.minted_at <= due && due < token.expires_at);
        prop_assert!(age.unsigned_abs() <= max_age);
        prop_assert!(age <= lifetime / 2);
        // And it is exactly one of the two limits.
        prop_assert!(age.unsigned_abs() == max_age || age == lifetime / 2);
    }

    #[test]
    fn stage_never_goes_back_in_time(token in tokens(), max_age in ages(), one in time(), other in time(), near in any::<bool>()) {
        let near = |time: Timestamp| if near {
            // Within two days of the minting, when the stage changes.
            token.minted_at + SignedDuration::from_secs(time.as_second() % (48 * HOUR))
        } else {
            time.max(token.minted_at)
        };
        let (one, other) = (near(one), near(other));
        let rank = |now| match stage(&token, max_age, now) {
            Stage::Fresh => 0,
            Stage::Due => 1,
            Stage::Expired => 2,
        };
        prop_assert!(rank(one.min(other)) <= rank(one.max(other)));
    }

    #[test]
    fn expired_token_is_neither_fresh_nor_serves(token in tokens(), max_age in ages(), now in time()) {
        let expired = now >= token.expires_at;
        prop_assert_eq!(stage(&token, max_age, now) == Stage::Expired, expired);
        prop_assert!(!(expired && serves(token.minted_at, token.expires_at, now)));
    }

    #[test]
    fn no_lifetime_serves_beyond_its_expiry(one in time(), other in time(), now in time()) {
        if serves(one, other, now) {
            prop_assert!(now < other);
        }
    }

    /// Pods that start during the minting of the next token need a valid one.
    #[test]
    fn fresh_token_serves(token in tokens(), now in time()) {
        if stage(&token, SIX_HOURS, now) == Stage::Fresh {
            prop_assert!(serves(token.minted_at, token.expires_at, now));
        }
    }

    #[test]
    fn retry_is_neither_too_early_nor_too_late(
        token in proptest::option::of(tokens()), failures in any::<u32>(), now in time(),
        near in 0..HOUR * 13, jitter in 0.0..1.0_f64,
    ) {
        let now = match &token {
            // Within the lifetime or shortly after it.
            Some(token) if near % 2 == 0 => token.minted_at + SignedDuration::from_secs(near),
            _ => now,
        };
        let pause = retry_in(token.as_ref().map(|token| token.expires_at), failures, now, jitter);
        prop_assert!(pause >= Duration::from_millis(500), "{pause:?}");
        let left = token
            .map(|token| token.expires_at.duration_since(now))
            .filter(|left| *left > SignedDuration::ZERO);
        let longest = match left {
            Some(left) => (left.unsigned_abs() / 8).clamp(Duration::from_secs(1), Duration::from_secs(300)),
            None => Duration::from_secs(15),
        };
        prop_assert!(pause <= longest, "{pause:?} {left:?}");
    }

    /// With the same jitter, one more failure never shortens the pause.
    #[test]
    fn pause_grows_with_each_failure(token in tokens(), failures in 0..40_u32, now in time(), jitter in 0.0..1.0_f64) {
        let pause = |failures| retry_in(Some(token.expires_at), failures, now, jitter);
        prop_assert!(pause(failures) <= pause(failures + 1));
    }

    /// AWS fails from the time that a token is due until its expiry. The test limits the number of
    /// calls, and the time from the last call to the expiry.
    #[test]
    fn outage_is_retried_until_expiry_at_limited_rate(lifetime in 20..200_000_i64, jitter in 0.0..1.0_f64) {
        let token = token(noon(), Some(noon() + SignedDuration::from_secs(lifetime)));
        let mut now = due_at(&token, SIX_HOURS);
        let (mut asked, mut last) = (0_u32, now);
        while now < token.expires_at {
            (asked, last) = (asked + 1, now);
            now = now.checked_add(retry_in(Some(token.expires_at), asked, now, jitter)).unwrap();
        }
        let seconds = token.expires_at.duration_since(due_at(&token, SIX_HOURS)).as_secs_f64();
        prop_assert!(f64::from(asked) <= 2.0 * seconds + 1.0);
        prop_assert!(f64::from(asked) <= seconds / 150.0 + 120.0, "{asked} in {seconds} s");
        prop_assert!(token.expires_at.duration_since(last) <= SignedDuration::from_secs(1));
    }

    /// Of two believable tokens, only one wins, so two replicas never replace them in turn for ever.
    #[test]
    fn one_of_two_past_tokens_supersedes_the_other(one in tokens(), other in tokens(), now in time()) {
        let wins = |one: &Token, other: &Token| supersedes(one, other.minted_at, other.expires_at, now);
        prop_assert!(!wins(&one, &one.clone()));
        if one.minted_at <= now && other.minted_at <= now {
            prop_assert!(!(wins(&one, &other) && wins(&other, &one)));
            prop_assert!(wins(&one, &other) || wins(&other, &one) || one.expires_at == other.expires_at);
        }
    }
}
