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

/// Noon on some day.
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
fn a_token_lives_for_twelve_hours_unless_aws_says_when_it_ends() {
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
fn it_is_renewed_at_half_of_its_life_or_at_the_greatest_age() {
    let due =
        |life: i64, max_age: Duration| due_at(&token(noon(), Some(noon() + hours(life))), max_age);
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
fn it_changes_its_stage_to_the_nanosecond() {
    let token = token(noon(), Some(noon() + hours(12)));
    let stage = |now| stage(&token, SIX_HOURS, now);
    assert_eq!(stage(noon()), Stage::Fresh);
    assert_eq!(stage(noon() + hours(6) - NANOSECOND), Stage::Fresh);
    assert_eq!(stage(noon() + hours(6)), Stage::Due);
    assert_eq!(stage(noon() + hours(12) - NANOSECOND), Stage::Due);
    assert_eq!(stage(noon() + hours(12)), Stage::Expired);
    assert_eq!(stage(Timestamp::MAX), Stage::Expired);
}

/// With a clock that was wrong, or is, the age of the token means nothing; a new one is cheap.
#[test]
fn a_clock_that_went_back_by_more_than_five_minutes_makes_it_due() {
    let token = token(noon(), None);
    let stage = |now| stage(&token, SIX_HOURS, now);
    let five_minutes = SignedDuration::from_mins(5);
    assert_eq!(stage(noon() - five_minutes), Stage::Fresh);
    assert_eq!(stage(noon() - five_minutes - NANOSECOND), Stage::Due);
    assert_eq!(stage(Timestamp::MIN), Stage::Due);
}

#[test]
fn it_serves_until_a_tenth_of_its_life_is_left() {
    let serves = |now| serves(noon(), noon() + hours(10), now);
    assert!(serves(noon()));
    assert!(serves(noon() + hours(9) - NANOSECOND));
    assert!(!serves(noon() + hours(9)));
    assert!(!serves(noon() + hours(10)));
}

/// Annotations can be edited by hand.
#[test]
fn a_life_that_ends_before_it_starts_serves_nobody_after_its_end() {
    let serves = |now| serves(noon() + hours(100), noon(), now);
    assert!(!serves(noon() + hours(1)));
    assert!(!serves(noon() + NANOSECOND));
    assert!(!serves(noon()));
}

#[test]
fn the_ends_of_time_are_no_trouble() {
    for minted_at in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
        for expires_at in [None, Some(Timestamp::MIN), Some(Timestamp::MAX)] {
            let token = token(minted_at, expires_at);
            for max_age in [Duration::ZERO, SIX_HOURS, Duration::MAX] {
                for now in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
                    stage(&token, max_age, now);
                    serves(minted_at, token.expires_at, now);
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

/// As AWS gives them, and as it should not.
fn tokens() -> impl Strategy<Value = Token> {
    let life = prop_oneof![4 => 1..100_000_i64, 1 => -100_000..1_i64];
    (time(), proptest::option::of(life)).prop_map(|(minted_at, life)| {
        token(
            minted_at,
            life.map(|seconds| minted_at + SignedDuration::from_secs(seconds)),
        )
    })
}

fn ages() -> impl Strategy<Value = Duration> {
    (0..200_000_000_u64).prop_map(Duration::from_millis)
}

proptest! {
    #[test]
    fn the_time_to_renew_lies_within_the_life_and_the_greatest_age(token in tokens(), max_age in ages()) {
        let due = due_at(&token, max_age);
        let age = due.duration_since(token.minted_at);
        let life = token.expires_at.duration_since(token.minted_at);
        prop_assert!(life > SignedDuration::ZERO);
        prop_assert!(token.minted_at <= due && due < token.expires_at);
        prop_assert!(age.unsigned_abs() <= max_age);
        prop_assert!(age <= life / 2);
        // And not sooner than one of the two asks for.
        prop_assert!(age.unsigned_abs() == max_age || age == life / 2);
    }

    #[test]
    fn a_token_never_gets_younger(token in tokens(), max_age in ages(), one in time(), other in time(), near in any::<bool>()) {
        let near = |time: Timestamp| if near {
            // Within two days of the minting, where something happens.
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
    fn only_a_token_that_lives_is_fresh_or_serves(token in tokens(), max_age in ages(), now in time()) {
        let dead = now >= token.expires_at;
        prop_assert_eq!(stage(&token, max_age, now) == Stage::Expired, dead);
        prop_assert!(!(dead && serves(token.minted_at, token.expires_at, now)));
    }

    #[test]
    fn no_lifetime_serves_beyond_its_end(one in time(), other in time(), now in time()) {
        if serves(one, other, now) {
            prop_assert!(now < other);
        }
    }

    /// The pods that start while the next token is being minted must have one that works.
    #[test]
    fn a_token_that_is_fresh_serves(token in tokens(), now in time()) {
        if stage(&token, SIX_HOURS, now) == Stage::Fresh {
            prop_assert!(serves(token.minted_at, token.expires_at, now));
        }
    }
}
