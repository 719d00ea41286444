//! What the lease holder is, and what it provisions: in a cluster of its own, where no other test's
//! replica leads.

mod leader;
mod logs;
mod provision;

use std::sync::Arc;

use libtest_mimic::Arguments;
use tokio::sync::OnceCell;

use crate::frame::fail;
use crate::harness::World;

static LEADING: OnceCell<Arc<World>> = OnceCell::const_new();

/// Runs these tests. Whether one failed.
pub fn run(arguments: &Arguments) -> bool {
    let mut failed = fail(arguments, None, [leader::trials(), provision::trials()]);
    if let Some(world) = LEADING.get() {
        failed |= fail(&Arguments::default(), None, [logs::trials()]);
        world.stop();
    }
    failed
}

fn stop_if_started() {
    if let Some(world) = LEADING.get() {
        world.stop();
    }
}

/// The world of this module.
async fn shared() -> Arc<World> {
    let start = || async { Arc::new(World::start(provision::CONFIG, stop_if_started).await) };
    LEADING.get_or_init(start).await.clone()
}
