//! The suite: every promise, on a real API server, with the shipped chart and the real binary.
//!
//! It is one binary, so that tests share a control plane. `cargo test --test suite NAME` runs the tests
//! whose name contains NAME, and `-- --list` lists them. After the tests of a group, a last one searches
//! the logs of all processes, written at TRACE, for every token and key.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]
#![allow(unreachable_pub, reason = "a binary has no outside")]

mod accounts;
mod adoption;
mod aws_trouble;
mod belief;
mod certificate_files;
mod chart;
mod contract;
mod dead_connection;
mod edited;
mod ephemeral;
mod frame;
mod harness;
mod hostile;
mod identities;
mod injection;
mod keyring;
mod late_writes;
mod leading;
mod leaks;
mod limits;
mod logs;
mod moto;
mod node;
mod odd;
mod oidc;
mod ownership;
mod paged;
mod process;
mod reload;
mod repairs;
mod reported;
mod resilience;
mod restored;
mod rotation;
mod rules;
mod scale;
mod selection;
mod serving;
mod shutdown;
mod sources;
mod sts_calls;
mod surroundings;
mod sync;
mod theft;
mod token_store;
mod untouched;
mod workloads;

use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use frame::{close, fail};
use harness::World;
use libtest_mimic::Arguments;
use tokio::sync::OnceCell;

/// Concurrent tests: they mostly wait for the control plane.
const TESTS_AT_A_TIME: usize = 8;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(TESTS_AT_A_TIME));
    let trials = [
        // These take longest.
        hostile::tenant::trials(),
        restored::trials(),
        accounts::trials(),
        adoption::trials(),
        aws_trouble::trials(),
        belief::trials(),
        certificate_files::trials(),
        chart::trials(),
        contract::trials(),
        dead_connection::trials(),
        edited::trials(),
        ephemeral::trials(),
        hostile::requests::trials(),
        hostile::floods::trials(),
        hostile::slots::trials(),
        identities::trials(),
        injection::trials(),
        keyring::trials(),
        late_writes::trials(),
        leaks::answers::trials(),
        leaks::endpoints::trials(),
        leaks::proxies::trials(),
        leaks::settings::trials(),
        limits::trials(),
        moto::trials(),
        odd::trials(),
        ownership::trials(),
        paged::lists::trials(),
        process::trials(),
        reload::trials(),
        reported::trials(),
        rotation::trials(),
        rules::trials(),
        scale::trials(),
        selection::trials(),
        shutdown::trials(),
        sources::trials(),
        sts_calls::trials(),
        surroundings::trials(),
        sync::trials(),
        theft::trials(),
        token_store::trials(),
        untouched::trials(),
        workloads::trials(),
    ];
    let mut failed = fail(&arguments, None, trials);
    paged::stop();
    failed |= close(WORLD.get().map(|world| &**world), logs::trials());
    failed |= thread::scope(|scope| {
        // Each has a cluster of its own. All but the second run one test after the other, or mostly
        // wait.
        let repairs = scope.spawn(|| repairs::run(&arguments));
        let resilience = scope.spawn(|| resilience::run(&arguments));
        let oidc = scope.spawn(|| oidc::run(&arguments));
        let failed = [leading::run, serving::run].map(|run| run(&arguments));
        let others = [repairs, resilience, oidc].map(|group| group.join().unwrap_or(true));
        failed.contains(&true) || others.contains(&true)
    });
    failed |= node::run(&arguments);
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

static WORLD: OnceCell<Arc<World>> = OnceCell::const_new();

/// The world of all tests that need none of their own.
async fn shared() -> Arc<World> {
    let builder = || World::builder().replicas(2).audit_log();
    WORLD.get_or_init(|| builder().start()).await.clone()
}
