//! What a replica that does not lead does about tokens: nothing, unless the one that leads cannot
//! renew them, because its node has no way to AWS, or no rights there. Then whoever can does it, once
//! a token is long overdue, and puts it into the store; the leader finds it there and spreads it.

use std::time::Duration;

use ecr_pull_secrets_core::token::renewal;
use jiff::Timestamp;
use tokio::time::{Instant, sleep};
use tracing::info;

use super::rotation::schedule::{Schedule, jitter};
use super::rotation::survey::survey;
use crate::clock;
use crate::engine::Engine;
use crate::token::keys::Keys;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(5);

/// Runs until it is dropped.
pub(super) async fn run(engine: &Engine) {
    let max_age = engine.live.snapshot().rotation.max_age;
    // Two of them seldom notice at the same time.
    let jitter = jitter();
    let (mut keys, mut schedule) = (Keys::default(), Schedule::new(max_age));
    loop {
        sleep(INTERVAL).await;
        let (wall, now) = (clock::now(), Instant::now());
        let overdue = |key: &_| {
            let held = engine.supply.held(key)?;
            renewal::is_overdue((&held).into(), max_age, wall, jitter).then_some(held)
        };
        let mut tokens = engine.supply.tokens().into_iter();
        if tokens.all(|(key, _)| overdue(&key).is_none()) {
            continue;
        }
        let config = engine.live.snapshot();
        let rules = &config.rules;
        let since = Timestamp::MIN;
        let mut uses = survey(&engine.ledger, rules, &mut keys, overdue, since, wall).uses;
        uses.retain(|_, tokens| tokens.held.is_some());
        schedule.update(uses, now);
        for key in schedule.start_due(wall, now) {
            let outcome = engine.supply.refresh(&key, &config).await;
            if outcome.is_ok() {
                let (identity, region) = (key.identity.to_string(), &*key.region);
                info!(identity, region, "renewed a token in the leader's place");
            }
            schedule.refreshed(&key, outcome.ok().as_ref(), clock::now(), Instant::now());
        }
    }
}
