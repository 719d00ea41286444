//! A fleet of a thousand namespaces and three replicas, through kills and freezes of every process: in a
//! cluster of its own, in which a recorder reads every version of every Secret from etcd.

mod fan_out;
mod fleet;
mod logs;
mod outage;

use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use tokio::sync::OnceCell;

use crate::frame::{close, fail};
use crate::harness::{World, recorder};
use fleet::Fleet;

static FLEET: OnceCell<Arc<Fleet>> = OnceCell::const_new();

/// Runs these tests one after the other. Whether one failed.
pub fn run(arguments: &Arguments) -> bool {
    let unit = Trial::test("resilience::recorder_notices_every_kind_of_fault", || {
        recorder::notices_every_kind_of_fault();
        Ok(())
    });
    // The outage first: later there are many namespaces, and their tokens to renew.
    let trials = [vec![unit], outage::trials(), fan_out::trials()];
    let failed = fail(arguments, Some(1), trials);
    let world = FLEET.get().map(|fleet| -> &World { fleet });
    failed | close(world, logs::trials())
}

/// The fleet.
async fn shared() -> Arc<Fleet> {
    let start = || async { Arc::new(Fleet::start().await) };
    FLEET.get_or_init(start).await.clone()
}
