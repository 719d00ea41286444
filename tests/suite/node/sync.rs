//! `sync` as the chart runs it: a Job with the installation, a CronJob, and no replicas.

use std::sync::Arc;

use serde_json::json;

use super::pods::running;
use super::workloads::{deployment, submit};
use super::world::NodeWorld;
use crate::frame::trials;
use crate::harness::Outcome;
use crate::harness::namespace::{Namespace, SECRET};
use crate::harness::world::OURS;

trials!(jobs_alone_keep_pods_pulling);

/// A Deployment of one pod that names the Secret.
async fn submit_named(world: &NodeWorld) -> Namespace {
    let namespace = world.namespace().await;
    let mut app = deployment(&namespace, 1);
    app["spec"]["template"]["spec"]["imagePullSecrets"] = json!([{ "name": SECRET }]);
    submit(world, &namespace, &app);
    namespace
}

async fn jobs_alone_keep_pods_pulling(world: Arc<NodeWorld>) -> Outcome {
    let first = submit_named(&world).await;
    world.upgrade(&[
        "--set=config.injection=none",
        "--set=replicas=0",
        "--set=sync.initialJob=true",
        "--set=sync.cronJob.enabled=true",
    ]);
    let ours = |line: &str| world.run_kubectl(&format!("-n {OURS} {line}"));
    ours("wait --for=delete pod -l app.kubernetes.io/name=ecr-pull-secrets --timeout=120s");
    let jobs = ours("get jobs -o name");
    let initial = jobs
        .lines()
        .find(|job| job.starts_with("job.batch/ecr-pull-secrets-sync-"));
    let initial = initial.expect("the first Job");
    ours(&format!(
        "wait --for=condition=complete {initial} --timeout=120s"
    ));

    // No replica serves this one.
    let second = submit_named(&world).await;
    ours("create job --from=cronjob/ecr-pull-secrets-sync sync-now");
    ours("wait --for=condition=complete job/sync-now --timeout=120s");
    let table = ours("logs job/sync-now");
    for namespace in [&first, &second] {
        assert!(table.contains(&*namespace.name), "{table}");
        running(namespace, 1).await;
    }
    Ok(())
}
