use super::*;

use jiff::SignedDuration;
use proptest::prelude::*;

use crate::token::moments::{HOUR, NANOSECOND, hours, noon};

const SIX_HOURS: Duration = Duration::from_secs(6 * 60 * 60);

fn seconds(count: i64) -> SignedDuration {
    SignedDuration::from_secs(count)
}

/// The stage at any phase.
fn stage(lifetime: Lifetime, max_age: Duration, now: Timestamp) -> Stage {
    super::stage(lifetime, max_age, RenewalPhase::ANY, now)
}

/// The pause after a failure to replace a token with this expiry, or to get the first one of a key of
/// the configuration.
fn retry_in(expires_at: Option<Timestamp>, failures: u32, now: Timestamp, jitter: f64) -> Duration {
    let longest = match expires_at {
        Some(expires_at) => longest_retry(expires_at, now),
        None => longest_first_retry(true, None, now),
    };
    super::retry_in(longest, failures, jitter)
}

fn lifetime(minted_at: Timestamp, expires_at: Option<Timestamp>) -> Lifetime {
    Lifetime::stated(minted_at, expires_at)
}

#[test]
fn due_time_is_half_lifetime_or_max_age() {
    let due = |length: i64, max_age: Duration| {
        due_by(lifetime(noon(), Some(noon() + hours(length))), max_age)
    };
    assert_eq!(due(12, SIX_HOURS), noon() + hours(6));
    assert_eq!(due(2, SIX_HOURS), noon() + hours(1));
    assert_eq!(due(36, SIX_HOURS), noon() + hours(6));
    assert_eq!(due(12, Duration::from_secs(60)), noon() + seconds(60));
    assert_eq!(due(12, Duration::MAX), noon() + hours(6));
}

#[test]
fn stage_changes_exactly_at_its_limits() {
    let lifetime = lifetime(noon(), Some(noon() + hours(12)));
    let stage = |now| stage(lifetime, SIX_HOURS, now);
    let due_at = due_at(lifetime, SIX_HOURS, RenewalPhase::ANY);
    assert!((noon() + hours(4)..=noon() + hours(6)).contains(&due_at));
    assert_eq!(stage(noon()), Stage::Fresh);
    assert_eq!(stage(due_at - NANOSECOND), Stage::Fresh);
    assert_eq!(stage(due_at), Stage::Due);
    assert_eq!(stage(noon() + hours(12) - NANOSECOND), Stage::Due);
    assert_eq!(stage(noon() + hours(12)), Stage::Expired);
    assert_eq!(stage(Timestamp::MAX), Stage::Expired);
}

/// A clock that is or was wrong says nothing about the token's age, and a new token is cheap.
#[test]
fn token_is_due_after_clock_goes_back() {
    let lifetime = lifetime(noon(), None);
    let stage = |now| stage(lifetime, SIX_HOURS, now);
    let five_minutes = SignedDuration::from_mins(5);
    assert_eq!(stage(noon() - five_minutes), Stage::Fresh);
    assert_eq!(stage(noon() - five_minutes - NANOSECOND), Stage::Due);
    assert_eq!(stage(Timestamp::MIN), Stage::Due);
}

#[test]
fn token_is_overdue_a_fifth_of_lifetime_later() {
    let overdue = |length: i64, jitter, after: i64| {
        let lifetime = lifetime(noon(), Some(noon() + seconds(length)));
        is_overdue(lifetime, SIX_HOURS, noon() + seconds(after), jitter)
    };
    let half_day = 12 * HOUR;
    for (jitter, begins) in [
        (0.0, half_day * 7 / 10),
        (1.0, half_day * 8 / 10),
        (9.0, half_day * 8 / 10),
    ] {
        assert!(!overdue(half_day, jitter, begins - 1));
        assert!(overdue(half_day, jitter, begins));
    }
    assert!(overdue(half_day, 0.0, half_day - 1) && !overdue(half_day, 0.0, half_day));
    // A change of the leader takes half a minute.
    assert!(!overdue(90, 0.0, 74) && overdue(90, 0.0, 75));
    assert!((0..=60).all(|after| !overdue(20, 0.0, after)));
}

#[test]
fn pauses_double_within_the_remaining_lifetime() {
    let expires_at = noon() + hours(12);
    let pause = |failures, now| retry_in(Some(expires_at), failures, now, 1.0).as_secs_f64();
    let in_time = noon() + hours(6);
    let first: Vec<f64> = (0..12).map(|failures| pause(failures, in_time)).collect();
    assert_eq!(
        first,
        [
            1.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 300.0
        ]
    );
    assert!((pause(100, expires_at - seconds(80)) - 10.0).abs() < 1e-9);
    assert!((pause(100, expires_at - NANOSECOND) - 1.0).abs() < 1e-9);
    // The token has expired, and pods wait.
    assert!((pause(100, expires_at) - 15.0).abs() < 1e-9);
    assert!((retry_in(None, 100, noon(), 1.0).as_secs_f64() - 15.0).abs() < 1e-9);
    assert_eq!(
        retry_in(None, 1, noon(), 0.0),
        Duration::from_millis(500),
        "jitter shortens a pause by at most half"
    );
}

/// A tenant can write the expiry of the tokens that pods pull with meanwhile.
#[test]
fn first_token_for_pods_is_retried_after_minutes() {
    let five_minutes = Duration::from_secs(300);
    for (meanwhile, of_configuration) in [
        (None, 15),
        (Some(hours(12)), 300),
        (Some(seconds(240)), 30),
        (Some(seconds(1)), 15),
        (Some(seconds(-1)), 15),
    ] {
        let meanwhile = meanwhile.map(|left| noon() + left);
        let longest = |is_configured| longest_first_retry(is_configured, meanwhile, noon());
        assert_eq!(longest(false), five_minutes, "{meanwhile:?}");
        let of_configuration = Duration::from_secs(of_configuration);
        assert_eq!(longest(true), of_configuration, "{meanwhile:?}");
    }
}

/// The clock of a node without time service may jump, and jump back.
#[test]
fn clock_jump_costs_one_renewal_in_either_direction() {
    let old = lifetime(noon(), Some(noon() + hours(12)));
    for jump in [-72, -1, 7, 72].map(hours) {
        let now = noon() + jump;
        assert_ne!(stage(old, SIX_HOURS, now), Stage::Fresh, "{jump:?}");
        for expires_at in [Some(noon() + hours(12) + NANOSECOND), None] {
            let new = lifetime(now, expires_at);
            assert_eq!(stage(new, SIX_HOURS, now), Stage::Fresh, "{jump:?}");
            assert!(new.supersedes(old, now), "{jump:?}");
            // The clock is corrected.
            if jump.is_positive() {
                assert_eq!(stage(new, SIX_HOURS, noon()), Stage::Due, "{jump:?}");
            }
        }
    }
}

#[test]
fn extreme_times_cause_no_panic() {
    for minted_at in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
        for expires_at in [None, Some(Timestamp::MIN), Some(Timestamp::MAX)] {
            let lifetime = lifetime(minted_at, expires_at);
            for max_age in [Duration::ZERO, SIX_HOURS, Duration::MAX] {
                for now in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
                    stage(lifetime, max_age, now);
                    for jitter in [0.0, 1.0, -1.0, f64::INFINITY, f64::NAN] {
                        for failures in [0, 1, u32::MAX] {
                            let expires_at = Some(lifetime.expires_at);
                            let pause = retry_in(expires_at, failures, now, jitter);
                            assert!(pause >= Duration::from_millis(500));
                        }
                    }
                }
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
        lifetime(minted_at, length.map(|length| minted_at + seconds(length)))
    })
}

fn ages() -> impl Strategy<Value = Duration> {
    (0..200_000_000_u64).prop_map(Duration::from_millis)
}

proptest! {
    #[test]
    fn due_time_is_within_lifetime_and_max_age(lifetime in lifetimes(), max_age in ages()) {
        let due = due_by(lifetime, max_age);
        let age = due.duration_since(lifetime.minted_at);
        let length = lifetime.expires_at.duration_since(lifetime.minted_at);
        prop_assert!(length > SignedDuration::ZERO);
        prop_assert!(lifetime.minted_at <= due && due < lifetime.expires_at);
        prop_assert!(age.unsigned_abs() <= max_age);
        prop_assert!(age <= length / 2);
        // No sooner than one of the two demands.
        prop_assert!(age.unsigned_abs() == max_age || age == length / 2);
    }

    #[test]
    fn stage_never_goes_back_in_time(lifetime in lifetimes(), max_age in ages(), one in time(), other in time(), near in any::<bool>()) {
        let near = |time: Timestamp| if near {
            // Within two days of the minting, where stages change.
            lifetime.minted_at + seconds(time.as_second() % (48 * HOUR))
        } else {
            time.max(lifetime.minted_at)
        };
        let (one, other) = (near(one), near(other));
        let rank = |now| match stage(lifetime, max_age, now) {
            Stage::Fresh => 0,
            Stage::Due => 1,
            Stage::Expired => 2,
        };
        prop_assert!(rank(one.min(other)) <= rank(one.max(other)));
    }

    #[test]
    fn expired_token_is_neither_fresh_nor_serving(lifetime in lifetimes(), max_age in ages(), now in time()) {
        let is_expired = now >= lifetime.expires_at;
        prop_assert_eq!(stage(lifetime, max_age, now) == Stage::Expired, is_expired);
        prop_assert!(!(is_expired && lifetime.serves(now)));
    }

    /// Pods that start while the next token is being minted need one that works.
    #[test]
    fn fresh_token_serves(lifetime in lifetimes(), now in time()) {
        if stage(lifetime, SIX_HOURS, now) == Stage::Fresh {
            prop_assert!(lifetime.serves(now));
        }
    }

    #[test]
    fn retry_is_neither_too_early_nor_too_late(
        lifetime in proptest::option::of(lifetimes()), failures in any::<u32>(), now in time(),
        near in 0..HOUR * 13, jitter in 0.0..1.0_f64,
    ) {
        let now = match &lifetime {
            // Within the lifetime or shortly after it.
            Some(lifetime) if near % 2 == 0 => lifetime.minted_at + seconds(near),
            _ => now,
        };
        let expires_at = lifetime.map(|lifetime| lifetime.expires_at);
        let pause = retry_in(expires_at, failures, now, jitter);
        prop_assert!(pause >= Duration::from_millis(500), "{pause:?}");
        let left = expires_at
            .map(|expires_at| expires_at.duration_since(now))
            .filter(|left| *left > SignedDuration::ZERO);
        let longest = match left {
            Some(left) => (left.unsigned_abs() / 8).clamp(Duration::from_secs(1), Duration::from_secs(300)),
            None => Duration::from_secs(15),
        };
        prop_assert!(pause <= longest, "{pause:?} {left:?}");
    }

    #[test]
    fn pause_grows_with_each_failure(lifetime in lifetimes(), failures in 0..40_u32, now in time(), jitter in 0.0..1.0_f64) {
        let pause = |failures| retry_in(Some(lifetime.expires_at), failures, now, jitter);
        prop_assert!(pause(failures) <= pause(failures + 1));
    }

    /// AWS fails from the time that a token is due until its expiry. The test limits the number of
    /// calls, and the time from the last call to the expiry.
    #[test]
    fn outage_is_retried_until_expiry_at_limited_rate(length in 20..200_000_i64, jitter in 0.0..1.0_f64) {
        let lifetime = lifetime(noon(), Some(noon() + seconds(length)));
        let mut now = due_by(lifetime, SIX_HOURS);
        let (mut calls, mut last) = (0_u32, now);
        while now < lifetime.expires_at {
            (calls, last) = (calls + 1, now);
            now = now.checked_add(retry_in(Some(lifetime.expires_at), calls, now, jitter)).unwrap();
        }
        let duration = lifetime.expires_at.duration_since(due_by(lifetime, SIX_HOURS)).as_secs_f64();
        prop_assert!(f64::from(calls) <= 2.0 * duration + 1.0);
        prop_assert!(f64::from(calls) <= duration / 150.0 + 120.0, "{calls} in {duration} s");
        prop_assert!(lifetime.expires_at.duration_since(last) <= SignedDuration::from_secs(1));
    }
}
