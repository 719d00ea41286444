//! The cluster's own OIDC issuer as the way to AWS (`aws.roleArn`): the API server signs the tokens of our ServiceAccount, a
//! public host has its documents, and STS verifies each token with them. In a cluster of its own.

mod changes;
mod faults;
mod logs;
mod renewals;
pub mod site;

use std::sync::Arc;
use std::thread;

use libtest_mimic::Arguments;
use tokio::sync::OnceCell;

use crate::frame::{close, fail};
use crate::harness::World;
use site::Site;

static SITE: OnceCell<Arc<Site>> = OnceCell::const_new();

/// Runs these tests. Whether one failed.
pub fn run(arguments: &Arguments) -> bool {
    // The renewals mostly wait. What a fault test does to the issuer, each other one would see.
    let mut failed = thread::scope(|scope| {
        let renewals = scope.spawn(|| fail(arguments, None, [renewals::trials()]));
        let failed = fail(arguments, Some(1), [faults::trials()]);
        failed | renewals.join().unwrap_or(true)
    });
    // Each of these restarts the API server.
    failed |= fail(arguments, Some(1), [changes::trials()]);
    let world = SITE.get().map(|site| -> &World { site });
    failed | close(world, logs::trials())
}

/// The site.
async fn shared() -> Arc<Site> {
    let start = || async { Arc::new(Site::start().await) };
    SITE.get_or_init(start).await.clone()
}
