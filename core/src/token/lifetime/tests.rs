use super::*;

use proptest::prelude::*;

use crate::token::moments::{HOUR, NANOSECOND, at, hours, noon};

/// Minted and expiring that many seconds after noon.
fn lifetime(minted_at: i64, expires_at: i64) -> Lifetime {
    Lifetime {
        minted_at: noon() + SignedDuration::from_secs(minted_at),
        expires_at: noon() + SignedDuration::from_secs(expires_at),
    }
}

#[test]
fn lifetime_is_twelve_hours_without_a_valid_expiry() {
    for (stated, wanted) in [
        (None, noon() + hours(12)),
        (Some(noon() - hours(1)), noon() + hours(12)),
        (Some(noon()), noon() + hours(12)),
        (Some(Timestamp::UNIX_EPOCH), noon() + hours(12)),
        (Some(noon() + NANOSECOND), noon() + NANOSECOND),
        (Some(noon() + hours(1)), noon() + hours(1)),
        (Some(noon() + hours(36)), noon() + hours(36)),
    ] {
        let lifetime = Lifetime::stated(noon(), stated);
        assert_eq!(lifetime.minted_at, noon());
        assert_eq!(lifetime.expires_at, wanted, "{stated:?}");
    }
    let last = Lifetime::stated(Timestamp::MAX, None);
    assert_eq!(last.expires_at, Timestamp::MAX);
}

#[test]
fn token_serves_until_a_tenth_of_lifetime_remains() {
    let serves = |now| lifetime(0, 10 * HOUR).serves(now);
    assert!(serves(noon()));
    assert!(serves(noon() + hours(9) - NANOSECOND));
    assert!(!serves(noon() + hours(9)));
    assert!(!serves(noon() + hours(10)));
}

/// Annotations can be edited by hand.
#[test]
fn reversed_lifetime_does_not_serve_after_its_expiry() {
    let serves = |now| lifetime(100 * HOUR, 0).serves(now);
    assert!(!serves(noon() + hours(1)));
    assert!(!serves(noon() + NANOSECOND));
    assert!(!serves(noon()));
}

#[test]
fn present_token_supersedes_one_from_the_future() {
    let wins = |one: Lifetime, other: Lifetime| one.supersedes(other, noon());
    let present = lifetime(0, 12 * HOUR);
    let newer = lifetime(60, 12 * HOUR + 60);
    assert!(wins(newer, present) && !wins(present, newer));
    assert!(!wins(present, present));
    // From a clock that is an hour ahead, and so is the expiry.
    let ahead = lifetime(HOUR, 13 * HOUR);
    assert!(wins(present, ahead));
    // It works, and a replica whose clock is right must not refuse it while AWS is down.
    assert!(wins(ahead, present));
    let implausible = lifetime(0, 25 * HOUR);
    assert!(wins(present, implausible) && !wins(implausible, present));
    assert!(wins(lifetime(-HOUR, 1), implausible));
}

#[test]
fn expiry_is_plausible_within_a_day() {
    let is_plausible = |expires_at, now| {
        let minted_at = noon();
        let lifetime = Lifetime {
            minted_at,
            expires_at,
        };
        lifetime.is_plausible(now)
    };
    assert!(is_plausible(noon() + hours(24), noon()));
    assert!(!is_plausible(noon() + hours(24) + NANOSECOND, noon()));
    assert!(is_plausible(Timestamp::MIN, Timestamp::MAX));
    assert!(!is_plausible(Timestamp::MAX, Timestamp::MIN));
}

#[test]
fn usable_token_is_neither_expired_nor_implausible() {
    assert!(lifetime(0, 12 * HOUR).is_usable(noon()));
    assert!(lifetime(-HOUR, 1).is_usable(noon()));
    assert!(!lifetime(-HOUR, 0).is_usable(noon()));
    assert!(!lifetime(0, 24 * HOUR + 1).is_usable(noon()));
}

#[test]
fn text_of_lifetime_is_two_times() {
    let text = "1970-01-01T00:00:00Z/1970-01-01T10:00:00Z";
    let lifetime: Lifetime = text.parse().unwrap();
    assert_eq!(
        lifetime,
        Lifetime {
            minted_at: at(0),
            expires_at: at(10 * HOUR)
        }
    );
    assert_eq!(lifetime.to_string(), text);
    assert!(lifetime.serves(at(9 * HOUR - 1)));
    assert!(!lifetime.serves(at(9 * HOUR)));
    for text in [
        "",
        "/",
        "1970-01-01T00:00:00Z/",
        "/1970-01-01T00:00:00Z",
        "a/b",
    ] {
        assert!(text.parse::<Lifetime>().is_err(), "{text}");
    }
}

#[test]
fn extreme_times_cause_no_panic() {
    let times = [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX];
    for minted_at in times {
        for expires_at in [None, Some(Timestamp::MIN), Some(Timestamp::MAX)] {
            let lifetime = Lifetime::stated(minted_at, expires_at);
            for now in times {
                lifetime.serves(now);
                lifetime.supersedes(lifetime, now);
            }
        }
    }
}

/// Points in time between 1970 and 2096.
fn time() -> impl Strategy<Value = Timestamp> {
    (0..4_000_000_000_i64, 0..1_000_000_000_i32)
        .prop_map(|(second, nanosecond)| Timestamp::new(second, nanosecond).unwrap())
}

/// As AWS states them, and as it should not.
fn lifetimes() -> impl Strategy<Value = Lifetime> {
    let length = prop_oneof![4 => 1..100_000_i64, 1 => -100_000..1_i64];
    (time(), proptest::option::of(length)).prop_map(|(minted_at, length)| {
        let expires_at = length.map(|seconds| minted_at + SignedDuration::from_secs(seconds));
        Lifetime::stated(minted_at, expires_at)
    })
}

proptest! {
    #[test]
    fn no_lifetime_serves_beyond_its_expiry(one in time(), other in time(), now in time()) {
        let lifetime = Lifetime { minted_at: one, expires_at: other };
        if lifetime.serves(now) {
            prop_assert!(now < other);
        }
    }

    /// Two replicas never exchange two plausible tokens forever.
    #[test]
    fn one_of_two_past_tokens_supersedes_the_other(one in lifetimes(), other in lifetimes(), now in time()) {
        let wins = |one: Lifetime, other: Lifetime| one.supersedes(other, now);
        prop_assert!(!wins(one, one));
        if one.minted_at <= now && other.minted_at <= now {
            prop_assert!(!(wins(one, other) && wins(other, one)));
            prop_assert!(wins(one, other) || wins(other, one) || one.expires_at == other.expires_at);
        }
    }
}
