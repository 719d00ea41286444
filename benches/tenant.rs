//! Memory of a replica that starts and leads beside a hostile tenant, and the latency of honest requests
//! meanwhile.
//!
//! The replica has one core. The API server, which the tenant keeps far busier, shares the other with all
//! clients and yields to them, because a control plane has machines of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::cores::{Confined, SERVER, on_core};
use crate::harness::memory::MemoryGroup;
use crate::harness::tenant::Tenant;
use crate::harness::{LIMIT, eventually};
use crate::hostile::{HONEST, clients, connected, p99, review_of};
use crate::process::{Process, tree};
use crate::report::{Report, median};
use crate::site::Site;

/// Restarts of the replica beside the tenant.
const RESTARTS: usize = 3;
/// The time for which a replica that leads is watched beside the tenant.
const WATCHED: Duration = Duration::from_secs(10);

/// Measures it.
pub async fn measure(report: &mut Report) {
    println!("tenant: {RESTARTS} restarts beside a hostile tenant");
    let site = Site::start().await;
    site.namespaces(0..1).await;
    let group = MemoryGroup::new();
    let review: Arc<str> = review_of(&site).into();
    let tenant = Tenant::new(&site).await;
    let _confined = Confined::new(&tree(site.cluster.process()));
    let good = clients(0);
    let (mut peaks, mut quiet, mut beside) = (Vec::new(), Vec::new(), Vec::new());
    let mut round = 0;
    for turn in 0..2 * RESTARTS {
        // The first half is without the tenant's objects.
        let is_beside = turn >= RESTARTS;
        if turn == RESTARTS {
            tenant.make_large_objects().await;
            tenant.pod_of_many_registries().await;
        }
        let launch = site.next_replica();
        let launch = match &group {
            Some(group) => launch.memory(group),
            None => launch,
        };
        let replica = Arc::new(on_core(SERVER, || launch.start()));
        site.route_to(std::slice::from_ref(&replica)).await;
        eventually("the replica leads", LIMIT, || async {
            let log = std::fs::read_to_string(&replica.log).expect("a log");
            log.contains("checked all pods").then_some(())
        })
        .await;
        let honest = site.first_secret(&replica).await;
        let (asked, text) = (replica.clone(), review.clone());
        let seen = good.spawn(async move {
            let mut connections = Vec::new();
            for _ in 0..HONEST {
                connections.push(connected(&asked).await);
            }
            p99(&asked, &text, connections).await
        });
        if is_beside {
            let disturb = async {
                loop {
                    // Its time may be up before the pod is there.
                    round += 1;
                    tenant.invent_regions(round).await;
                    tenant.disturb().await;
                    tenant.stir_missed_pods(round).await;
                    tenant.fail_pulls().await;
                    tenant.flip_labels_of_secret().await;
                    tenant.copy_secret(&honest).await;
                }
            };
            // It has no end.
            let _ = timeout(WATCHED, disturb).await;
        }
        let late = seen.await.expect("all answers");
        println!(
            "  p99 {late:.2} ms{}",
            if is_beside { " beside it" } else { "" }
        );
        if is_beside {
            beside.push(late);
            peaks.push(Process::of(&replica).mib("VmHWM"));
        } else {
            quiet.push(late);
        }
        replica.stop();
    }
    good.shutdown_background();
    let peak = peaks.iter().copied().fold(0.0, f64::max);
    let (quiet, beside) = (median(&quiet), median(&beside));
    report.figure("hostile_tenant_peak_mib", peak);
    report.figure("hostile_tenant_p99_ratio", beside / quiet);
    let kills = match &group {
        Some(group) => format!("{} killed at 128 MiB", group.kills()),
        None => "without a limit, because there is no control group to make".to_owned(),
    };
    report.note(format!(
        "a replica that starts, lists and leads beside a hostile tenant of two namespaces, {RESTARTS} times: {peak:.1} MiB at \
         the peak, {kills}; p99 of honest requests {beside:.2} ms, {quiet:.2} without the tenant"
    ));
    site.stop();
}
