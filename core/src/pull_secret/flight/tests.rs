use super::*;
use crate::identity::Identity;

const SECOND: Duration = Duration::from_secs(1);

fn wanted(region: &str) -> Vec<Access> {
    let host = format!("123456789012.dkr.ecr.{region}.amazonaws.com");
    vec![Access {
        registry: Registry::of_host(&host).unwrap(),
        identity: Identity::Ambient,
    }]
}

fn registries(wanted: &[Access]) -> impl Iterator<Item = &Registry> {
    wanted.iter().map(|access| &access.registry)
}

/// A log with two callers, and what each wants.
fn two_callers() -> (FlightLog, [Vec<Access>; 2]) {
    let mut log = FlightLog::default();
    let wanted = [wanted("us-east-1"), wanted("us-west-2")];
    for registries in &wanted {
        assert!(log.join(registries, Duration::ZERO));
    }
    (log, wanted)
}

#[test]
fn second_caller_adds_no_work() {
    let mut log = FlightLog::default();
    assert!(log.join(&wanted("us-east-1"), Duration::ZERO));
    assert!(!log.join(&wanted("us-east-1"), Duration::ZERO));
    assert_eq!(log.due().len(), 1);
}

#[test]
fn caller_waits_for_its_own_registries() {
    let (mut log, [one, other]) = two_callers();
    log.report(registries(&one), FlightProgress::Done);
    log.enter(FlightPhase::Writing);
    assert_eq!(log.standing(&one), FlightStanding::Done);
    let writing = FlightStanding::Pending(FlightPhase::Writing);
    assert_eq!(log.standing(&other), writing);
    let both: Vec<_> = one.iter().chain(&other).cloned().collect();
    assert_eq!(log.standing(&both), writing);
    log.report(
        registries(&other),
        FlightProgress::Failed(Cause::AwsTimeout),
    );
    let failed = FlightStanding::Failed(Cause::AwsTimeout);
    assert_eq!(log.standing(&both), failed);
}

#[test]
fn flight_is_over_when_no_attempt_is_left() {
    let (mut log, [one, other]) = two_callers();
    log.report(
        registries(&one),
        FlightProgress::Failed(Cause::DeniedByRule),
    );
    log.report(
        registries(&other),
        FlightProgress::Failed(Cause::AwsTimeout),
    );
    log.begin();
    assert!(log.due().iter().eq(registries(&other)));
    assert!(!log.is_over());
    log.report(registries(&other), FlightProgress::Done);
    assert!(log.is_over());
}

#[test]
fn failure_reaches_only_unsettled_registries() {
    let (mut log, [one, other]) = two_callers();
    log.report(registries(&one), FlightProgress::Done);
    log.fail(Cause::NamespaceMissing);
    assert_eq!(log.standing(&one), FlightStanding::Done);
    let failed = FlightStanding::Failed(Cause::NamespaceMissing);
    assert_eq!(log.standing(&other), failed);
}

#[test]
fn settled_registry_is_repeated_when_asked_again() {
    let (mut log, [one, other]) = two_callers();
    log.report(registries(&one), FlightProgress::Done);
    log.report(
        registries(&other),
        FlightProgress::Failed(Cause::AwsTimeout),
    );
    assert!(log.join(&one, SECOND));
    let minting = FlightStanding::Pending(FlightPhase::Minting);
    assert_eq!(log.standing(&one), minting);
    assert!(!log.join(&other, SECOND));
    let still = FlightStanding::Failed(Cause::AwsTimeout);
    assert_eq!(
        log.standing(&other),
        still,
        "a caller learns of a failure at once, although the next attempt repeats it"
    );
}

#[test]
fn flight_is_forgotten_a_day_after_the_last_caller() {
    let mut log = FlightLog::default();
    log.join(&wanted("us-east-1"), SECOND);
    assert!(!log.forget(INTEREST));
    log.join(&wanted("us-east-1"), INTEREST);
    assert!(!log.forget(SECOND + INTEREST));
    assert!(log.forget(INTEREST + INTEREST));
}

#[test]
fn registry_is_forgotten_a_day_after_its_last_caller() {
    let (mut log, [one, other]) = two_callers();
    log.join(&one, SECOND);
    assert!(!log.forget(INTEREST));
    assert!(log.due().iter().eq(registries(&one)));
    assert!(log.join(&other, INTEREST), "it is unknown");
}

#[test]
fn attempt_asks_once_for_each_registry() {
    let (mut log, [one, other]) = two_callers();
    log.begin();
    log.start(registries(&one));
    assert!(log.due().iter().eq(registries(&other)));
    let failed = FlightProgress::Failed(Cause::AwsTimeout);
    log.report(registries(&one), failed);
    log.start(registries(&other));
    log.report(registries(&other), FlightProgress::Done);
    assert!(log.due().is_empty());
    // A pod that joins meanwhile waits for the same attempt.
    log.join(&other, SECOND);
    assert!(log.due().iter().eq(registries(&other)));
    log.begin();
    assert_eq!(log.due().len(), 2, "the next attempt repeats what failed");
}

/// Otherwise a pod with a registry of its own would take the pause of all others away.
#[test]
fn new_registry_repeats_no_failed_one() {
    let (mut log, [one, other]) = two_callers();
    log.begin();
    log.start(registries(&one));
    let failed = FlightProgress::Failed(Cause::QuotaExceeded);
    log.report(registries(&one), failed);
    // The check of the Secret failed: `other` was never asked for.
    log.fail(Cause::QuotaExceeded);
    log.pause(SECOND);
    assert!(!log.has_news());
    let new = wanted("eu-west-1");
    assert!(log.join(&new, SECOND) && log.has_news());
    assert!(log.due().iter().eq(registries(&new)));
    log.start(registries(&new));
    assert!(!log.has_news());
    log.begin();
    assert_eq!(log.due().len(), 3, "{other:?}");
}

#[test]
fn failed_registry_is_repeated_beside_a_pending_one() {
    let (mut log, [one, other]) = two_callers();
    let denied = wanted("eu-west-1");
    log.join(&denied, Duration::ZERO);
    let all = [&one, &other, &denied];
    all.iter().for_each(|wanted| log.start(registries(wanted)));
    for (wanted, cause) in [(&one, Cause::QuotaExceeded), (&denied, Cause::DeniedByRule)] {
        log.report(registries(wanted), FlightProgress::Failed(cause));
    }
    assert!(log.due().is_empty());
    log.repeat_failed();
    let failed: Vec<_> = registries(&one).cloned().collect();
    assert_eq!(log.due(), failed);
}

#[test]
fn failed_registries_of_an_attempt_have_their_pause() {
    let (mut log, [one, other]) = two_callers();
    let names = |of: &[Access]| registries(of).cloned().collect::<Vec<_>>();
    let (one, other) = (names(&one), names(&other));
    log.report(&one, FlightProgress::Failed(Cause::QuotaExceeded));
    log.report(&other, FlightProgress::Failed(Cause::AwsTimeout));
    assert_eq!(log.pause_of(&one, Duration::ZERO), Some(5 * SECOND));
    assert_eq!(log.pause_of(&one, 5 * SECOND), Some(10 * SECOND));
    log.report(&one, FlightProgress::Failed(Cause::DeniedByRule));
    assert_eq!(log.pause_of(&one, Duration::ZERO), None);
}

#[test]
fn late_caller_learns_what_it_waited_for() {
    assert_eq!(FlightPhase::Minting.late(), Cause::AwsTimeout);
    assert_eq!(FlightPhase::Writing.late(), Cause::StillWorking);
    assert_eq!(FlightPhase::Pausing.late(), Cause::StillWorking);
}

#[test]
fn pause_doubles_up_to_shortest_limit() {
    let (mut log, [one, other]) = two_callers();
    let denied = FlightProgress::Failed(Cause::AwsAccessDenied);
    log.report(registries(&one), denied);
    log.report(
        registries(&other),
        FlightProgress::Failed(Cause::AwsTimeout),
    );
    let first = log.next_pause(Duration::ZERO);
    assert_eq!(first, Duration::from_millis(500));
    assert_eq!(log.next_pause(first), SECOND);
    assert_eq!(log.next_pause(60 * SECOND), 15 * SECOND);
    log.report(registries(&other), denied);
    assert_eq!(log.next_pause(Duration::ZERO), 5 * SECOND);
    log.report(registries(&one), FlightProgress::Done);
    log.report(registries(&other), FlightProgress::Done);
    assert_eq!(log.next_pause(first), SECOND);
}

#[test]
fn useless_token_is_asked_for_again() {
    let (mut log, [one, other]) = two_callers();
    log.start(registries(&one).chain(registries(&other)));
    log.report(registries(&one), FlightProgress::Done);
    assert!(log.due().is_empty());
    log.repeat(&[other[0].registry.clone()]);
    assert!(log.due().iter().eq(registries(&other)));
    let minting = FlightStanding::Pending(FlightPhase::Minting);
    assert_eq!(log.standing(&other), minting);
}

/// A registry of an account of this number.
fn invented(number: usize, region: &str) -> Access {
    let host = format!("{number:012}.dkr.ecr.{region}.amazonaws.com");
    Access {
        registry: Registry::of_host(&host).unwrap(),
        identity: Identity::Ambient,
    }
}

/// Two forged reviews, each with as many registries as one Secret may hold.
fn forged(region: &str, now: Duration) -> (FlightLog, Vec<Access>) {
    let mut log = FlightLog::default();
    let all = (0..MAX_WANTED).map(|number| invented(number, region));
    let all: Vec<_> = all.collect();
    for review in all.chunks(MAX_REGISTRIES) {
        assert!(log.join(review, now));
    }
    (log, all)
}

/// Pod authors invent registries: without a limit, each review would make the flight larger.
#[test]
fn flight_takes_a_limited_number_of_registries() {
    let (mut log, all) = forged("us-east-1", Duration::ZERO);
    let late = [invented(5000, "us-east-1")];
    assert!(!log.join(&late, SECOND));
    assert_eq!(log.due().len(), MAX_WANTED);
    let refused = FlightStanding::Failed(Cause::TooManyRegistries);
    assert_eq!(log.standing(&late), refused);
    let pending = FlightStanding::Pending(FlightPhase::Minting);
    assert_eq!(log.standing(&all[7..8]), pending);
}

#[test]
fn failed_registries_make_way_for_a_new_one() {
    let (mut log, all) = forged("eu-invented-1", Duration::ZERO);
    log.report(
        registries(&all),
        FlightProgress::Failed(Cause::AwsUnreachable),
    );
    let late = wanted("us-west-2");
    assert!(log.join(&late, SECOND));
    assert_eq!(log.due().len(), MAX_WANTED);
    let pending = FlightStanding::Pending(FlightPhase::Minting);
    assert_eq!(log.standing(&late), pending);
    log.report(registries(&late), FlightProgress::Done);
    assert_eq!(log.standing(&late), FlightStanding::Done);
}

#[test]
fn caller_displaces_none_of_its_own_registries() {
    let (mut log, all) = forged("eu-invented-1", Duration::ZERO);
    log.report(
        registries(&all),
        FlightProgress::Failed(Cause::AwsUnreachable),
    );
    let (its_own, others) = all.split_at(MAX_REGISTRIES - 1);
    let late = [its_own, &wanted("us-west-2")].concat();
    assert!(log.join(&late, SECOND));
    let known = |access: &&Access| log.wanted.contains_key(&access.registry);
    assert_eq!(late.iter().filter(known).count(), late.len());
    assert_eq!(others.iter().filter(known).count(), others.len() - 1);
}

#[test]
fn invented_region_makes_way_before_a_documented_one() {
    let mut log = FlightLog::default();
    let unreachable = FlightProgress::Failed(Cause::AwsUnreachable);
    let honest = wanted("us-west-2");
    log.join(&honest, Duration::ZERO);
    log.report(registries(&honest), unreachable);
    for second in 1..5 {
        let first = second as usize * MAX_REGISTRIES;
        let review = (first..first + MAX_REGISTRIES).map(|number| invented(number, "eu-mars-1"));
        let review: Vec<_> = review.collect();
        log.join(&review, second * SECOND);
        log.report(registries(&review), unreachable);
    }
    assert_eq!(
        log.standing(&honest),
        FlightStanding::Failed(Cause::AwsUnreachable)
    );
}

#[test]
fn new_pod_ends_a_pause_once_in_a_while() {
    let mut log = FlightLog::default();
    let app = wanted("us-east-1");
    log.join(&app, Duration::ZERO);
    assert!(!log.interrupt(&app, 2 * SECOND), "it works already");
    let failed = FlightProgress::Failed(Cause::AwsAccessDenied);
    let pause = |log: &mut FlightLog, now| {
        log.report(registries(&app), failed);
        log.pause(now);
    };
    pause(&mut log, 2 * SECOND);
    assert!(
        !log.interrupt(&app, 2 * SECOND + SECOND / 2),
        "a short pause stays"
    );
    assert!(
        !log.interrupt(&wanted("us-west-2"), 4 * SECOND),
        "nothing failed"
    );
    assert!(log.interrupt(&app, 4 * SECOND));
    let waits = FlightStanding::Pending(FlightPhase::Pausing);
    assert_eq!(log.standing(&app), waits, "the pod waits for the attempt");
    assert!(!log.interrupt(&app, 4 * SECOND));

    // A tenant creates pods in a loop.
    let mut interruptions = 0;
    for tenth in 50..600 {
        let now = tenth * SECOND / 10;
        if log.interrupt(&app, now) {
            interruptions += 1;
            pause(&mut log, now);
        }
        log.report(registries(&app), failed);
    }
    assert_eq!(interruptions, 5);
}

#[test]
fn new_pod_repeats_nothing_that_no_retry_helps() {
    let mut log = FlightLog::default();
    let app = wanted("us-east-1");
    log.join(&app, Duration::ZERO);
    log.report(
        registries(&app),
        FlightProgress::Failed(Cause::DeniedByRule),
    );
    log.pause(SECOND);
    assert!(!log.interrupt(&app, 60 * SECOND));
}
