//! Rotation: every pull Secret of ours holds a token that is not due for renewal.
//!
//! Once a second, or when the next token is due, each key that some Secret uses is looked at: a
//! token that is due is renewed, and a namespace whose entry is older than the token is written.
//! The ledger says which those are, so whoever takes over in the middle writes only what is still
//! old. Nothing waits for anything else: a region that AWS does not serve keeps its old token, a
//! namespace that cannot be written is tried again by itself, and the pace follows the API server.
//!
//! Points in time are compared anew each time, and pauses are measured by a clock that does not
//! jump: a wall clock that is set costs at most one renewal.

mod pace;
mod pauses;
mod progress;
pub(super) mod schedule;
pub(super) mod survey;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::cause::{Cause, Retry};
use ecr_pull_secrets_core::identity::TokenKey;
use ecr_pull_secrets_core::pull_secret::content::Grant;
use ecr_pull_secrets_core::token::Token;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};

use self::pace::{Pace, Ticket};
use self::pauses::Pauses;
use self::progress::Progress;
use self::schedule::Schedule;
use self::survey::{Behind, survey};
use super::term::Term;
use crate::clock;
use crate::cluster::namespaces::Known;
use crate::engine::Engine;
use crate::pull_secret::write::Written;
use crate::token::keys::Keys;
use crate::token::supply::TokenFailure;

/// The longest and the shortest time between two looks.
const TICK: Duration = Duration::from_secs(1);
const SHORTEST_TICK: Duration = Duration::from_millis(250);
/// So often everything is looked at whether it changed or not.
const SURVEY: Duration = Duration::from_secs(30);

/// Runs until it is dropped.
pub(super) async fn run(term: Arc<Term>) {
    let mut rotation = Rotation::new(term.engine.clone());
    loop {
        rotation.step().await;
    }
}

struct Rotation {
    engine: Arc<Engine>,
    /// When this leadership began.
    since: Timestamp,
    keys: Keys,
    schedule: Schedule,
    pauses: Pauses,
    pace: Pace,
    progress: Progress,
    /// The ledger's edition and the time of the last survey.
    surveyed: Option<(u64, Instant)>,
    next_tick: Instant,
    queue: VecDeque<Behind>,
    writes: FuturesUnordered<BoxFuture<'static, Write>>,
    writing: HashSet<Box<str>>,
    refreshes: FuturesUnordered<BoxFuture<'static, Refresh>>,
}

/// A write that ended.
struct Write {
    what: Behind,
    ticket: Ticket,
    outcome: Result<Written, Cause>,
}

type Refresh = (Arc<TokenKey>, Result<Token, TokenFailure>);

impl Rotation {
    fn new(engine: Arc<Engine>) -> Self {
        let now = Instant::now();
        Self {
            schedule: Schedule::new(engine.live.snapshot().rotation.max_age),
            engine,
            since: clock::now(),
            keys: Keys::default(),
            pauses: Pauses::default(),
            pace: Pace::new(now),
            progress: Progress::default(),
            surveyed: None,
            next_tick: now,
            queue: VecDeque::new(),
            writes: FuturesUnordered::new(),
            writing: HashSet::new(),
            refreshes: FuturesUnordered::new(),
        }
    }

    /// Does what is due now, and waits for the next thing that happens.
    async fn step(&mut self) {
        let now = Instant::now();
        if now >= self.next_tick {
            self.tick(now);
        }
        self.start_writes(now);
        let mut wake = self.next_tick;
        if !self.queue.is_empty() {
            wake = wake.min(self.pace.opens_at().max(now + SHORTEST_TICK));
        }
        tokio::select! {
            Some(write) = self.writes.next() => self.wrote(write),
            Some((key, outcome)) = self.refreshes.next() => self.refreshed(&key, outcome),
            () = sleep_until(wake) => {}
        }
    }

    fn tick(&mut self, now: Instant) {
        if self.is_survey_due(now) {
            self.survey(now);
        }
        let (wall, supply) = (clock::now(), &self.engine.supply);
        let config = self.engine.live.snapshot();
        for key in self.schedule.start_due(wall, now) {
            let (supply, config) = (supply.clone(), config.clone());
            let refresh = async move {
                let outcome = supply.refresh(&key, &config).await;
                (key, outcome)
            };
            self.refreshes.push(refresh.boxed());
        }
        let idle = self.schedule.idle(wall, now).unwrap_or(TICK);
        self.next_tick = now + idle.clamp(SHORTEST_TICK, TICK);
    }

    /// Whether anything can have changed since the last time.
    fn is_survey_due(&self, now: Instant) -> bool {
        self.surveyed.is_none_or(|(edition, at)| {
            edition != self.engine.ledger.read().edition()
                || now >= at + SURVEY
                || self.pauses.is_over(now)
        }) || self
            .schedule
            .is_outdated(|key| self.engine.supply.held(key))
    }

    fn survey(&mut self, now: Instant) {
        self.surveyed = Some((self.engine.ledger.read().edition(), now));
        let config = self.engine.live.snapshot();
        let Engine {
            ledger,
            supply,
            namespaces,
            ..
        } = &*self.engine;
        let held = |key: &TokenKey| supply.held(key);
        let (since, wall) = (self.since, clock::now());
        let found = survey(ledger, &config.rules, &mut self.keys, held, since, wall);
        self.schedule.update(found.uses, now);
        let is_behind: HashSet<&str> = found.behind.iter().map(|one| &*one.namespace).collect();
        self.pauses
            .retain(|namespace| is_behind.contains(namespace));
        let mut queue = found.behind;
        queue.retain_mut(|one| {
            one.is_retry = self.pauses.knows(&one.namespace);
            !self.writing.contains(&one.namespace)
                && !self.pauses.is_pausing(&one.namespace, now)
                && !matches!(
                    namespaces.cached(&one.namespace),
                    Some(Known::Terminating(_))
                )
        });
        queue.sort_unstable_by_key(Behind::turn);
        let firsts = queue.iter().filter(|one| !one.is_retry);
        self.progress.expect(firsts.map(|one| &*one.keys), now);
        self.queue = queue.into();
    }

    fn start_writes(&mut self, now: Instant) {
        while self.pace.has_room(self.writes.len(), now) {
            let Some(what) = self.queue.pop_front() else {
                return;
            };
            let grants = self.grants(&what.namespace);
            if !what.is_retry {
                self.progress.starts(&what.keys);
            }
            self.writing.insert(what.namespace.clone());
            let (writer, ticket) = (self.engine.pull_secrets.clone(), self.pace.ticket());
            let target = self.engine.target(&what.namespace);
            let write = async move {
                let outcome = writer.rotate(&target, &grants).await;
                Write {
                    what,
                    ticket,
                    outcome,
                }
            };
            self.writes.push(write.boxed());
        }
    }

    /// The tokens that we hold for a namespace's Secret: all of them, so that one write needs no
    /// look at what is there.
    fn grants(&mut self, namespace: &str) -> Vec<Grant> {
        let mut grants = Vec::new();
        let config = self.engine.live.snapshot();
        let rules = &config.rules;
        let holds = self
            .engine
            .ledger
            .read()
            .holds_of(&config.target(namespace));
        for hold in holds {
            if let Some((registry, key)) = self.keys.of(rules, &hold.host, namespace)
                && let Some(token) = self.engine.supply.held(&key)
            {
                grants.push(Grant {
                    registry,
                    identity: key.identity.to_string().into(),
                    token,
                });
            }
        }
        grants
    }

    fn wrote(&mut self, write: Write) {
        let Write {
            what,
            ticket,
            outcome,
        } = write;
        let now = Instant::now();
        self.writing.remove(&what.namespace);
        match outcome {
            // It may be this namespace's trouble alone, such as a webhook of its own that is down.
            Err(Cause::ApiServerBusy | Cause::ApiServerUnreachable) if what.is_retry => {}
            Err(Cause::ApiServerBusy | Cause::ApiServerUnreachable) => self.pace.busy(ticket, now),
            Ok(_) | Err(_) => self.pace.answered(),
        }
        match &outcome {
            Ok(Written { applied: true, .. }) => self.pauses.forget(&what.namespace),
            // Right already or gone, and the ledger knows by now; or else not sooner than later.
            Ok(_) => self.pauses.pause(&what.namespace, Retry::Soon, now),
            Err(cause) => self.pauses.pause(&what.namespace, cause.retry(), now),
        }
        if !what.is_retry {
            self.progress.ends(&what.keys, outcome.is_ok(), now);
        }
    }

    fn refreshed(&mut self, key: &Arc<TokenKey>, outcome: Result<Token, TokenFailure>) {
        let now = Instant::now();
        self.schedule
            .refreshed(key, outcome.ok().as_ref(), clock::now(), now);
        self.next_tick = now;
    }
}
