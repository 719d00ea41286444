//! What the lease holder does, and what it provisions: in a cluster of its own, where no replica of
//! another test leads.

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

/// The world of this module.
async fn shared() -> Arc<World> {
    let builder = || World::builder().config(provision::CONFIG).replicas(2);
    let world = LEADING.get_or_init(|| builder().start()).await;
    world.clone()
}
