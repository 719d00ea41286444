//! Entries that a pull Secret shall not hold any more: its namespace opted out, or the rules deny the
//! registry now.
//!
//! Such entries are not renewed. When the last of their tokens has expired they are removed, or at
//! once if the namespace has the annotation `ecr-pull-secrets.dev/remove: "true"`, whether pods name
//! the Secret or not. [Repairs](super::repairs) do not undo this: nothing that counts wants them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::cause::Retry;
use ecr_pull_secrets_core::pull_secret::held::Hold;
use ecr_pull_secrets_core::pull_secret::withdrawal::WithdrawalTime;
use ecr_pull_secrets_core::rotation::pauses::TargetPauses;
use ecr_pull_secrets_core::target::Target;
use futures::StreamExt as _;
use futures::stream;
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::term::Term;
use crate::clock;
use crate::cluster::pull_secrets::PullSecretApi;
use crate::engine::Engine;
use crate::pull_secret::withdraw::withdraw;
use crate::wants::Entry;

/// The time between two checks for changes.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// The most Secrets at a time: this is never urgent.
const MAX_SECRETS: usize = 4;

/// Runs until it is dropped.
pub(super) async fn run(term: Arc<Term>) {
    let mut withdrawals = Withdrawals {
        api: term.engine.secrets.clone(),
        engine: term.engine.clone(),
        start: Instant::now(),
        pauses: TargetPauses::default(),
        passed: None,
        next: None,
    };
    loop {
        sleep(CHECK_INTERVAL).await;
        withdrawals.check().await;
    }
}

/// The state of the loop. All times are since `start`.
struct Withdrawals {
    engine: Arc<Engine>,
    api: PullSecretApi,
    start: Instant,
    pauses: TargetPauses,
    /// What the last pass over all Secrets saw.
    passed: Option<[u64; 3]>,
    /// The earliest time at which the last token of a Secret expires that it shall not hold.
    next: Option<Timestamp>,
}

impl Withdrawals {
    async fn check(&mut self) {
        let (seen, now) = (self.editions(), self.start.elapsed());
        let wall = clock::now();
        let is_pass_due = self.passed != Some(seen)
            || self.next.is_some_and(|next| wall >= next)
            || self.pauses.is_any_over(now);
        if !is_pass_due {
            return;
        }
        self.passed = Some(seen);
        let mut due = self.due(wall);
        let targets: HashSet<Target> = due.iter().map(|one| one.target.clone()).collect();
        self.pauses.retain(|target| targets.contains(target));
        due.retain(|one| !self.pauses.is_pausing(&one.target, now));
        let (api, engine) = (&self.api, &self.engine);
        let mut results = stream::iter(due)
            .map(|one| async move {
                let is_withdrawn = |host: &str| one.still_has_to_lose(host, engine);
                let ledger = &engine.ledger;
                let result = withdraw(api, ledger, &one.target, one.time, is_withdrawn).await;
                (one.target, result)
            })
            .buffer_unordered(MAX_SECRETS);
        while let Some((target, result)) = results.next().await {
            match result {
                Ok(true) => self.pauses.forget(&target),
                // Another field manager wrote the content, or the ledger is late.
                Ok(false) => self.pauses.pause(&target, Retry::Slowly, now),
                Err(cause) => self.pauses.pause(&target, cause.retry(), now),
            }
        }
    }

    /// The Secrets of which entries are removed now, by the ledger.
    fn due(&mut self, now: Timestamp) -> Vec<Due> {
        let engine = &self.engine;
        let config = engine.live.snapshot();
        let (mut found, mut next) = (Vec::new(), None::<Timestamp>);
        let mut renewals = engine.wants.renewals(&config);
        engine.ledger.read().for_each(|secret, namespace, holds| {
            let target = Target::new(namespace, secret.clone());
            let mut hosts = Vec::new();
            let mut until = None;
            for Hold { host, lifetime, .. } in holds {
                if matches!(renewals.of(&target, host), Entry::Withdrawn) {
                    hosts.push(host.clone());
                    until =
                        until.max(Some(lifetime.expires_at).filter(|_| lifetime.is_usable(now)));
                }
            }
            let time = if engine.namespaces.asks_removal(namespace) {
                WithdrawalTime::Now
            } else {
                WithdrawalTime::AfterExpiry
            };
            match until {
                _ if hosts.is_empty() => {}
                Some(until) if time == WithdrawalTime::AfterExpiry => {
                    next = Some(next.map_or(until, |next| next.min(until)));
                }
                Some(_) | None => found.push(Due {
                    target,
                    time,
                    hosts,
                }),
            }
        });
        self.next = next;
        found
    }

    /// What decides, apart from the time.
    fn editions(&self) -> [u64; 3] {
        let engine = &self.engine;
        [
            engine.ledger.read().edition(),
            engine.wants.edition(),
            engine.namespaces.edition(),
        ]
    }
}

/// A Secret with entries that it shall not hold.
struct Due {
    target: Target,
    time: WithdrawalTime,
    hosts: Vec<Arc<str>>,
}

impl Due {
    /// Whether the entry of a host is to be removed now: the namespace may have opted in again.
    fn still_has_to_lose(&self, host: &str, engine: &Engine) -> bool {
        let config = engine.live.snapshot();
        let mut renewals = engine.wants.renewals(&config);
        let known = self.hosts.iter().find(|known| &***known == host);
        known.is_some_and(|host| matches!(renewals.of(&self.target, host), Entry::Withdrawn))
    }
}
