//! Rotation: every pull Secret that pods or the configuration want holds a token that is not due for
//! renewal. What else a Secret holds expires ([`crate::wants`] says which).
//!
//! Once a second, or when the next token is due, each key in use is checked. A due token is renewed,
//! and a Secret with an older one is written. The ledger says which Secrets those are, so a new
//! leader writes only what is still stale. Nothing waits for anything else: where AWS does not serve
//! a region, its old token stays; a Secret that cannot be written is tried again alone; and the pace
//! follows the API server.
//!
//! Ages are computed again at each check, and pauses follow a monotonic clock: a wall clock that is
//! set costs at most one renewal. What is due, and when, is decided in
//! [`ecr_pull_secrets_core::rotation`].

mod mandate;
mod progress;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::cause::{Cause, Retry};
use ecr_pull_secrets_core::identity::TokenKey;
use ecr_pull_secrets_core::rotation::pace::{Pace, PaceTicket};
use ecr_pull_secrets_core::rotation::pauses::TargetPauses;
use ecr_pull_secrets_core::rotation::schedule::{Moment, RenewalSchedule};
use ecr_pull_secrets_core::rotation::survey::{RenewedEntry, StaleSecret, Survey, SurveyFindings};
use ecr_pull_secrets_core::target::Target;
use ecr_pull_secrets_core::token::Token;
use ecr_pull_secrets_core::workload::claim::SecretClaim;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use self::mandate::RenewalMandate;
use self::progress::RotationProgress;
use super::term::Term;
use crate::clock;
use crate::config::InForce;
use crate::engine::Engine;
use crate::pull_secret::write::Written;
use crate::telemetry::chain::chain;
use crate::token::supply::TokenFailure;
use crate::wants::{Entry, Renewal};

/// The longest and the shortest time between two checks of what is due.
const MAX_TICK: Duration = Duration::from_secs(1);
const MIN_TICK: Duration = Duration::from_millis(250);
/// The time between two surveys where nothing has changed.
const SURVEY_INTERVAL: Duration = Duration::from_secs(30);

/// Runs until it is dropped.
pub(super) async fn run(term: Arc<Term>) {
    let mut rotation = RotationLoop::new(term.engine.clone());
    loop {
        rotation.step().await;
    }
}

/// All times are since `start`.
struct RotationLoop {
    engine: Arc<Engine>,
    start: Instant,
    /// When this leadership began, by the wall clock.
    since: Timestamp,
    schedule: RenewalSchedule,
    pauses: TargetPauses,
    pace: Pace,
    progress: RotationProgress,
    /// What the last survey saw, and its time.
    surveyed: Option<([u64; 4], Duration)>,
    next_tick: Duration,
    queue: VecDeque<StaleSecret>,
    writes: FuturesUnordered<BoxFuture<'static, EndedWrite>>,
    writing: HashSet<Target>,
    renewals: FuturesUnordered<BoxFuture<'static, EndedRenewal>>,
}

struct EndedWrite {
    secret: StaleSecret,
    ticket: PaceTicket,
    outcome: Result<Written, Cause>,
}

type EndedRenewal = (Arc<TokenKey>, Result<Token, TokenFailure>);

impl RotationLoop {
    fn new(engine: Arc<Engine>) -> Self {
        Self {
            engine,
            start: Instant::now(),
            since: clock::now(),
            schedule: RenewalSchedule::default(),
            pauses: TargetPauses::default(),
            pace: Pace::new(Duration::ZERO),
            progress: RotationProgress::default(),
            surveyed: None,
            next_tick: Duration::ZERO,
            queue: VecDeque::new(),
            writes: FuturesUnordered::new(),
            writing: HashSet::new(),
            renewals: FuturesUnordered::new(),
        }
    }

    /// Does what is due now, and waits for the next event.
    async fn step(&mut self) {
        let config = self.engine.live.snapshot();
        let now = self.start.elapsed();
        if now >= self.next_tick {
            self.tick(&config, now);
        }
        self.start_writes(&config, now);
        let mut wake = self.next_tick;
        if !self.queue.is_empty() {
            wake = wake.min(self.pace.opens_at().max(now + MIN_TICK));
        }
        tokio::select! {
            Some(write) = self.writes.next() => self.write_ended(write),
            Some((key, outcome)) = self.renewals.next() => self.renewal_ended(&key, outcome),
            () = sleep_until(self.start + wake) => {}
        }
    }

    fn tick(&mut self, config: &Arc<InForce>, now: Duration) {
        let max_age = config.rotation.max_age;
        let at = Moment {
            wall: clock::now(),
            elapsed: now,
        };
        if self.is_survey_due(now) {
            self.survey(config, at);
        }
        for key in self.schedule.start_due(max_age, at) {
            let (supply, config) = (self.engine.supply.clone(), config.clone());
            let renewal = async move {
                let outcome = supply.refresh(&key, &config).await;
                (key, outcome)
            };
            self.renewals.push(renewal.boxed());
        }
        let idle = self.schedule.idle(max_age, at).unwrap_or(MAX_TICK);
        self.next_tick = now + idle.clamp(MIN_TICK, MAX_TICK);
    }

    /// Whether anything can have changed since the last survey.
    fn is_survey_due(&self, now: Duration) -> bool {
        self.surveyed.is_none_or(|(seen, at)| {
            seen != self.editions() || now >= at + SURVEY_INTERVAL || self.pauses.is_any_over(now)
        })
    }

    /// What decides, apart from the time.
    fn editions(&self) -> [u64; 4] {
        let engine = &self.engine;
        [
            engine.ledger.read().edition(),
            engine.wants.edition(),
            engine.namespaces.edition(),
            engine.supply.edition(),
        ]
    }

    fn survey(&mut self, config: &InForce, at: Moment) {
        let now = at.elapsed;
        self.surveyed = Some((self.editions(), now));
        let supply = &self.engine.supply;
        let held = |key: &TokenKey| supply.held(key);
        // A key that pods bring is charged to their namespace, as in an admission: a Secret may name
        // a hundred regions. The configuration's keys are charged to none.
        let is_welcome = |namespace: &str, key: &TokenKey, claim: SecretClaim| {
            let charged = match claim {
                SecretClaim::Configuration => Ok(()),
                SecretClaim::Pods(_) => supply.charge(key, namespace, config),
            };
            charged
                .inspect_err(|error| {
                    debug!(
                        namespace,
                        region = &*key.region,
                        error = chain(&error),
                        "no renewal"
                    )
                })
                .is_ok()
        };
        let found = survey(&self.engine, config, held, is_welcome, self.since, at.wall);
        self.schedule.update(found.uses, at);
        let stale: HashSet<&Target> = found.stale.iter().map(|one| &one.target).collect();
        self.pauses.retain(|target| stale.contains(target));
        let mut queue = found.stale;
        queue.retain_mut(|one| {
            one.is_retry = self.pauses.was_tried(&one.target);
            !self.writing.contains(&one.target) && !self.pauses.is_pausing(&one.target, now)
        });
        queue.sort_unstable_by_key(StaleSecret::turn);
        let firsts = queue.iter().filter(|one| !one.is_retry);
        self.progress.expect(firsts.map(|one| &*one.keys), now);
        self.queue = queue.into();
    }

    fn start_writes(&mut self, config: &Arc<InForce>, now: Duration) {
        while self.pace.has_room(self.writes.len(), now) {
            let Some(secret) = self.queue.pop_front() else {
                return;
            };
            let (engine, target) = (self.engine.clone(), secret.target.clone());
            let mandate = RenewalMandate::new(engine, config, target, self.since);
            // The namespace may have opted out since the survey.
            let Some(mut mandate) = mandate else {
                continue;
            };
            if !secret.is_retry {
                self.progress.starts(&secret.keys);
            }
            self.writing.insert(secret.target.clone());
            let (writer, ticket) = (self.engine.pull_secrets.clone(), self.pace.ticket());
            let write = async move {
                let outcome = writer.rotate(&secret.target, &mut mandate).await;
                EndedWrite {
                    secret,
                    ticket,
                    outcome,
                }
            };
            self.writes.push(write.boxed());
        }
    }

    fn write_ended(&mut self, write: EndedWrite) {
        let EndedWrite {
            secret,
            ticket,
            outcome,
        } = write;
        let now = self.start.elapsed();
        self.writing.remove(&secret.target);
        match outcome {
            // It may concern this namespace alone, such as a webhook of its own that is down.
            Err(Cause::ApiServerBusy | Cause::ApiServerUnreachable) if secret.is_retry => {}
            Err(Cause::ApiServerBusy | Cause::ApiServerUnreachable) => {
                self.pace.overloaded(&secret.target, ticket, now);
            }
            Ok(_) | Err(_) => self.pace.answered(),
        }
        match &outcome {
            Ok(Written { applied: true, .. }) => self.pauses.forget(&secret.target),
            // The Secret is fresh or gone, and the ledger knows by now; or the pause limits retries.
            Ok(_) => self.pauses.pause(&secret.target, Retry::Soon, now),
            Err(cause) => self.pauses.pause(&secret.target, cause.retry(), now),
        }
        if !secret.is_retry {
            self.progress.ends(&secret.keys, outcome.is_ok(), now);
        }
    }

    fn renewal_ended(&mut self, key: &Arc<TokenKey>, outcome: Result<Token, TokenFailure>) {
        let max_age = self.engine.live.snapshot().rotation.max_age;
        let at = Moment {
            wall: clock::now(),
            elapsed: self.start.elapsed(),
        };
        let token = outcome.ok();
        self.schedule
            .ended(key, token.as_ref(), max_age, at, fastrand::f64());
        self.next_tick = at.elapsed;
    }
}

/// One pass over the ledger. `held` gives the tokens to compare with; see [`Survey::new`] for
/// `since`. `is_welcome` is asked for each entry that wants a token of a key that has none: its
/// namespace, the key, and what wants it.
pub(super) fn survey(
    engine: &Engine,
    config: &InForce,
    held: impl Fn(&TokenKey) -> Option<Token>,
    is_welcome: impl Fn(&str, &TokenKey, SecretClaim) -> bool,
    since: Timestamp,
    now: Timestamp,
) -> SurveyFindings {
    let mut renewals = engine.wants.renewals(config);
    let mut survey = Survey::new(&held, since, now);
    let mut left = Vec::new();
    engine.ledger.read().for_each(|secret, namespace, holds| {
        let target = Target::new(namespace, secret.clone());
        let entries = holds.filter_map(|hold| match renewals.of(&target, &hold.host) {
            Entry::Renewed(Renewal { key, claim, .. }) => {
                let is_wanted = held(&key).is_some() || is_welcome(namespace, &key, claim);
                is_wanted.then_some(RenewedEntry {
                    key,
                    incumbent: hold.incumbent(),
                    claim,
                })
            }
            Entry::Left(key) => {
                left.push(key);
                None
            }
            Entry::Withdrawn | Entry::Lost => None,
        });
        survey.visit(&target, entries);
        left.drain(..).for_each(|key| survey.keep(&key));
    });
    survey.finish()
}
