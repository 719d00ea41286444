//! What is done about pods that nobody was asked about, and about Secrets that nobody needs: in a
//! cluster of its own, whose replicas come and go, and with them their configuration.

mod cleanup;
mod logs;
mod missed_pods;
mod recreate;
mod secrets;
mod site;
mod tokens;

use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use tokio::sync::OnceCell;

use crate::harness::Outcome;
use crate::harness::world::runtime;
use site::Site;

static SITE: OnceCell<Arc<Site>> = OnceCell::const_new();

/// Runs these tests one after the other. Whether one failed.
pub fn run(arguments: &Arguments) -> bool {
    let mut arguments = arguments.clone();
    arguments.test_threads = Some(1);
    let trials = [
        missed_pods::trials(),
        recreate::trials(),
        secrets::trials(),
        cleanup::trials(),
        tokens::trials(),
    ];
    let trials = trials.into_iter().flatten().collect();
    let mut failed = libtest_mimic::run(&arguments, trials).has_failed();
    if let Some(site) = SITE.get() {
        failed |= libtest_mimic::run(&Arguments::default(), logs::trials()).has_failed();
        site.stop();
    }
    failed
}

fn stop_if_started() {
    if let Some(site) = SITE.get() {
        site.stop();
    }
}

/// A test that gets the site, without any replica.
fn trial<F>(name: &str, test: fn(Arc<Site>) -> F) -> Trial
where
    F: Future<Output = Outcome> + Send + 'static,
{
    Trial::test(name, move || {
        let outcome = runtime().block_on(async move {
            let start = || async { Arc::new(Site::start(stop_if_started).await) };
            let site = SITE.get_or_init(start).await.clone();
            site.close().await;
            test(site).await
        });
        outcome.map_err(|error| Failed::from(error.to_string()))
    })
}

/// Lists the tests of a module under their own names.
macro_rules! trials {
    ($($test:ident),+ $(,)?) => {
        /// The tests of this module.
        pub(super) fn trials() -> Vec<libtest_mimic::Trial> {
            let module = module_path!().trim_start_matches("suite::");
            vec![$(super::trial(&format!("{module}::{}", stringify!($test)), $test)),+]
        }
    };
}
use trials;
