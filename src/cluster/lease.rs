//! Which replica leads, by a Lease: the calls, and when to make them.
//!
//! [`Election`] says what a Lease means. Here the Lease is created by a "create only" apply, and
//! changed by merge patches that carry its uid and version: see [`super::optimistic`]. One of two
//! writers gets a conflict, and a late renewal does not bring back a deleted Lease. The field manager
//! of every write is the pod's name. A merge patch moves the fields that it changes from one field
//! manager to the next; an apply would leave every earlier holder in `managedFields`.
//!
//! No write of ours relies on a single leader: an API server may grant a Lease while the last write
//! of the old holder is on its way. The election only keeps replicas from doing work twice.

use std::fmt::Debug;
use std::time::Duration;

use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::election::{Claim, DURATION, Election, RELEASED, RENEW, RETRY, Record};
use ecr_pull_secrets_core::version::ObjectVersion;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::{Api, Client};
use serde::Serialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::call::{CALL_TIMEOUT, call_within};
use super::optimistic::Write;
use super::refusal::Refusal;
use crate::clock;
use crate::telemetry::metrics::Metrics;

/// The name of the Lease.
const NAME: &str = "ecr-pull-secrets";
/// The deadline of a call, after which the next round makes another one. Two of them fit into the
/// time for which a holder still leads after its renewal was due.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Takes part in the election for as long as it runs.
pub(crate) struct Elector {
    leases: Api<Lease>,
    instance: String,
    metrics: Metrics,
    election: Election,
    /// The zero of the election's clock.
    epoch: Instant,
    /// The cause of the last failed rounds, and their number in a row: each cause is logged once.
    trouble: Option<(Cause, u32)>,
    leads: watch::Sender<bool>,
}

impl Elector {
    /// `instance` is the name of the pod. The receiver says whether this replica leads.
    pub(crate) fn new(
        client: Client,
        namespace: &str,
        instance: &str,
        metrics: Metrics,
    ) -> (Self, watch::Receiver<bool>) {
        let (leads, receiver) = watch::channel(false);
        let this = Self {
            leases: Api::namespaced(client, namespace),
            instance: instance.to_owned(),
            metrics,
            election: Election::new(instance),
            epoch: Instant::now(),
            trouble: None,
            leads,
        };
        (this, receiver)
    }

    /// Claims and renews the lease until `resign` says true; then releases it and returns. Meanwhile it
    /// hands the lease over when `is_unfit` says that another replica may lead better.
    pub(crate) async fn run(
        mut self,
        mut resign: watch::Receiver<bool>,
        is_unfit: impl Fn() -> bool,
    ) {
        loop {
            // A frozen process may continue at any await below. It first checks whether it still
            // leads, before it reads an answer that has waited.
            self.announce();
            if self.election.may_hand_over(self.now()) && is_unfit() {
                self.hand_over().await;
            }
            let started = Instant::now();
            let end = self.end();
            let outcome = tokio::select! {
                biased;
                _ = resign.wait_for(|resign| *resign) => break,
                () = clock::at(end) => continue,
                outcome = self.round() => outcome,
            };
            self.announce();
            self.report(outcome);
            let end = self.end();
            let is_granted = end.is_some() && !self.election.is_in_doubt();
            let pause = if is_granted { RENEW } else { RETRY };
            tokio::select! {
                biased;
                _ = resign.wait_for(|resign| *resign) => break,
                () = clock::at(end) => {}
                () = sleep_until(started + pause) => {}
            }
        }
        self.tell(false);
        self.release_in_time().await;
    }

    /// Lets another replica lead, if there is one.
    async fn hand_over(&mut self) {
        warn!("this replica gets no token from AWS: it hands the lease over to another one");
        self.tell(false);
        if self.release_in_time().await {
            self.election.handed_over(self.now());
        }
    }

    /// Whether the lease was released.
    async fn release_in_time(&mut self) -> bool {
        let released = timeout(CALL_TIMEOUT, self.release()).await;
        if released.is_err() {
            warn!("could not give the lease back in time; it expires by itself");
        }
        released.unwrap_or(false)
    }

    /// Reads the Lease where it must, and writes it where it may.
    async fn round(&mut self) -> Result<(), Refusal> {
        // A holder whose Lease was changed by another writer reads it once, and renews it as it is.
        for _ in 0..2 {
            if self.election.must_look(self.now()) {
                let record = self.read().await?;
                let now = self.now();
                self.election.saw(record, now);
            }
            let Some(claim) = self.election.claim(self.now()) else {
                return Ok(());
            };
            let (asked, renewed) = (self.now(), time());
            // The answer may never arrive: first the doubt, then the claim.
            self.election.claiming(renewed);
            self.election.doubt();
            match self.write(&claim, renewed).await {
                Ok(record) => {
                    let now = self.now();
                    self.election.won(record, asked, now);
                    return Ok(());
                }
                Err(refusal) if refusal.is_conflict() => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(())
    }

    /// Lets the next replica take over at its next read, and not after the expiry of the Lease. Whether
    /// the API server granted that.
    async fn release(&mut self) -> bool {
        for _ in 0..3 {
            if self.election.may_hold() && self.election.is_in_doubt() {
                let Ok(record) = self.read().await else {
                    continue;
                };
                let now = self.now();
                self.election.saw(record, now);
            }
            let Some(base) = self.election.resign() else {
                return false;
            };
            let spec = json!({
                "holderIdentity": "",
                "leaseDurationSeconds": RELEASED.as_secs(),
                "renewTime": MicroTime(time()),
            });
            match self.merge(&base, spec).await {
                Ok(_) => {
                    info!("gave the lease back");
                    return true;
                }
                Err(_) => self.election.doubt(),
            }
        }
        false
    }

    async fn read(&self) -> Result<Option<Record>, Refusal> {
        let lease = call_within(ANSWER_TIMEOUT, || self.leases.get_opt(NAME)).await?;
        Ok(lease.map(record))
    }

    async fn write(&self, claim: &Claim, renewed: Timestamp) -> Result<Record, Refusal> {
        let renewed = MicroTime(renewed);
        let spec = LeaseSpec {
            acquire_time: claim.acquires.then(|| renewed.clone()),
            holder_identity: Some(self.instance.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            lease_transitions: i32::try_from(claim.transitions).ok(),
            renew_time: Some(renewed),
            ..LeaseSpec::default()
        };
        let Some(base) = &claim.base else {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(NAME.to_owned()),
                    ..ObjectMeta::default()
                },
                spec: Some(spec),
            };
            return self.send(Write::create(&self.instance, lease)).await;
        };
        self.merge(base, spec).await
    }

    async fn merge(&self, base: &ObjectVersion, spec: impl Serialize) -> Result<Record, Refusal> {
        let patch = json!({ "spec": spec });
        self.send(Write::merge(&self.instance, base, patch)).await
    }

    async fn send<P: Serialize + Debug>(&self, write: Write<P>) -> Result<Record, Refusal> {
        write
            .send_within(ANSWER_TIMEOUT, &self.leases, NAME)
            .await
            .map(record)
    }

    /// Says whether this replica leads, which also changes as time passes.
    fn announce(&self) {
        self.tell(self.end().is_some());
    }

    fn tell(&self, leads: bool) {
        self.metrics.leader.set(i64::from(leads));
        self.leads.send_if_modified(|before| {
            let is_news = *before != leads;
            *before = leads;
            is_news
        });
    }

    fn report(&mut self, outcome: Result<(), Refusal>) {
        let Err(refusal) = outcome else {
            if self.trouble.take().is_some_and(|(_, rounds)| rounds > 1) {
                info!("the lease can be read and written again");
            }
            return;
        };
        let (cause, detail) = refusal.into_parts();
        let rounds = match self.trouble {
            Some((before, rounds)) if before == cause => rounds.saturating_add(1),
            _ => 1,
        };
        self.trouble = Some((cause, rounds));
        // An API server that has just started forbids everything for a moment.
        if rounds == 2 {
            warn!(
                cause = cause.name(),
                detail,
                lease = NAME,
                remedy = "if the API server forbids it, install the Role of the same release; without a leader no token is renewed",
                "this replica cannot take part in the election"
            );
        } else {
            debug!(cause = cause.name(), rounds, "no part of the election");
        }
    }

    /// The end of this replica's leadership, if it leads.
    fn end(&self) -> Option<Instant> {
        let until = self.election.leads_until(self.now());
        until.map(|until| self.epoch + until)
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }
}

/// When the Lease was created: with the first replica of the installation. It outlives upgrades and
/// leaders.
///
/// # Errors
///
/// [`Refusal`] where the API server does not show it.
pub(crate) async fn created(
    client: &Client,
    namespace: &str,
) -> Result<Option<Timestamp>, Refusal> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let lease = call_within(ANSWER_TIMEOUT, || leases.get_opt(NAME)).await?;
    let created = lease.and_then(|lease| lease.metadata.creation_timestamp);
    Ok(created.map(|time| time.0))
}

/// The wall clock, in the whole microseconds that the API server keeps.
fn time() -> Timestamp {
    let now = clock::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

fn record(lease: Lease) -> Record {
    let spec = lease.spec.unwrap_or_default();
    let seconds = spec
        .lease_duration_seconds
        .and_then(|seconds| u64::try_from(seconds).ok());
    let transitions = spec
        .lease_transitions
        .and_then(|count| u32::try_from(count).ok());
    Record {
        uid: lease.metadata.uid.unwrap_or_default(),
        version: lease.metadata.resource_version.unwrap_or_default(),
        holder: spec.holder_identity.unwrap_or_default(),
        renewed: spec.renew_time.map(|time| time.0),
        duration: seconds.map(Duration::from_secs),
        transitions: transitions.unwrap_or_default(),
    }
}
