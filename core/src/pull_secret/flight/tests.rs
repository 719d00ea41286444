use futures::FutureExt as _;

use super::*;

fn wanted(host: &str) -> Vec<(Registry, Identity)> {
    let host = format!("123456789012.dkr.ecr.{host}.amazonaws.com");
    vec![(Registry::of_host(&host).unwrap(), Identity::Ambient)]
}

fn registries(wanted: &[(Registry, Identity)]) -> impl Iterator<Item = &Registry> {
    wanted.iter().map(|(registry, _)| registry)
}

#[test]
fn everybody_of_a_namespace_is_on_one_flight() {
    let flights = Flights::default();
    let (first, is_new) = flights.join("team", &wanted("us-east-1"));
    assert!(is_new);
    let (second, is_new) = flights.join("team", &wanted("us-east-1"));
    assert!(!is_new && Arc::ptr_eq(&first, &second));
    assert_eq!(first.unsettled().len(), 1);
    assert!(flights.join("other", &wanted("us-east-1")).1);
}

#[test]
fn each_passenger_waits_for_its_own_registries() {
    let flights = Flights::default();
    let (one, other) = (wanted("us-east-1"), wanted("us-west-2"));
    let (flight, _) = flights.join("team", &one);
    flights.join("team", &other);
    flight.report(registries(&one), Progress::Done);
    flight.enter(Phase::Writing);
    assert_eq!(flight.standing(&one), Standing::Done);
    assert_eq!(flight.standing(&other), Standing::Pending(Phase::Writing));
    let both: Vec<_> = one.iter().chain(&other).cloned().collect();
    assert_eq!(flight.standing(&both), Standing::Pending(Phase::Writing));
    flight.report(registries(&other), Progress::Failed(Cause::AwsTimeout));
    assert_eq!(flight.standing(&both), Standing::Failed(Cause::AwsTimeout));
}

#[test]
fn a_flight_lands_when_nothing_more_will_come_of_it() {
    let flights = Flights::default();
    let (one, other) = (wanted("us-east-1"), wanted("us-west-2"));
    let (flight, _) = flights.join("team", &one);
    flights.join("team", &other);
    flight.report(registries(&one), Progress::Failed(Cause::DeniedByRule));
    flight.report(registries(&other), Progress::Failed(Cause::AwsTimeout));
    assert_eq!(flight.failures(), [Cause::AwsTimeout]);
    assert!(!flights.land("team"));
    flight.report(registries(&other), Progress::Done);
    assert!(flights.land("team"));
    assert!(
        flights.join("team", &one).1,
        "the next one starts a new flight"
    );
}

#[test]
fn what_was_done_is_done_again_for_whoever_asks_again() {
    let flights = Flights::default();
    let (one, other) = (wanted("us-east-1"), wanted("us-west-2"));
    let (flight, _) = flights.join("team", &one);
    flights.join("team", &other);
    flight.report(registries(&one), Progress::Done);
    flight.report(registries(&other), Progress::Failed(Cause::AwsTimeout));
    flights.join("team", &one);
    assert_eq!(flight.standing(&one), Standing::Pending(Phase::Minting));
    flights.join("team", &other);
    let still = Standing::Failed(Cause::AwsTimeout);
    assert_eq!(
        flight.standing(&other),
        still,
        "a failure that is tried again is answered at once"
    );
}

#[tokio::test]
async fn a_newcomer_and_a_change_of_the_secret_wake_the_work() {
    let flights = Flights::default();
    let (flight, _) = flights.join("team", &wanted("us-east-1"));
    // The first one starts the work, and need not wake it.
    assert!(flight.woken().now_or_never().is_none());
    flights.join("team", &wanted("us-west-2"));
    flight.woken().await;
    flights.wake("team");
    flight.woken().await;
    flights.wake("nobody");
}
