//! What the lease holder does, and what it provisions: in a cluster of its own, where no replica of
//! another test leads.

mod leader;
mod logs;
mod provision;

use std::sync::Arc;

use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;
use kube::Api;
use kube::api::DeleteParams;
use libtest_mimic::Arguments;
use tokio::sync::OnceCell;

use crate::frame::{close, fail};
use crate::harness::World;

const LEASE_GUARD: &str = "ecr-pull-secrets-guard-lease";

static LEADING: OnceCell<Arc<World>> = OnceCell::const_new();

/// Runs these tests. Whether one failed.
pub fn run(arguments: &Arguments) -> bool {
    let failed = fail(arguments, None, [leader::trials(), provision::trials()]);
    let world = LEADING.get().map(|world| &**world);
    failed | close(world, logs::trials())
}

/// The world of this module.
async fn shared() -> Arc<World> {
    let builder = || World::builder().config(provision::CONFIG).replicas(2);
    let start = async || {
        let world = builder().start().await;
        // The candidates of these tests have Leases in namespaces of their own, which the guard denies.
        let bindings: Api<ValidatingAdmissionPolicyBinding> =
            Api::all(world.cluster.client.clone());
        let params = DeleteParams::default();
        bindings.delete(LEASE_GUARD, &params).await.expect("it");
        world
    };
    LEADING.get_or_init(start).await.clone()
}
