//! The serving certificate that the replicas sign themselves: in a cluster of its own, because there is
//! one registration, and all of these tests corrupt it.

mod lifetimes;
mod logs;
mod self_signed;
mod site;

use std::sync::Arc;

use libtest_mimic::Arguments;
use tokio::sync::OnceCell;

use crate::frame::{close, fail};
use crate::harness::World;
use site::Site;

static SITE: OnceCell<Arc<Site>> = OnceCell::const_new();

/// Runs these tests one after the other. Whether one failed.
pub fn run(arguments: &Arguments) -> bool {
    let failed = fail(
        arguments,
        Some(1),
        [self_signed::trials(), lifetimes::trials()],
    );
    let world = SITE.get().map(|site| -> &World { site });
    failed | close(world, logs::trials())
}

/// The site as after an install: no replica, no certificate, no `caBundle`.
async fn shared() -> Arc<Site> {
    let start = || async { Arc::new(Site::start().await) };
    let site = SITE.get_or_init(start).await.clone();
    site.clear().await;
    site
}
