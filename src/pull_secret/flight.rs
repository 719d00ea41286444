//! The flights of all Secrets: one piece of work per Secret, however many pods ask for it.
//!
//! What a flight knows is a [`FlightLog`]; this file adds waiting and waking. The work itself is in
//! [`super::ensure`].

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ecr_pull_secrets_core::identity::Access;
use ecr_pull_secrets_core::pull_secret::flight::{FlightLog, FlightPhase};
use ecr_pull_secrets_core::target::Target;
use ecr_pull_secrets_core::workload::claim::SecretClaim;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// The most flights of a replica, so that forged reviews for all namespaces of a large cluster take
/// less memory than it has. Each takes up to some 20 KB.
const MAX_FLIGHTS: usize = 4096;

/// What an attempt asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttemptScope {
    /// Every registry for which an attempt is left.
    Whole,
    /// Those alone that joined since the last attempt. A pod author may name any number of registries, and
    /// each new one would repeat what failed.
    News,
}

/// The work on one Secret.
#[derive(Debug)]
pub(crate) struct Flight {
    log: Mutex<FlightLog>,
    claim: Mutex<SecretClaim>,
    began: Instant,
    changed: watch::Sender<()>,
    wake: Notify,
    /// Whether the next wake is for a whole attempt.
    is_whole: AtomicBool,
}

impl Flight {
    fn new(claim: SecretClaim) -> Self {
        Self {
            log: Mutex::default(),
            claim: Mutex::new(claim),
            began: Instant::now(),
            changed: watch::Sender::new(()),
            wake: Notify::new(),
            is_whole: AtomicBool::new(false),
        }
    }

    /// Reads the log.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&FlightLog) -> T) -> T {
        read(&self.log.lock())
    }

    /// Changes the log, and tells every subscriber.
    pub(crate) fn update(&self, change: impl FnOnce(&mut FlightLog)) {
        change(&mut self.log.lock());
        self.changed.send_replace(());
    }

    /// A pause begins.
    pub(crate) fn pause(&self) {
        self.update(|log| log.pause(self.began.elapsed()));
    }

    /// A receiver of every change from now on.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Returns when there is a reason to try again: a new registry; or for all of them, a new pod or a change
    /// of the Secret.
    pub(crate) async fn woken(&self) -> AttemptScope {
        self.wake.notified().await;
        if self.is_whole.swap(false, Ordering::AcqRel) {
            AttemptScope::Whole
        } else {
            AttemptScope::News
        }
    }

    /// The same in a pause: an attempt that has just ended may have asked for a new registry already.
    pub(crate) async fn woken_from_pause(&self) -> AttemptScope {
        loop {
            let scope = self.woken().await;
            if scope == AttemptScope::Whole || self.read(FlightLog::has_news) {
                return scope;
            }
        }
    }

    fn wake(&self, scope: AttemptScope) {
        if scope == AttemptScope::Whole {
            self.is_whole.store(true, Ordering::Release);
        }
        self.wake.notify_one();
    }

    /// What wants the registries: of all callers, the claim that counts in most namespaces.
    pub(crate) fn claim(&self) -> SecretClaim {
        *self.claim.lock()
    }

    /// Drops the registries in which callers may have lost interest. Returns whether none is left.
    pub(crate) fn forgets(&self) -> bool {
        self.log.lock().forget(self.began.elapsed())
    }

    /// Adds registries. Returns what the work shall be woken for.
    fn join(
        &self,
        wanted: &[Access],
        claim: SecretClaim,
        is_new_pod: bool,
    ) -> Option<AttemptScope> {
        {
            let mut all = self.claim.lock();
            *all = all.or(claim);
        }
        let now = self.began.elapsed();
        let mut log = self.log.lock();
        // Without an end, new registries could displace others: they end no pause.
        let may_wait = log.is_full() && log.phase() == FlightPhase::Pausing;
        let is_news = log.join(wanted, now);
        if is_new_pod && log.interrupt(wanted, now) {
            return Some(AttemptScope::Whole);
        }
        (is_news && !may_wait).then_some(AttemptScope::News)
    }
}

/// The flights of all Secrets.
#[derive(Debug, Default)]
pub(crate) struct Flights(Mutex<HashMap<Target, Arc<Flight>>>);

impl Flights {
    /// Joins the flight of a Secret. A new pod ends a pause of it, and a new registry does so for itself. `true`: the flight is new, and the
    /// caller starts its work. `None`: there are [`MAX_FLIGHTS`], and the leader serves the stored pods
    /// later.
    pub(crate) fn join(
        &self,
        target: &Target,
        wanted: &[Access],
        claim: SecretClaim,
        is_new_pod: bool,
    ) -> Option<(Arc<Flight>, bool)> {
        let mut flights = self.0.lock();
        let (flight, is_new) = match flights.get(target) {
            Some(flight) => (flight.clone(), false),
            None if flights.len() >= MAX_FLIGHTS => return None,
            None => {
                let flight = Arc::new(Flight::new(claim));
                flights.insert(target.clone(), flight.clone());
                (flight, true)
            }
        };
        // Under the lock, so that `land` cannot remove a flight that a caller is joining.
        let scope = flight.join(wanted, claim, is_new_pod);
        if let Some(scope) = scope.filter(|_| !is_new) {
            flight.wake(scope);
        }
        Some((flight, is_new))
    }

    /// Makes the flight of a Secret, if there is one, try again now.
    pub(crate) fn wake(&self, target: &Target) {
        if let Some(flight) = self.0.lock().get(target) {
            flight.wake(AttemptScope::Whole);
        }
    }

    /// Whether a flight waits for the API server right now.
    pub(crate) fn is_writing(&self) -> bool {
        let flights = self.0.lock();
        let mut flights = flights.values();
        flights.any(|flight| flight.read(FlightLog::phase) == FlightPhase::Writing)
    }

    /// Ends the flight of a Secret if no attempt is left.
    pub(crate) fn land(&self, target: &Target) -> bool {
        let mut flights = self.0.lock();
        let flight = flights.get(target);
        let is_over = flight.is_none_or(|flight| flight.read(FlightLog::is_over));
        if is_over {
            flights.remove(target);
        }
        is_over
    }

    /// Ends the flight of a Secret whatever is left to do.
    pub(crate) fn abandon(&self, target: &Target) {
        self.0.lock().remove(target);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ecr_pull_secrets_core::cause::Cause;
    use ecr_pull_secrets_core::identity::Identity;
    use ecr_pull_secrets_core::image::Registry;
    use ecr_pull_secrets_core::pull_secret::flight::FlightProgress;
    use ecr_pull_secrets_core::selection::Wish;
    use futures::FutureExt as _;
    use tokio::time::{sleep, timeout};

    use super::*;

    const CLAIM: SecretClaim = SecretClaim::Pods(Wish::None);

    fn wanted(region: &str) -> Vec<Access> {
        let host = format!("123456789012.dkr.ecr.{region}.amazonaws.com");
        vec![Access {
            registry: Registry::of_host(&host).unwrap(),
            identity: Identity::Ambient,
        }]
    }

    fn target(namespace: &str) -> Target {
        Target::new(namespace, "pull")
    }

    #[test]
    fn callers_of_one_secret_share_a_flight() {
        let flights = Flights::default();
        let (first, is_new) = flights
            .join(&target("team"), &wanted("us-east-1"), CLAIM, false)
            .unwrap();
        assert!(is_new);
        let (second, is_new) = flights
            .join(&target("team"), &wanted("us-east-1"), CLAIM, false)
            .unwrap();
        assert!(!is_new && Arc::ptr_eq(&first, &second));
        assert!(
            flights
                .join(&target("other"), &wanted("us-east-1"), CLAIM, false)
                .unwrap()
                .1
        );
        let other_secret = Target::new("team", "pull-builder");
        assert!(
            flights
                .join(&other_secret, &wanted("us-east-1"), CLAIM, false)
                .unwrap()
                .1
        );
    }

    #[test]
    fn flights_are_limited() {
        let flights = Flights::default();
        let join =
            |namespace: &str| flights.join(&target(namespace), &wanted("us-east-1"), CLAIM, false);
        for number in 0..MAX_FLIGHTS {
            assert!(join(&number.to_string()).is_some());
        }
        assert!(join("late").is_none());
        assert!(join("0").is_some(), "it flies");
        flights.abandon(&target("0"));
        assert!(join("late").is_some());
    }

    #[test]
    fn flight_lands_when_no_attempt_is_left() {
        let (flights, team) = (Flights::default(), target("team"));
        let wanted = wanted("us-east-1");
        let (flight, _) = flights.join(&team, &wanted, CLAIM, false).unwrap();
        assert!(!flights.land(&team));
        let registries = wanted.iter().map(|access| &access.registry);
        flight.update(|log| log.report(registries, FlightProgress::Done));
        assert!(flights.land(&team));
        let (_, is_new) = flights.join(&team, &wanted, CLAIM, false).unwrap();
        assert!(is_new, "the next caller starts a new flight");
    }

    #[tokio::test]
    async fn new_registry_and_changed_secret_wake_the_work() {
        let flights = Flights::default();
        let (flight, _) = flights
            .join(&target("team"), &wanted("us-east-1"), CLAIM, false)
            .unwrap();
        // The first caller starts the work and need not wake it.
        assert!(flight.woken().now_or_never().is_none());
        flights
            .join(&target("team"), &wanted("us-west-2"), CLAIM, false)
            .unwrap();
        assert_eq!(flight.woken().await, AttemptScope::News);
        flights.wake(&target("team"));
        assert_eq!(flight.woken().await, AttemptScope::Whole);
        flights.wake(&target("unknown"));
    }

    #[tokio::test]
    async fn new_pod_wakes_paused_work() {
        let (flights, team) = (Flights::default(), target("team"));
        let wanted = wanted("us-east-1");
        let join = |is_new_pod| flights.join(&team, &wanted, CLAIM, is_new_pod).unwrap().0;
        let flight = join(true);
        let registries = wanted.iter().map(|access| &access.registry);
        let failed = FlightProgress::Failed(Cause::AwsAccessDenied);
        flight.update(|log| log.report(registries, failed));
        flight.pause();
        let woken = async {
            loop {
                join(false);
                assert!(flight.woken().now_or_never().is_none(), "no new pod");
                join(true);
                if let Some(scope) = flight.woken().now_or_never() {
                    assert_eq!(scope, AttemptScope::Whole);
                    return;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        let limit = Duration::from_secs(30);
        timeout(limit, woken)
            .await
            .expect("a new pod ends the pause");
    }

    #[test]
    fn new_registry_ends_no_pause_of_full_flight() {
        let (flights, team) = (Flights::default(), target("team"));
        let join = |region: String| {
            flights
                .join(&team, &wanted(&region), CLAIM, false)
                .unwrap()
                .0
        };
        let fill = |number| join(format!("xx-land-{number}"));
        let flight = fill(0);
        let is_full = || flight.read(FlightLog::is_full);
        (1..)
            .take_while(|_| !is_full())
            .for_each(|number| _ = fill(number));
        flight.update(|log| log.fail(Cause::AwsUnreachable));
        let _ = flight.woken().now_or_never();
        flight.pause();
        let woken = || flight.woken_from_pause().now_or_never();
        join("us-east-1".to_owned());
        assert_eq!(woken(), None, "it displaced another");
        flights.wake(&team);
        assert_eq!(woken(), Some(AttemptScope::Whole));
    }

    #[test]
    fn flight_has_the_claim_of_all_its_callers() {
        let (flights, team) = (Flights::default(), target("team"));
        let (flight, _) = flights
            .join(&team, &wanted("us-east-1"), CLAIM, false)
            .unwrap();
        assert_eq!(flight.claim(), CLAIM);
        flights
            .join(
                &team,
                &wanted("us-east-1"),
                SecretClaim::Configuration,
                false,
            )
            .unwrap();
        flights
            .join(&team, &wanted("us-west-2"), CLAIM, false)
            .unwrap();
        assert_eq!(flight.claim(), SecretClaim::Configuration);
    }
}
