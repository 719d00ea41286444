use proptest::prelude::*;

use super::*;

const LIFETIME: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// The certificates after a step of a replica.
fn take(
    held: &HeldCertificates,
    step: CertificateStep,
    lifetime: Duration,
    now: Timestamp,
) -> HeldCertificates {
    let kept = stay(held, step);
    let moved = |index: usize| kept.iter().position(|kept| *kept == index);
    let mut next = HeldCertificates {
        leaf: held.leaf.and_then(|leaf| {
            let signer = moved(leaf.signer)?;
            Some(Leaf { signer, ..leaf })
        }),
        authorities: kept.iter().map(|index| held.authorities[*index]).collect(),
        signing: held.signing.and_then(moved),
    };
    if matches!(step, CertificateStep::Found | CertificateStep::IntroduceCa) {
        next.signing = Some(next.authorities.len());
        next.authorities.push(Validity::of_authority(now, lifetime));
    }
    if matches!(
        step,
        CertificateStep::Found | CertificateStep::RenewLeaf | CertificateStep::SwitchLeafToNewCa
    ) {
        let signer = next.signing.unwrap();
        next.leaf = Some(Leaf {
            validity: Validity::of_leaf(now, lifetime, next.authorities[signer]),
            signer,
        });
    }
    next
}

/// Takes all steps that are due, and returns them.
fn settle(
    held: &mut HeldCertificates,
    lifetime: Duration,
    now: Timestamp,
    is_trusted: bool,
) -> Vec<CertificateStep> {
    let mut steps = Vec::new();
    loop {
        let next = step(held, lifetime, now, is_trusted);
        if next == CertificateStep::Keep {
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
fn first_replica_creates_a_ca_and_a_leaf() {
    let mut held = HeldCertificates::default();
    assert_eq!(
        settle(&mut held, LIFETIME, noon(), false),
        [CertificateStep::Found]
    );
    let leaf = held.leaf.unwrap();
    assert_eq!(leaf.validity.not_after, later(noon(), LIFETIME));
    assert_eq!(held.authorities[0].not_after, later(noon(), LIFETIME * 6));
    for validity in [leaf.validity, held.authorities[0]] {
        assert_eq!(validity.created(), noon());
        assert_eq!(validity.not_before, "2026-03-01T11:00:00Z".parse().unwrap());
    }
}

/// 480 daily checks: the steps, each with its day.
#[test]
fn ca_is_announced_an_overlap_before_it_signs() {
    let mut held = HeldCertificates::default();
    let day = Duration::from_secs(24 * 60 * 60);
    let mut diary = Vec::new();
    for number in 0..480 {
        let now = later(noon(), day * number);
        for step in settle(&mut held, LIFETIME, now, true) {
            diary.push((number, step));
        }
    }
    let wanted = [
        (0, CertificateStep::Found),
        (60, CertificateStep::RenewLeaf),
        (120, CertificateStep::RenewLeaf),
        (180, CertificateStep::RenewLeaf),
        (240, CertificateStep::RenewLeaf),
        (300, CertificateStep::RenewLeaf),
        // The leaf is renewed today, and the old CA has 180 days left.
        (360, CertificateStep::RenewLeaf),
        (360, CertificateStep::IntroduceCa),
        (375, CertificateStep::SwitchLeafToNewCa),
        (390, CertificateStep::DropOldCa),
        (435, CertificateStep::RenewLeaf),
    ];
    assert_eq!(diary, wanted);
}

#[test]
fn untrusted_bundle_delays_the_leaf_until_expiry() {
    let mut held = HeldCertificates::default();
    settle(&mut held, LIFETIME, noon(), false);
    let introduced = later(noon(), LIFETIME * 4);
    let steps = settle(&mut held, LIFETIME, introduced, false);
    assert_eq!(
        steps,
        [CertificateStep::RenewLeaf, CertificateStep::IntroduceCa]
    );
    let waiting = later(introduced, LIFETIME / 2);
    assert_eq!(settle(&mut held, LIFETIME, waiting, false), []);
    assert_eq!(
        settle(&mut held.clone(), LIFETIME, waiting, true),
        [CertificateStep::SwitchLeafToNewCa]
    );
    let expired = later(introduced, LIFETIME);
    assert_eq!(
        settle(&mut held, LIFETIME, expired, false),
        [CertificateStep::SwitchLeafToNewCa]
    );
}

#[test]
fn missing_parts_are_created_from_the_rest() {
    let mut held = HeldCertificates::default();
    settle(&mut held, LIFETIME, noon(), true);
    let without_key = HeldCertificates {
        signing: None,
        ..held.clone()
    };
    let without_leaf = HeldCertificates {
        leaf: None,
        ..held.clone()
    };
    let without_both = HeldCertificates {
        leaf: None,
        signing: None,
        ..held.clone()
    };
    for (held, wanted) in [
        (without_key, CertificateStep::IntroduceCa),
        (without_leaf, CertificateStep::SwitchLeafToNewCa),
        (without_both, CertificateStep::Found),
    ] {
        assert_eq!(step(&held, LIFETIME, noon(), true), wanted);
    }
    // All certificates have expired.
    let much_later = later(noon(), LIFETIME * 7);
    assert_eq!(
        step(&held, LIFETIME, much_later, true),
        CertificateStep::Found
    );
    // Only the leaf has expired.
    let expired = later(noon(), LIFETIME);
    assert_eq!(
        step(&held, LIFETIME, expired, true),
        CertificateStep::RenewLeaf
    );
}

#[test]
fn overdue_leaf_waits_for_no_longer_overlap() {
    let day = Duration::from_secs(24 * 60 * 60);
    let mut held = HeldCertificates::default();
    settle(&mut held, day, noon(), true);
    let steps = settle(&mut held, LIFETIME, later(noon(), day / 6), true);
    assert_eq!(steps, [CertificateStep::IntroduceCa]);
    assert_eq!(
        settle(&mut held, LIFETIME, later(noon(), day / 2), true),
        []
    );
    let overdue = later(noon(), day * 5 / 6);
    assert_eq!(settle(&mut held, LIFETIME, overdue, false), []);
    let steps = settle(&mut held, LIFETIME, overdue, true);
    assert_eq!(steps, [CertificateStep::SwitchLeafToNewCa]);
}

/// No replica ran until the CA had a minute left. A leaf that expires with its CA cannot be renewed.
#[test]
fn ca_close_to_expiry_is_replaced_at_once() {
    let mut held = HeldCertificates::default();
    settle(&mut held, LIFETIME, noon(), true);
    let last = later(noon(), LIFETIME * 6 - Duration::from_secs(60));
    let steps = settle(&mut held, LIFETIME, last, false);
    assert_eq!(
        steps,
        [CertificateStep::RenewLeaf, CertificateStep::IntroduceCa]
    );
    let steps = settle(&mut held, LIFETIME, last, true);
    assert_eq!(steps, [CertificateStep::SwitchLeafToNewCa]);
}

#[test]
fn checks_fit_the_shortest_lifetime_and_the_expiry() {
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
    /// The clock runs, and replicas check at any interval. Then the served leaf is always valid, and
    /// its CA was in the bundle an overlap ago. A leaf that was served within the last overlap has
    /// its CA in the current bundle.
    #[test]
    fn api_server_always_trusts_the_leaf(
        seconds in 12_u64..10_000_000,
        pauses in prop::collection::vec(1_u64..60, 200..600),
    ) {
        let lifetime = Duration::from_secs(seconds);
        let mut now = noon();
        let mut held = HeldCertificates::default();
        settle(&mut held, lifetime, now, true);
        let mut history = vec![(now, held.clone())];
        for pause in pauses {
            // Up to an eighth of a lifetime.
            now = later(now, Duration::from_secs((seconds * pause / 480).max(1)));
            let before = held.clone();
            prop_assert!(before.leaf.unwrap().validity.covers(now), "expired before a check");
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

    /// The lifetime changes at any time, and the leaf is still replaced before it expires.
    #[test]
    fn leaf_never_expires_when_the_lifetime_changes(
        lifetimes in prop::collection::vec(100_u64..10_000_000, 2..4),
        checks in prop::collection::vec((1_u32..60, 0_usize..40), 200..600),
    ) {
        let mut now = noon();
        let mut held = HeldCertificates::default();
        let mut lifetime = Duration::from_secs(lifetimes[0]);
        settle(&mut held, lifetime, now, true);
        for (pause, which) in checks {
            // Up to an eighth of the shortest lifetime; `pace` gives less.
            let leaf = held.leaf.unwrap().validity;
            now = later(now, lifetime.min(leaf.lifetime()) * pause / 480);
            prop_assert!(leaf.covers(now), "expired before a check");
            lifetime = lifetimes.get(which).map_or(lifetime, |seconds| Duration::from_secs(*seconds));
            settle(&mut held, lifetime, now, true);
            prop_assert!(held.leaf.unwrap().validity.covers(now));
        }
    }

    /// The clock jumps in both directions. Then the steps still come to an end, and the CA of each
    /// leaf is in the bundle: `settle` asserts both.
    #[test]
    fn clock_jump_never_causes_a_loop(
        lifetimes in prop::collection::vec(10_u64..400_000_000, 1..4),
        jumps in prop::collection::vec((-1_000_000_000_i64..1_000_000_000, any::<bool>(), 0_usize..4), 1..60),
    ) {
        let mut now = noon();
        let mut held = HeldCertificates::default();
        for (jump, is_trusted, which) in jumps {
            let lifetime = Duration::from_secs(lifetimes[which % lifetimes.len()]);
            now = at((now.as_second() + jump).clamp(0, 20_000_000_000));
            settle(&mut held, lifetime, now, is_trusted);
            prop_assert!(held.leaf.unwrap().validity.covers(now));
        }
    }

    /// Two replicas agree if their clocks differ by less than the backdating.
    #[test]
    fn replicas_with_skewed_clocks_agree(
        seconds in 100_u64..10_000_000,
        skew in 0.0..1.0_f64,
        checks in 10_u32..300,
    ) {
        let lifetime = Duration::from_secs(seconds);
        let apart = Duration::from_secs((seconds / 20).min(3600)).mul_f64(skew);
        let mut held = HeldCertificates::default();
        let mut steps = 0;
        for check in 0..checks {
            let now = later(noon(), lifetime * check / 20);
            steps += settle(&mut held, lifetime, now, true).len();
            steps += settle(&mut held, lifetime, later(now, apart), true).len();
        }
        // One leaf in two thirds of a lifetime, and three steps for a CA in four lifetimes.
        let most = 2 + checks / 20 * 2 + (checks / 80 + 1) * 3;
        prop_assert!(steps <= most as usize, "{steps} steps, at most {most}");
    }
}
