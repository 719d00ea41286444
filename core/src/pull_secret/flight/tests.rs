use super::*;

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
    assert_eq!(log.unsettled().len(), 1);
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
    assert!(log.pending().is_empty());
    assert_eq!(log.unsettled(), other);
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
    assert!(!log.is_forgotten(INTEREST));
    assert!(log.is_forgotten(SECOND + INTEREST));
    log.join(&wanted("us-east-1"), INTEREST);
    assert!(!log.is_forgotten(SECOND + INTEREST));
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

/// Pod authors invent registries: without a limit, each review would make the flight larger.
#[test]
fn flight_takes_a_limited_number_of_registries() {
    let mut log = FlightLog::default();
    let of = |number: u64| {
        let host = format!("{number:012}.dkr.ecr.us-east-1.amazonaws.com");
        let registry = Registry::of_host(&host).unwrap();
        let identity = Identity::Ambient;
        vec![Access { registry, identity }]
    };
    for number in 0..MAX_WANTED as u64 {
        assert!(log.join(&of(number), Duration::ZERO));
    }
    assert!(!log.join(&of(5000), Duration::ZERO));
    assert_eq!(log.unsettled().len(), MAX_WANTED);
    let refused = FlightStanding::Failed(Cause::TooManyRegistries);
    assert_eq!(log.standing(&of(5000)), refused);
    let pending = FlightStanding::Pending(FlightPhase::Minting);
    assert_eq!(log.standing(&of(7)), pending);
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
