use super::*;
use crate::certificate::life::{Leaf, Validity};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const LIFETIME: Duration = Duration::from_secs(90 * 24 * 60 * 60);
const START: Duration = Duration::from_secs(1000);

fn noon() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn later(by: Duration) -> Timestamp {
    noon() + jiff::SignedDuration::try_from(by).unwrap()
}

/// A CA and a leaf that are created at noon.
fn founded() -> HeldCertificates {
    let authority = Validity::of_authority(noon(), LIFETIME);
    HeldCertificates {
        leaf: Some(Leaf {
            validity: Validity::of_leaf(noon(), LIFETIME, authority),
            signer: 0,
        }),
        authorities: vec![authority],
        signing: Some(0),
    }
}

fn ours(bundle: &[u8], since: Duration) -> TrustStanding {
    let bundle = bundle.into();
    TrustStanding::Ours { bundle, since }
}

fn stored(held: &HeldCertificates) -> StoredCertificates<'_> {
    StoredCertificates {
        held,
        is_of_our_type: true,
        is_managed: true,
    }
}

#[test]
fn another_bundle_spreads_in_its_own_time() {
    let mut standing = TrustStanding::Empty;
    assert!(standing.replace_with(ours(b"old", START)));
    let soon = START + SPREAD;
    assert!(!standing.replace_with(ours(b"old", soon)));
    assert!(standing.has_spread(b"old", LIFETIME, soon));
    assert!(!standing.has_spread(b"old and new", LIFETIME, soon));

    assert!(standing.replace_with(ours(b"old and new", soon)));
    assert!(!standing.has_spread(b"old and new", LIFETIME, soon));
    assert!(standing.has_spread(b"old and new", LIFETIME, soon + SPREAD));
}

#[test]
fn spread_is_at_most_an_overlap() {
    let standing = ours(b"ours", START);
    let overlap = SECOND * 10;
    assert!(!standing.has_spread(b"ours", overlap * 6, START + overlap - SECOND));
    assert!(standing.has_spread(b"ours", overlap * 6, START + overlap));
}

#[test]
fn bundle_is_compared_as_a_whole() {
    let wanted: Arc<[u8]> = b"one two".as_slice().into();
    let of = |ca_bundle, wanted| TrustStanding::of(ca_bundle, wanted, START);
    assert_eq!(of(b"one two", Some(&wanted)), ours(b"one two", START));
    assert_eq!(of(b"", Some(&wanted)), TrustStanding::Empty);
    assert_eq!(of(b"", None), TrustStanding::Empty);
    for other in [b"one".as_slice(), b"one two three"] {
        assert_eq!(of(other, Some(&wanted)), TrustStanding::Other);
        assert_eq!(of(other, None), TrustStanding::Other);
    }
}

#[test]
fn only_a_missing_or_equal_bundle_is_trusted() {
    assert!(ours(b"ours", START).is_trusted() && TrustStanding::Absent.is_trusted());
    assert!(TrustStanding::Absent.has_spread(b"ours", LIFETIME, START));
    for standing in [
        TrustStanding::Unknown,
        TrustStanding::Empty,
        TrustStanding::Other,
    ] {
        assert!(!standing.is_trusted());
        assert!(!standing.has_spread(b"ours", LIFETIME, START + DAY));
    }
}

#[test]
fn contended_writes_back_off_and_recover() {
    let mut contention = Contention::default();
    assert_eq!(contention.pause_until(START), None);
    let mut pauses = Vec::new();
    let mut contended = Vec::new();
    for _ in 0..10 {
        contention.record(START);
        let until = contention.pause_until(START);
        pauses.push(until.map_or(0, |until| (until - START).as_secs()));
        contended.push(contention.is_contended());
    }
    assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert_eq!(contended[..3], [false, false, true]);
    assert!(contention.pause_until(START + SECOND * 59).is_some());
    assert!(contention.pause_until(START + SECOND * 60).is_none());
    contention.record(START + Contention::FORGET_AFTER + SECOND);
    assert!(contention.pause_until(START).is_none() && !contention.is_contended());
}

#[test]
fn failed_writes_back_off_until_one_succeeds() {
    let mut failed = FailedWrites::default();
    assert!(!failed.is_pausing(Duration::ZERO));
    for pause in [2, 4, 8, 16, 32, 60, 60] {
        failed.record(START, 1.0);
        assert!(failed.is_pausing(START + SECOND * pause - Duration::from_millis(1)));
        assert!(!failed.is_pausing(START + SECOND * pause));
    }
    failed.reset();
    assert!(!failed.is_pausing(START));
    failed.record(START, 0.0);
    assert!(!failed.is_pausing(START + SECOND));
}

#[test]
fn bundle_is_set_where_it_differs() {
    let step = |standing: &TrustStanding, has_wanted, is_injected| {
        bundle_step(
            standing,
            has_wanted,
            is_injected,
            &Contention::default(),
            START,
        )
    };
    for standing in [TrustStanding::Empty, TrustStanding::Other] {
        assert_eq!(step(&standing, true, false), BundleStep::Set);
        assert_eq!(step(&standing, true, true), BundleStep::LeaveToInjector);
        assert_eq!(step(&standing, false, false), BundleStep::Keep);
        assert_eq!(step(&standing, false, true), BundleStep::Keep);
    }
    for standing in [
        TrustStanding::Unknown,
        TrustStanding::Absent,
        ours(b"ours", START),
    ] {
        assert_eq!(step(&standing, true, false), BundleStep::Keep);
    }
}

#[test]
fn contended_bundle_is_set_after_a_pause() {
    let mut contention = Contention::default();
    let step = |contention: &Contention, now| {
        bundle_step(&TrustStanding::Other, true, false, contention, now)
    };
    contention.record(START);
    assert_eq!(step(&contention, START), BundleStep::Set);
    contention.record(START);
    let until = START + SECOND;
    assert_eq!(step(&contention, START), BundleStep::PauseUntil(until));
    assert_eq!(step(&contention, until), BundleStep::Set);
}

#[test]
fn new_cluster_gets_a_ca_at_once() {
    let step = |standing: &TrustStanding, now| absent_step(false, standing, START, now);
    let found = SecretStep::Renew(CertificateStep::Found);
    for standing in [TrustStanding::Absent, TrustStanding::Empty] {
        assert_eq!(step(&standing, START), found);
    }
    for standing in [
        TrustStanding::Unknown,
        TrustStanding::Other,
        ours(b"ours", START),
    ] {
        let soon = START + FOUNDING_DELAY - SECOND;
        assert_eq!(step(&standing, soon), SecretStep::LeaveToOthers);
        assert_eq!(step(&standing, START + FOUNDING_DELAY), found);
    }
}

#[test]
fn deleted_secret_is_restored_from_memory() {
    for standing in [TrustStanding::Unknown, TrustStanding::Absent] {
        let step = absent_step(true, &standing, START, START);
        assert_eq!(step, SecretStep::Restore(None));
    }
}

#[test]
fn foreign_type_is_left_whatever_it_holds() {
    let complete = founded();
    let foreign = StoredCertificates {
        is_of_our_type: false,
        ..stored(&complete)
    };
    for served in [None, Some(&complete)] {
        assert!(!foreign.is_usable(served, noon()));
        assert_eq!(
            foreign.step(served, LIFETIME, noon(), true),
            SecretStep::Leave(Cause::CertificateForeign)
        );
    }
}

#[test]
fn incomplete_secret_is_restored_left_or_replaced() {
    let complete = founded();
    let mut incomplete = founded();
    incomplete.signing = None;
    let incomplete = stored(&incomplete);
    let unmanaged = StoredCertificates {
        is_managed: false,
        ..incomplete
    };
    let restore = SecretStep::Restore(Some(Cause::CertificateUnusable));
    for secret in [incomplete, unmanaged] {
        assert!(!secret.is_usable(None, noon()));
        assert_eq!(
            secret.step(Some(&complete), LIFETIME, noon(), true),
            restore
        );
    }
    assert_eq!(
        unmanaged.step(None, LIFETIME, noon(), true),
        SecretStep::Leave(Cause::CertificateForeign)
    );
    assert_eq!(
        incomplete.step(None, LIFETIME, noon(), true),
        SecretStep::Renew(CertificateStep::IntroduceCa)
    );
}

#[test]
fn complete_secret_needs_no_label() {
    let complete = founded();
    let unmanaged = StoredCertificates {
        is_managed: false,
        ..stored(&complete)
    };
    assert!(unmanaged.is_usable(None, noon()));
    assert_eq!(
        unmanaged.step(None, LIFETIME, noon(), true),
        SecretStep::Renew(CertificateStep::Keep)
    );
}

#[test]
fn expired_certificates_lose_only_to_valid_ones() {
    let old = founded();
    let now = later(LIFETIME);
    let authority = old.authorities[0];
    let renewed = HeldCertificates {
        leaf: Some(Leaf {
            validity: Validity::of_leaf(now, LIFETIME, authority),
            signer: 0,
        }),
        ..old.clone()
    };
    let expired = stored(&old);
    assert!(!expired.is_usable(Some(&renewed), now));
    assert_eq!(
        expired.step(Some(&renewed), LIFETIME, now, true),
        SecretStep::Restore(Some(Cause::CertificateUnusable))
    );
    for served in [None, Some(&old)] {
        assert!(expired.is_usable(served, now));
        assert_eq!(
            expired.step(served, LIFETIME, now, true),
            SecretStep::Renew(CertificateStep::RenewLeaf)
        );
    }
}

#[test]
fn untrusted_bundle_holds_the_next_step_back() {
    let mut held = founded();
    let introduced = later(LIFETIME * 4);
    held.leaf = Some(Leaf {
        validity: Validity::of_leaf(introduced, LIFETIME, held.authorities[0]),
        signer: 0,
    });
    let next = Validity::of_authority(introduced, LIFETIME);
    held.authorities.push(next);
    held.signing = Some(1);
    let now = introduced + jiff::SignedDuration::try_from(LIFETIME / 6).unwrap();
    let step = |is_trusted| stored(&held).step(None, LIFETIME, now, is_trusted);
    assert_eq!(step(false), SecretStep::Renew(CertificateStep::Keep));
    assert_eq!(
        step(true),
        SecretStep::Renew(CertificateStep::SwitchLeafToNewCa)
    );
}

#[test]
fn checks_are_neither_rare_nor_constant() {
    let held = founded();
    let interval = |lifetime| check_interval(Some(&held), lifetime, noon());
    assert_eq!(interval(LIFETIME), MAX_CHECK_INTERVAL);
    assert_eq!(interval(SECOND * 200), SECOND * 2);
    assert_eq!(interval(SECOND), MIN_CHECK_INTERVAL);
    assert_eq!(check_interval(None, LIFETIME, noon()), MAX_CHECK_INTERVAL);
}
