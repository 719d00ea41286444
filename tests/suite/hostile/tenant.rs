//! A tenant with the stock role `edit` in one namespace does its worst; replicas start, lead and serve
//! others meanwhile, with the chart's memory limit.

use std::sync::Arc;

use aws_stand_in::spec::Action;
use ecr_pull_secrets_core::cause::Cause;
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use libtest_mimic::Trial;

use crate::frame::trial;
use crate::harness::memory::MemoryGroup;
use crate::harness::namespace::{Namespace, SECRET, references};
use crate::harness::tenant::Tenant;
use crate::harness::{LIMIT, Outcome, World, docker, eventually};

/// The tests of this module. They need a control group, and are ignored where there is none to make.
pub(crate) fn trials() -> Vec<Trial> {
    let name = "hostile::tenant::hostile_tenant_hurts_only_itself";
    let trial = trial(name, world, hostile_tenant_hurts_only_itself);
    vec![trial.with_ignored_flag(MemoryGroup::new().is_none())]
}

/// A world of its own, in which the tested replica leads.
async fn world() -> Arc<World> {
    World::builder().log_level("info").start().await
}

/// Whether an Event in the tenant's namespace names the cause.
async fn is_told(tenant: &Namespace, cause: Cause) -> bool {
    let events = tenant.api::<Event>();
    let params = ListParams::default().fields(&format!("reason={}", cause.reason()));
    let events = events.list_metadata(&params).await.expect("Events");
    !events.items.is_empty()
}

/// The tenant does its worst, again and again.
async fn disturb(tenant: &Tenant) {
    for _ in 0..3 {
        tenant.disturb().await;
    }
}

async fn hostile_tenant_hurts_only_itself(world: Arc<World>) -> Outcome {
    let group = MemoryGroup::new().expect("a control group");
    let tenant = Tenant::new(&world).await;
    let honest = Namespace::new(&world).await;
    tenant.make_large_objects().await;
    let mut served = None;
    for restart in 0..2 {
        let replica = world.add_replica(|launch| launch.memory(&group));
        world.route().await;
        // It has listed all pods.
        eventually("the replica leads", LIMIT, || async {
            let log = std::fs::read_to_string(&replica.log).expect("a log");
            log.contains("checked all pods").then_some(())
        })
        .await;
        if restart == 0 {
            tenant.pod_of_many_registries().await;
        }
        let (name, image) = (format!("honest-{restart}"), honest.image("app"));
        let (pod, ()) = tokio::join!(honest.pod(&name, &image), disturb(&tenant));
        assert_eq!(references(&pod), [SECRET]);
        // One token and one write for all of it, as without the tenant.
        let secret = honest.assert_opens().await;
        docker::assert_unwritten(served.get_or_insert(secret.clone()), &secret);
        eventually("an Event that names the cause", LIMIT, || async {
            is_told(&tenant.namespace, Cause::TooManyRegistries)
                .await
                .then_some(())
        })
        .await;
        assert_eq!(group.kills(), 0, "restart {restart}");
        world.kill(&replica);
    }
    let calls = honest.region.total(Action::GetAuthorizationToken).await?;
    assert_eq!(calls.total, 1);
    world.stop();
    Ok(())
}
