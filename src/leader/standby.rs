//! What a replica does about tokens while it does not lead: nothing, unless the leader cannot renew
//! them, because its node has no route to AWS, or no rights there. Once a token is overdue, a replica
//! that has both renews it, and puts it into the store. The leader finds it there, and writes it into
//! the Secrets.

use std::time::Duration;

use ecr_pull_secrets_core::rotation::schedule::{Moment, RenewalSchedule};
use ecr_pull_secrets_core::token::renewal;
use jiff::Timestamp;
use tokio::time::{Instant, sleep};
use tracing::info;

use super::rotation::survey;
use crate::clock;
use crate::engine::Engine;

/// The time between two checks.
const INTERVAL: Duration = Duration::from_secs(5);

/// Runs until it is dropped.
pub(super) async fn run(engine: &Engine) {
    let start = Instant::now();
    // Spreads the replicas: two of them seldom notice at the same time.
    let jitter = fastrand::f64();
    let mut schedule = RenewalSchedule::default();
    loop {
        sleep(INTERVAL).await;
        let config = engine.live.snapshot();
        let max_age = config.rotation.max_age;
        let moment = || Moment {
            wall: clock::now(),
            elapsed: start.elapsed(),
        };
        let at = moment();
        let overdue = |key: &_| {
            let held = engine.supply.held(key)?;
            renewal::is_overdue((&held).into(), max_age, at.wall, jitter).then_some(held)
        };
        let mut tokens = engine.supply.tokens().into_iter();
        if tokens.all(|(key, _)| overdue(&key).is_none()) {
            continue;
        }
        // It brings no key of its own: only tokens that this replica holds are renewed.
        let found = survey(
            engine,
            &config,
            overdue,
            |_, _, _| false,
            Timestamp::MIN,
            at.wall,
        );
        let mut uses = found.uses;
        uses.retain(|_, tokens| tokens.held.is_some());
        schedule.update(uses, at);
        for key in schedule.start_due(max_age, at) {
            let outcome = engine.supply.refresh(&key, &config).await;
            if outcome.is_ok() {
                let (identity, region) = (key.identity.to_string(), &*key.region);
                info!(identity, region, "renewed a token in the leader's place");
            }
            let token = outcome.ok();
            schedule.ended(&key, token.as_ref(), max_age, moment(), fastrand::f64());
        }
    }
}
