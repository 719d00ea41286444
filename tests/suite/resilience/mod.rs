//! A fleet of a thousand namespaces and three replicas, to which everything happens that takes a
//! process down or stops it in its tracks: in a cluster of its own, whose etcd is watched version
//! by version.

mod fan_out;
mod fleet;
mod logs;
mod outage;

use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};

use crate::frame::fail;
use crate::harness::recorder;
use fleet::Fleet;

/// Runs these tests one after the other. Whether one failed.
pub fn run(arguments: &Arguments) -> bool {
    let unit = Trial::test(
        "resilience::the_recorder_notices_every_kind_of_fault",
        || {
            recorder::notices_every_kind_of_fault();
            Ok(())
        },
    );
    // Before there are many namespaces, and their tokens to renew.
    let trials = [vec![unit], outage::trials(), fan_out::trials()];
    let mut failed = fail(arguments, Some(1), trials);
    if let Some(fleet) = Fleet::if_started() {
        failed |= fail(&Arguments::default(), None, [logs::trials()]);
        fleet.stop();
    }
    failed
}

async fn shared() -> Arc<Fleet> {
    Fleet::get().await
}
