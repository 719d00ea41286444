//! The serving certificate that the replicas keep themselves: in a cluster of its own, as there is
//! one registration, and all of these tests spoil it.

mod lifetimes;
mod logs;
mod self_signed;
mod site;

use std::sync::Arc;

use libtest_mimic::Arguments;
use tokio::sync::OnceCell;

use crate::frame::fail;
use site::Site;

static SITE: OnceCell<Arc<Site>> = OnceCell::const_new();

/// Runs these tests one after the other. Whether one failed.
pub fn run(arguments: &Arguments) -> bool {
    let mut failed = fail(
        arguments,
        Some(1),
        [self_signed::trials(), lifetimes::trials()],
    );
    if let Some(site) = SITE.get() {
        failed |= fail(&Arguments::default(), None, [logs::trials()]);
        site.stop();
    }
    failed
}

fn stop_if_started() {
    if let Some(site) = SITE.get() {
        site.stop();
    }
}

/// The site as after an install: no replica, no Secret, no `caBundle`.
async fn shared() -> Arc<Site> {
    let start = || async { Arc::new(Site::start(stop_if_started).await) };
    let site = SITE.get_or_init(start).await.clone();
    site.clear().await;
    site
}
