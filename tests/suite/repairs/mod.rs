//! Repair of pods that admission missed and of lost Secrets, clean-up of unused ones, and what wants a
//! Secret at all: in a cluster of its own, whose replicas come and go, and with them their configuration.

mod bursts;
mod cleanup;
mod failed_pulls;
mod hand_over;
mod logs;
mod missed_pods;
mod recreate;
mod secrets;
mod site;
mod tokens;
mod wanted;

use std::sync::Arc;

use libtest_mimic::Arguments;
use tokio::sync::OnceCell;

use crate::frame::{close, fail};
use crate::harness::World;
use site::Site;

static SITE: OnceCell<Arc<Site>> = OnceCell::const_new();

/// Runs these tests one after the other. Whether one failed.
pub fn run(arguments: &Arguments) -> bool {
    let trials = [
        missed_pods::trials(),
        bursts::trials(),
        recreate::trials(),
        secrets::trials(),
        cleanup::trials(),
        failed_pulls::trials(),
        hand_over::trials(),
        tokens::trials(),
        wanted::trials(),
    ];
    let failed = fail(arguments, Some(1), trials);
    let world = SITE.get().map(|site| -> &World { site });
    failed | close(world, logs::trials())
}

/// The site, without any replica.
async fn shared() -> Arc<Site> {
    let start = || async { Arc::new(Site::start().await) };
    let site = SITE.get_or_init(start).await.clone();
    site.close().await;
    site
}
