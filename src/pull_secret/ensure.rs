//! The one verb: make a namespace's pull Secret open these registries.
//!
//! Fresh by the ledger means no call to anyone. Otherwise the work runs once per namespace, on its
//! own task: whoever asked may stop waiting at any time, and the work goes on, with pauses, until
//! the Secret is there or cannot be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::cause::{Cause, Retry};
use ecr_pull_secrets_core::identity::Identity;
use ecr_pull_secrets_core::identity::TokenKey;
use ecr_pull_secrets_core::image::Registry;
use ecr_pull_secrets_core::pull_secret::content::Grant;
use ecr_pull_secrets_core::selection::Wish;
use ecr_pull_secrets_core::workload::plan::NamespaceFact;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::info;

use super::flight::{Flight, Flights, Phase, Progress, Standing};
use super::ledger::Ledger;
use super::write::{Writer, Written};
use crate::clock;
use crate::cluster::namespaces::Namespaces;
use crate::config::Live;
use crate::telemetry::metrics::Trigger;
use crate::token::supply::{Supplied, Supply, TokenFailure};

/// So long is work gone on with that nobody asks for any more: the pods may be gone, and the Secret
/// may have been cleaned up. For pods that are there the leader asks every day.
const INTEREST: Duration = Duration::from_secs(25 * 60 * 60);
/// Writes at a time. A pool of 16 applies some 750 Secrets a second on two cores.
const WRITERS: usize = 16;

/// What a caller wants.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    /// Where.
    pub(crate) namespace: &'a str,
    /// Which registries, and with whose rights. Not empty.
    pub(crate) registries: &'a [(Registry, Identity)],
    /// How long the caller waits for AWS.
    pub(crate) mint_by: Instant,
    /// How long the caller waits at all.
    pub(crate) done_by: Instant,
    /// On whose behalf.
    pub(crate) trigger: Trigger,
}

/// How it stands when the caller stops waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ensured {
    /// It was so already.
    Fresh,
    /// It is so now.
    Written,
    /// It is not so yet, or cannot be.
    Late(Cause),
}

/// Keeps pull Secrets.
pub(crate) struct PullSecrets {
    live: Arc<Live>,
    ledger: Arc<Ledger>,
    supply: Arc<Supply>,
    namespaces: Arc<Namespaces>,
    writer: Writer,
    flights: Flights,
    writers: Semaphore,
}

impl PullSecrets {
    /// Puts the parts together.
    pub(crate) fn new(
        live: Arc<Live>,
        ledger: Arc<Ledger>,
        supply: Arc<Supply>,
        namespaces: Arc<Namespaces>,
        writer: Writer,
    ) -> Arc<Self> {
        Arc::new(Self {
            live,
            ledger,
            supply,
            namespaces,
            writer,
            flights: Flights::default(),
            writers: Semaphore::new(WRITERS),
        })
    }

    /// Whether it is so already, by memory.
    pub(crate) fn are_fresh(&self, namespace: &str, registries: &[(Registry, Identity)]) -> bool {
        let wanted = registries.iter().map(|(registry, _)| registry);
        self.ledger.serves(namespace, wanted, clock::now())
    }

    /// Makes it so, or says why not yet.
    pub(crate) async fn ensure(self: &Arc<Self>, wanted: Wanted<'_>) -> Ensured {
        let Wanted {
            namespace,
            registries,
            mint_by,
            done_by,
            trigger,
        } = wanted;
        if self.are_fresh(namespace, registries) {
            return Ensured::Fresh;
        }
        let (flight, is_new) = self.flights.join(namespace, registries);
        let mut changes = flight.subscribe();
        if is_new {
            let (work, flight) = (
                Work {
                    of: self.clone(),
                    namespace: namespace.to_owned(),
                },
                flight.clone(),
            );
            tokio::spawn(async move { work.of.fly(&work.namespace, &flight, trigger).await });
        }
        loop {
            let deadline = match flight.standing(registries) {
                Standing::Done => return Ensured::Written,
                Standing::Failed(cause) => return Ensured::Late(cause),
                Standing::Pending(Phase::Minting) => mint_by.min(done_by),
                Standing::Pending(Phase::Writing | Phase::Pausing) => done_by,
            };
            // The sender lives in `flight`, so only time can end the wait.
            if timeout_at(deadline, changes.changed()).await.is_err() {
                return match flight.standing(registries) {
                    Standing::Done => Ensured::Written,
                    Standing::Failed(cause) => Ensured::Late(cause),
                    Standing::Pending(Phase::Minting) => Ensured::Late(Cause::AwsTimeout),
                    Standing::Pending(Phase::Writing | Phase::Pausing) => {
                        Ensured::Late(Cause::StillWorking)
                    }
                };
            }
        }
    }

    /// Writes tokens that are newer than what the namespace's Secret holds; one that is not there any
    /// more is not brought back. The caller bounds how many of these there are at a time.
    ///
    /// # Errors
    ///
    /// The cause that stands in the way; it has been counted and logged.
    pub(crate) async fn rotate(&self, namespace: &str, grants: &[Grant]) -> Result<Written, Cause> {
        self.writer.renew(namespace, grants).await
    }

    /// The Secret of a namespace changed: work that waits for somebody to repair it tries again.
    pub(crate) fn reconsider(&self, namespace: &str) {
        self.flights.wake(namespace);
    }

    /// Waits until no write is under way. Whoever ends the process sets the limit.
    pub(crate) async fn settled(&self) {
        while self.flights.is_writing() {
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Works on a namespace until nothing is left to do, in the name of whoever asked first.
    async fn fly(&self, namespace: &str, flight: &Flight, trigger: Trigger) {
        let mut pause = Duration::ZERO;
        loop {
            self.attempt(namespace, flight, trigger).await;
            if self.flights.land(namespace) {
                return;
            }
            flight.enter(Phase::Pausing);
            let next = next_pause(pause, &flight.failures());
            tokio::select! {
                () = sleep(next) => pause = next,
                () = flight.woken() => {}
            }
            let (reason, cause) = match self.namespaces.look_up(namespace).await {
                NamespaceFact::Missing => ("missing", Cause::NamespaceMissing),
                NamespaceFact::Terminating(_) => ("terminating", Cause::NamespaceTerminating),
                // Whoever asks again, begins again.
                NamespaceFact::Active(Wish::Out) => ("opted_out", Cause::StillWorking),
                NamespaceFact::Active(_) | NamespaceFact::Unknown if flight.asked() >= INTEREST => {
                    ("nobody_asks", Cause::StillWorking)
                }
                NamespaceFact::Active(_) | NamespaceFact::Unknown => continue,
            };
            self.flights.abandon(namespace);
            info!(namespace, reason, "gave up on a pull secret");
            return flight.fail(cause);
        }
    }

    /// Mints what is missing and writes what there is as it comes: a region that AWS does not serve
    /// keeps no other out of the Secret, and whoever joins meanwhile does not wait for it either.
    async fn attempt(&self, namespace: &str, flight: &Flight, trigger: Trigger) {
        let config = &self.live.snapshot();
        flight.enter(Phase::Writing);
        if let Err(cause) = self.writer.look(namespace, trigger).await {
            return flight.fail(cause);
        }
        flight.enter(Phase::Minting);
        let mut wanted = flight.unsettled();
        let mut under_way = BTreeSet::new();
        let mut minting = FuturesUnordered::new();
        loop {
            let mut by_key: BTreeMap<TokenKey, Vec<Registry>> = BTreeMap::new();
            for (registry, identity) in wanted {
                if under_way.insert(registry.clone()) {
                    by_key
                        .entry(TokenKey::new(identity, &registry))
                        .or_default()
                        .push(registry);
                }
            }
            minting.extend(by_key.into_iter().map(|(key, registries)| async move {
                let token = self.supply.token(&key, namespace, config).await;
                (key, registries, token)
            }));
            tokio::select! {
                minted = minting.next() => {
                    let Some(minted) = minted else { return };
                    let mut batch = vec![minted];
                    while let Some(Some(more)) = minting.next().now_or_never() {
                        batch.push(more);
                    }
                    for registry in batch.iter().flat_map(|(_, registries, _)| registries) {
                        under_way.remove(registry);
                    }
                    self.store(namespace, flight, trigger, batch).await;
                    flight.enter(Phase::Minting);
                }
                () = flight.woken() => {}
            }
            wanted = flight.pending();
        }
    }

    /// Writes tokens that came.
    async fn store(&self, namespace: &str, flight: &Flight, trigger: Trigger, batch: Vec<Minted>) {
        let mut grants = Vec::new();
        let mut dying = Vec::new();
        for (key, registries, token) in batch {
            match token {
                Ok(Supplied { token, failure }) => {
                    if let Some(failure) = failure {
                        dying.push((registries.clone(), failure.cause()));
                    }
                    let identity: Arc<str> = key.identity.to_string().into();
                    grants.extend(registries.into_iter().map(|registry| Grant {
                        registry,
                        identity: identity.clone(),
                        token: token.clone(),
                    }));
                }
                Err(failure) => flight.report(&registries, Progress::Failed(failure.cause())),
            }
        }
        if grants.is_empty() {
            return;
        }
        flight.enter(Phase::Writing);
        let _turn = self.writers.acquire().await;
        let written = self.writer.write(namespace, &grants, trigger).await;
        let granted: Vec<&Registry> = grants.iter().map(|grant| &grant.registry).collect();
        match written {
            Ok(Written { refused, .. }) => {
                let is_done = |registry: &&&Registry| {
                    !refused.contains(registry)
                        && !dying.iter().any(|(all, _)| all.contains(registry))
                };
                flight.report(granted.iter().filter(is_done).copied(), Progress::Done);
                for (registries, cause) in &dying {
                    flight.report(registries, Progress::Failed(*cause));
                }
                flight.report(&refused, Progress::Failed(Cause::TooManyRegistries));
            }
            Err(cause) => flight.report(granted, Progress::Failed(cause)),
        }
    }
}

/// What came of a request for a token, and what it was for.
type Minted = (TokenKey, Vec<Registry>, Result<Supplied, TokenFailure>);

/// The work on a namespace. If it panics, the next pod starts it anew instead of waiting for it.
struct Work {
    of: Arc<PullSecrets>,
    namespace: String,
}

impl Drop for Work {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.of.flights.abandon(&self.namespace);
        }
    }
}

/// The shortest pause that some failure allows, doubled up to its limit.
fn next_pause(last: Duration, failures: &[Cause]) -> Duration {
    let pauses = failures.iter().filter_map(|cause| cause.retry().pauses());
    let (first, longest) = pauses.min().or(Retry::Soon.pauses()).unwrap_or_default();
    (last * 2).clamp(first, longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit_of_the_most_hopeful_failure() {
        let soon = [Cause::AwsAccessDenied, Cause::AwsTimeout];
        let first = next_pause(Duration::ZERO, &soon);
        assert_eq!(first, Duration::from_millis(500));
        assert_eq!(next_pause(first, &soon), Duration::from_secs(1));
        assert_eq!(
            next_pause(Duration::from_secs(60), &soon),
            Duration::from_secs(15)
        );
        assert_eq!(
            next_pause(Duration::ZERO, &[Cause::AwsAccessDenied]),
            Duration::from_secs(5)
        );
        assert_eq!(next_pause(first, &[]), Duration::from_secs(1));
    }
}
