//! The one verb: make a pull Secret hold fresh tokens for these registries.
//!
//! Where the ledger says that it does, no call is made. Otherwise the work runs once per Secret, on
//! a task of its own. A caller may stop waiting at any time: the work goes on, with pauses, until the
//! Secret is right or cannot become so.

mod permission;
mod store;

use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::config::Config;
use ecr_pull_secrets_core::identity::{Access, TokenKey};
use ecr_pull_secrets_core::image::Registry;
use ecr_pull_secrets_core::pull_secret::flight::{FlightLog, FlightPhase, FlightStanding};
use ecr_pull_secrets_core::pull_secret::lineup::{Errand, Lineup, Prospect};
use ecr_pull_secrets_core::target::Target;
use ecr_pull_secrets_core::workload::claim::SecretClaim;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::info;

use super::flight::{AttemptScope, Flight, Flights};
use super::ledger::Ledger;
use super::mandate::Mandate;
use super::turn::WriteTurn;
use super::write::{SecretWriter, Written};
use crate::clock;
use crate::cluster::namespaces::Namespaces;
use crate::cluster::refusal::Refusal;
use crate::config::Live;
use crate::telemetry::metrics::Trigger;
use crate::token::supply::{Supplied, Supply, TokenFailure};

/// The interval at which [`PullSecrets::settled`] looks.
const SETTLE_INTERVAL: Duration = Duration::from_millis(20);

/// What a caller wants.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) target: &'a Target,
    /// Registries, each with the identity that mints its token. Not empty.
    pub(crate) registries: &'a [Access],
    /// What wants them.
    pub(crate) claim: SecretClaim,
    /// The end of the wait for AWS.
    pub(crate) mint_by: Instant,
    /// The end of any wait.
    pub(crate) done_by: Instant,
    pub(crate) trigger: Trigger,
}

/// The state of the Secret when the caller stops waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ensured {
    /// It held fresh tokens already.
    Fresh,
    /// It was written.
    Written,
    /// It is not written yet, or cannot be.
    Late(Cause),
}

/// Makes pull Secrets right.
pub(crate) struct PullSecrets {
    live: Arc<Live>,
    ledger: Arc<Ledger>,
    supply: Arc<Supply>,
    namespaces: Arc<Namespaces>,
    writer: SecretWriter,
    flights: Flights,
}

impl PullSecrets {
    pub(crate) fn new(
        live: Arc<Live>,
        ledger: Arc<Ledger>,
        supply: Arc<Supply>,
        namespaces: Arc<Namespaces>,
        writer: SecretWriter,
    ) -> Arc<Self> {
        Arc::new(Self {
            live,
            ledger,
            supply,
            namespaces,
            writer,
            flights: Flights::default(),
        })
    }

    /// Whether the ledger says that the Secret holds fresh tokens for these registries, of the
    /// identities that the rules name.
    pub(crate) fn are_fresh(
        &self,
        config: &Config,
        target: &Target,
        registries: &[Access],
    ) -> bool {
        let now = clock::now();
        let book = self.ledger.read();
        book.serves(target, registries, config.since, now)
    }

    /// Makes the Secret hold fresh tokens, or says why it does not yet.
    pub(crate) async fn ensure(self: &Arc<Self>, wanted: Wanted<'_>) -> Ensured {
        let Wanted {
            target,
            registries,
            claim,
            mint_by,
            done_by,
            trigger,
        } = wanted;
        if self.are_fresh(&self.live.snapshot(), target, registries) {
            return Ensured::Fresh;
        }
        let is_new_pod = trigger == Trigger::admission;
        let joined = self.flights.join(target, registries, claim, is_new_pod);
        let Some((flight, is_new)) = joined else {
            return Ensured::Late(Cause::StillWorking);
        };
        let mut changes = flight.subscribe();
        if is_new {
            let work = Work {
                of: self.clone(),
                target: target.clone(),
                flight: flight.clone(),
                trigger,
            };
            tokio::spawn(async move { work.of.fly(&work).await });
        }
        let standing = || flight.read(|log| log.standing(registries));
        loop {
            let deadline = match standing() {
                FlightStanding::Done => return Ensured::Written,
                FlightStanding::Failed(cause) => return Ensured::Late(cause),
                FlightStanding::Pending(FlightPhase::Minting) => mint_by.min(done_by),
                FlightStanding::Pending(FlightPhase::Writing | FlightPhase::Pausing) => done_by,
            };
            // The sender lives in `flight`, so only time can end the wait.
            if timeout_at(deadline, changes.changed()).await.is_err() {
                return match standing() {
                    FlightStanding::Done => Ensured::Written,
                    FlightStanding::Failed(cause) => Ensured::Late(cause),
                    FlightStanding::Pending(phase) => Ensured::Late(phase.late()),
                };
            }
        }
    }

    /// Writes tokens that are better than those in the Secret; a Secret that does not exist any more is
    /// not re-created. The caller limits how many of these run at a time.
    ///
    /// # Errors
    ///
    /// As [`SecretWriter::write`].
    pub(crate) async fn rotate(
        &self,
        target: &Target,
        mandate: &mut impl Mandate,
    ) -> Result<Written, Cause> {
        let turn = WriteTurn::default();
        self.writer
            .write(target, mandate, Trigger::rotation, turn)
            .await
    }

    /// Why a foreign Secret keeps references from new pods of the namespace; `None` if none does.
    ///
    /// # Errors
    ///
    /// [`Refusal`] if the API server does not say.
    pub(crate) async fn withheld_for(
        &self,
        config: &Config,
        target: &Target,
    ) -> Result<Option<Cause>, Refusal> {
        Box::pin(self.writer.withheld_for(config, target)).await
    }

    /// The Secret changed: work that pauses tries again, and work that mints repeats what it could not
    /// write.
    pub(crate) fn reconsider(&self, target: &Target) {
        self.flights.wake(target);
    }

    /// Waits until no write is under way; the caller sets the limit.
    pub(crate) async fn settled(&self) {
        while self.flights.is_writing() {
            sleep(SETTLE_INTERVAL).await;
        }
    }

    /// Works on a Secret until no attempt is left, on behalf of the first caller.
    async fn fly(&self, work: &Work) {
        let Work { target, flight, .. } = work;
        let mut pause = Duration::ZERO;
        let mut scope = AttemptScope::Whole;
        let mut paused_until = Instant::now();
        // The first caller has just asked, but a caller of a loop may have done so a while ago.
        let known = self.namespaces.cached(&target.namespace);
        let mut unserved = known.and_then(|fact| self.unserved(work, fact));
        loop {
            if let Some(unserved) = unserved {
                return self.give_up(work, unserved.name(), unserved.cause());
            }
            // In a box, like each call of the API server below: thousands of flights may pause or wait.
            let began_as = scope;
            scope = Box::pin(self.attempt(work, scope, paused_until)).await;
            if self.flights.land(target) {
                return;
            }
            if scope != began_as && Instant::now() >= paused_until {
                // The pause ended within the attempt.
                pause = flight.read(|log| log.next_pause(pause));
            }
            flight.pause();
            let next = flight.read(|log| log.next_pause(pause));
            let until = Instant::now() + next;
            paused_until = match scope {
                AttemptScope::Whole => until,
                // It postpones no other registry.
                AttemptScope::News => paused_until.min(until),
            };
            scope = tokio::select! {
                () = sleep_until(paused_until) => {
                    pause = next;
                    AttemptScope::Whole
                }
                scope = flight.woken_from_pause() => scope,
            };
            if flight.forgets() {
                return self.give_up(work, "no_longer_wanted", Cause::StillWorking);
            }
            let fact = Box::pin(self.namespaces.look_up(&target.namespace)).await;
            unserved = self.unserved(work, fact);
        }
    }

    fn give_up(&self, Work { target, flight, .. }: &Work, reason: &'static str, cause: Cause) {
        self.flights.abandon(target);
        let namespace = &*target.namespace;
        info!(namespace, reason, "gave up on a pull secret");
        flight.update(|log| log.fail(cause));
    }

    /// Mints what is missing, and writes each token when it arrives: a region that AWS does not
    /// serve delays no other. A caller that joins meanwhile does not wait for it either.
    ///
    /// An attempt at new registries becomes a whole one when the Secret changes, or the pause of the others
    /// ends. Returns what it was in the end.
    async fn attempt(
        &self,
        work: &Work,
        mut scope: AttemptScope,
        paused_until: Instant,
    ) -> AttemptScope {
        let Work {
            target,
            flight,
            trigger,
            ..
        } = work;
        flight.update(|log| log.enter(FlightPhase::Writing));
        let config = self.live.snapshot();
        let checked = Box::pin(self.writer.check(&config, target, *trigger)).await;
        if let Err(cause) = checked {
            flight.update(|log| log.fail(cause));
            return scope;
        }
        flight.update(|log| {
            log.enter(FlightPhase::Minting);
            if scope == AttemptScope::Whole {
                log.begin();
            }
        });
        let mut lineup = Lineup::default();
        let mut minting = FuturesUnordered::new();
        let mut unwritten = Unwritten::default();
        loop {
            let config = &self.live.snapshot();
            let due = self.permitted(config, work, flight.read(FlightLog::due));
            let prospect = |key: &TokenKey| {
                let is_held = self.supply.held(key).is_some();
                Prospect::of(key, is_held, config)
            };
            let errands = lineup.start(due, prospect);
            let started = errands.iter().flat_map(|errand| &errand.registries);
            flight.update(|log| log.start(started));
            minting.extend(errands.into_iter().map(|errand| {
                let config = config.clone();
                async move {
                    let token = self.supply.token(&errand.key, &target.namespace, &config);
                    Minted {
                        token: token.await,
                        errand,
                    }
                }
            }));
            tokio::select! {
                minted = minting.next() => {
                    let Some(minted) = minted else { return scope };
                    let mut batch = vec![minted];
                    while let Some(Some(more)) = minting.next().now_or_never() {
                        batch.push(more);
                    }
                    batch.iter().for_each(|minted| lineup.end(&minted.errand));
                    let failed = Box::pin(self.store(work, batch)).await;
                    flight.update(|log| {
                        log.enter(FlightPhase::Minting);
                        unwritten.add(failed, log);
                    });
                }
                woken = flight.woken() => {
                    // The Secret may have changed: the API server may take the write now.
                    if woken == AttemptScope::Whole {
                        flight.update(|log| unwritten.repeat_in(&mut scope, log));
                    }
                }
                () = sleep_until(paused_until), if scope == AttemptScope::News => {
                    flight.update(|log| unwritten.repeat_in(&mut scope, log));
                }
                Some(()) = unwritten.pause_ends() => flight.update(|log| unwritten.repeat(log)),
            }
        }
    }
}

/// The registries of an attempt whose write failed, while it waits for another token.
#[derive(Default)]
struct Unwritten {
    registries: Vec<Registry>,
    pause: Duration,
    /// When they are repeated, if their causes allow.
    until: Option<Instant>,
}

impl Unwritten {
    fn add(&mut self, failed: Vec<Registry>, log: &FlightLog) {
        if failed.is_empty() {
            return;
        }
        self.registries.extend(failed);
        let pause = log.pause_of(&self.registries, self.pause);
        self.until = pause.map(|pause| Instant::now() + pause);
        self.pause = pause.unwrap_or(self.pause);
    }

    fn repeat(&mut self, log: &mut FlightLog) {
        log.repeat(&std::mem::take(&mut self.registries));
        self.until = None;
    }

    /// The same, and the attempt becomes a whole one.
    fn repeat_in(&mut self, scope: &mut AttemptScope, log: &mut FlightLog) {
        self.repeat(log);
        if *scope == AttemptScope::News {
            *scope = AttemptScope::Whole;
            log.repeat_failed();
        }
    }

    /// Never `Some` while there is nothing to repeat.
    async fn pause_ends(&self) -> Option<()> {
        sleep_until(self.until?).await;
        Some(())
    }
}

/// A requested token, or why there is none.
struct Minted {
    errand: Errand,
    token: Result<Supplied, TokenFailure>,
}

/// The work on a Secret. If it panics, the next caller starts it again.
struct Work {
    of: Arc<PullSecrets>,
    target: Target,
    flight: Arc<Flight>,
    trigger: Trigger,
}

impl Drop for Work {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.of.flights.abandon(&self.target);
        }
    }
}

#[cfg(test)]
mod tests;
