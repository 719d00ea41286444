use proptest::prelude::*;

use super::*;

const LIFETIME: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// What a replica makes of a step.
fn take(held: &Held, step: Step, lifetime: Duration, now: Timestamp) -> Held {
    let kept = stay(held, step);
    let moved = |index: usize| kept.iter().position(|kept| *kept == index);
    let mut next = Held {
        leaf: held.leaf.and_then(|leaf| {
            let signer = moved(leaf.signer)?;
            Some(Leaf { signer, ..leaf })
        }),
        authorities: kept.iter().map(|index| held.authorities[*index]).collect(),
        signing: held.signing.and_then(moved),
    };
    if matches!(step, Step::Found | Step::IntroduceCa) {
        next.signing = Some(next.authorities.len());
        next.authorities.push(Validity::of_authority(now, lifetime));
    }
    if matches!(
        step,
        Step::Found | Step::RenewLeaf | Step::SwitchLeafToNewCa
    ) {
        let signer = next.signing.unwrap();
        next.leaf = Some(Leaf {
            validity: Validity::of_leaf(now, lifetime, next.authorities[signer]),
            signer,
        });
    }
    next
}

/// Takes steps until there is none left to take; says which.
fn settle(held: &mut Held, lifetime: Duration, now: Timestamp, is_trusted: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    loop {
        let next = step(held, lifetime, now, is_trusted);
        if next == Step::Keep {
            return steps;
        }
        *held = take(held, next, lifetime, now);
        steps.push(next);
        assert!(steps.len() <= 4, "a loop: {steps:?}");
        let leaf = held.leaf.expect("a leaf after every step");
        let signer = held
            .authorities
            .get(leaf.signer)
            .expect("a CA of the bundle");
        assert!(leaf.validity.not_after <= signer.not_after, "{steps:?}");
        assert!(leaf.validity.not_before >= signer.not_before, "{steps:?}");
        assert!(held.authorities.len() <= 3 && held.signing.is_some());
    }
}

fn noon() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    now + jiff::SignedDuration::try_from(by).unwrap()
}

#[test]
fn the_first_replica_makes_a_ca_and_a_leaf() {
    let mut held = Held::default();
    assert_eq!(settle(&mut held, LIFETIME, noon(), false), [Step::Found]);
    let leaf = held.leaf.unwrap();
    assert_eq!(leaf.validity.not_after, later(noon(), LIFETIME));
    assert_eq!(held.authorities[0].not_after, later(noon(), LIFETIME * 6));
    for validity in [leaf.validity, held.authorities[0]] {
        assert_eq!(validity.born(), noon());
        assert_eq!(validity.not_before, "2026-03-01T11:00:00Z".parse().unwrap());
    }
}

/// Two years, looked at every day: which step was taken on which day.
#[test]
fn a_ca_is_announced_a_sixth_of_a_lifetime_before_it_signs() {
    let mut held = Held::default();
    let day = Duration::from_secs(24 * 60 * 60);
    let mut diary = Vec::new();
    for number in 0..480 {
        let now = later(noon(), day * number);
        for step in settle(&mut held, LIFETIME, now, true) {
            diary.push((number, step));
        }
    }
    let wanted = [
        (0, Step::Found),
        (60, Step::RenewLeaf),
        (120, Step::RenewLeaf),
        (180, Step::RenewLeaf),
        (240, Step::RenewLeaf),
        (300, Step::RenewLeaf),
        // With a leaf of this day, and 180 days left to the old CA.
        (360, Step::RenewLeaf),
        (360, Step::IntroduceCa),
        (375, Step::SwitchLeafToNewCa),
        (390, Step::DropOldCa),
        (435, Step::RenewLeaf),
    ];
    assert_eq!(diary, wanted);
}

#[test]
fn a_bundle_that_the_api_server_was_not_given_holds_the_leaf_back_while_it_is_good() {
    let mut held = Held::default();
    settle(&mut held, LIFETIME, noon(), false);
    let introduced = later(noon(), LIFETIME * 4);
    let steps = settle(&mut held, LIFETIME, introduced, false);
    assert_eq!(steps, [Step::RenewLeaf, Step::IntroduceCa]);
    let waiting = later(introduced, LIFETIME / 2);
    assert_eq!(settle(&mut held, LIFETIME, waiting, false), []);
    assert_eq!(
        settle(&mut held.clone(), LIFETIME, waiting, true),
        [Step::SwitchLeafToNewCa]
    );
    let expired = later(introduced, LIFETIME);
    assert_eq!(
        settle(&mut held, LIFETIME, expired, false),
        [Step::SwitchLeafToNewCa]
    );
}

#[test]
fn what_is_missing_is_made_from_what_is_there() {
    let mut held = Held::default();
    settle(&mut held, LIFETIME, noon(), true);
    let without_key = Held {
        signing: None,
        ..held.clone()
    };
    let without_leaf = Held {
        leaf: None,
        ..held.clone()
    };
    let without_both = Held {
        leaf: None,
        signing: None,
        ..held.clone()
    };
    for (held, wanted) in [
        (without_key, Step::IntroduceCa),
        (without_leaf, Step::SwitchLeafToNewCa),
        (without_both, Step::Found),
    ] {
        assert_eq!(step(&held, LIFETIME, noon(), true), wanted);
    }
    // All that there was has ended.
    let much_later = later(noon(), LIFETIME * 7);
    assert_eq!(step(&held, LIFETIME, much_later, true), Step::Found);
    // Only the leaf has.
    let expired = later(noon(), LIFETIME);
    assert_eq!(step(&held, LIFETIME, expired, true), Step::RenewLeaf);
}

#[test]
fn a_leaf_that_is_overdue_does_not_wait_for_the_overlap_of_a_longer_lifetime() {
    let day = Duration::from_secs(24 * 60 * 60);
    let mut held = Held::default();
    settle(&mut held, day, noon(), true);
    let steps = settle(&mut held, LIFETIME, later(noon(), day / 6), true);
    assert_eq!(steps, [Step::IntroduceCa]);
    assert_eq!(
        settle(&mut held, LIFETIME, later(noon(), day / 2), true),
        []
    );
    let overdue = later(noon(), day * 5 / 6);
    assert_eq!(settle(&mut held, LIFETIME, overdue, false), []);
    let steps = settle(&mut held, LIFETIME, overdue, true);
    assert_eq!(steps, [Step::SwitchLeafToNewCa]);
}

/// Nobody looked until the CA has a minute left: a leaf that ends with it cannot be renewed.
#[test]
fn a_ca_that_is_about_to_end_is_replaced_at_once() {
    let mut held = Held::default();
    settle(&mut held, LIFETIME, noon(), true);
    let last = later(noon(), LIFETIME * 6 - Duration::from_secs(60));
    let steps = settle(&mut held, LIFETIME, last, false);
    assert_eq!(steps, [Step::RenewLeaf, Step::IntroduceCa]);
    let steps = settle(&mut held, LIFETIME, last, true);
    assert_eq!(steps, [Step::SwitchLeafToNewCa]);
}

#[test]
fn looks_are_often_enough_for_the_shortest_life_and_for_the_end() {
    let second = Duration::from_secs(1);
    let leaf = Validity::of_leaf(
        noon(),
        second * 100,
        Validity::of_authority(noon(), LIFETIME),
    );
    assert_eq!(pace(None, second * 200, noon()), second * 2);
    assert_eq!(pace(Some(leaf), second * 50, noon()), second / 2);
    assert_eq!(pace(Some(leaf), LIFETIME, noon()), second);
    let leaf = Validity::of_leaf(noon(), LIFETIME, Validity::of_authority(noon(), LIFETIME));
    let last = later(noon(), LIFETIME - second * 5);
    assert_eq!(pace(Some(leaf), LIFETIME, last), second * 5);
    let ended = later(noon(), LIFETIME);
    assert_eq!(pace(Some(leaf), LIFETIME, ended), LIFETIME / 100);
}

proptest! {
    /// With a clock that runs and replicas that look in at any interval, what is served is always
    /// good and always covered by what the API server was given an overlap ago, and what the
    /// slowest replica served an overlap ago is covered by the bundle of now.
    #[test]
    fn the_api_server_always_knows_the_ca_of_the_leaf(
        seconds in 12_u64..10_000_000,
        pauses in prop::collection::vec(1_u64..60, 200..600),
    ) {
        let lifetime = Duration::from_secs(seconds);
        let mut now = noon();
        let mut held = Held::default();
        settle(&mut held, lifetime, now, true);
        let mut history = vec![(now, held.clone())];
        for pause in pauses {
            // Up to an eighth of a lifetime.
            now = later(now, Duration::from_secs((seconds * pause / 480).max(1)));
            let before = held.clone();
            prop_assert!(before.leaf.unwrap().validity.covers(now), "expired before a look");
            settle(&mut held, lifetime, now, true);
            let leaf = held.leaf.unwrap();
            prop_assert!(leaf.validity.covers(now));
            prop_assert!(held.authorities[leaf.signer].covers(now));
            history.push((now, held.clone()));
            let long_ago = now - jiff::SignedDuration::try_from(overlap(lifetime)).unwrap();
            let then = history.iter().rev().find(|(time, _)| *time <= long_ago);
            if let Some((_, then)) = then {
                let signer = held.authorities[leaf.signer];
                prop_assert!(then.authorities.contains(&signer), "signed too early");
            }
            for (_, then) in history.iter().rev().take_while(|(time, _)| *time > long_ago) {
                let signer = then.authorities[then.leaf.unwrap().signer];
                prop_assert!(held.authorities.contains(&signer), "dropped too early");
            }
        }
    }

    /// Whatever is made of the lifetime, the leaf is replaced before its end.
    #[test]
    fn no_change_of_the_lifetime_lets_the_leaf_end(
        lifetimes in prop::collection::vec(100_u64..10_000_000, 2..4),
        looks in prop::collection::vec((1_u32..60, 0_usize..40), 200..600),
    ) {
        let mut now = noon();
        let mut held = Held::default();
        let mut lifetime = Duration::from_secs(lifetimes[0]);
        settle(&mut held, lifetime, now, true);
        for (pause, which) in looks {
            // Up to an eighth of the shortest life, as a replica does: see `pace`.
            let leaf = held.leaf.unwrap().validity;
            now = later(now, lifetime.min(leaf.life()) * pause / 480);
            prop_assert!(leaf.covers(now), "ended before a look");
            lifetime = lifetimes.get(which).map_or(lifetime, |seconds| Duration::from_secs(*seconds));
            settle(&mut held, lifetime, now, true);
            prop_assert!(held.leaf.unwrap().validity.covers(now));
        }
    }

    /// Whatever the clock does, the steps come to an end, and no leaf is signed by what is not in
    /// the bundle: see `settle`.
    #[test]
    fn no_jump_of_the_clock_leads_into_a_loop(
        lifetimes in prop::collection::vec(10_u64..400_000_000, 1..4),
        jumps in prop::collection::vec((-1_000_000_000_i64..1_000_000_000, any::<bool>(), 0_usize..4), 1..60),
    ) {
        let mut now = noon();
        let mut held = Held::default();
        for (jump, is_trusted, which) in jumps {
            let lifetime = Duration::from_secs(lifetimes[which % lifetimes.len()]);
            now = at((now.as_second() + jump).clamp(0, 20_000_000_000));
            settle(&mut held, lifetime, now, is_trusted);
            prop_assert!(held.leaf.unwrap().validity.covers(now));
        }
    }

    /// Two replicas whose clocks differ by less than what certificates begin earlier agree.
    #[test]
    fn clocks_that_differ_a_little_do_not_fight(
        seconds in 100_u64..10_000_000,
        skew in 0.0..1.0_f64,
        looks in 10_u32..300,
    ) {
        let lifetime = Duration::from_secs(seconds);
        let apart = Duration::from_secs((seconds / 20).min(3600)).mul_f64(skew);
        let mut held = Held::default();
        let mut steps = 0;
        for look in 0..looks {
            let now = later(noon(), lifetime * look / 20);
            steps += settle(&mut held, lifetime, now, true).len();
            steps += settle(&mut held, lifetime, later(now, apart), true).len();
        }
        // One leaf in two thirds of a lifetime, and three steps for a CA in four lifetimes.
        let most = 2 + looks / 20 * 2 + (looks / 80 + 1) * 3;
        prop_assert!(steps <= most as usize, "{steps} steps, at most {most}");
    }
}
