//! `sync`, the one-shot form, as a person or a CronJob runs it: no replica runs beside it.

use std::process::{Command, Output};
use std::sync::Arc;

use aws_stand_in::client::Region;
use aws_stand_in::spec::{Action, Fault, Verdict};
use k8s_openapi::api::core::v1::Pod;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::belief::{INJECT, calls, change};
use crate::frame::trial;
use crate::harness::launch::binary;
use crate::harness::namespace::{ACCOUNT, Namespace, SECRET, pod};
use crate::harness::{LIMIT, Outcome, World, docker, eventually};
use crate::ownership::{login, with_hosts};

/// The tests of this module. They share no world: each counts what is there.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "sync::run_writes_what_pods_want",
            world,
            run_writes_what_pods_want,
        ),
        trial(
            "sync::exit_code_says_what_failed",
            world,
            exit_code_says_what_failed,
        ),
        trial(
            "sync::renewal_keeps_to_namespace_quota",
            world,
            renewal_keeps_to_namespace_quota,
        ),
        trial(
            "sync::opt_out_during_run_is_obeyed",
            world,
            opt_out_during_run_is_obeyed,
        ),
        trial(
            "sync::run_needs_only_rights_without_replicas",
            without_replicas,
            run_needs_only_rights_without_replicas,
        ),
    ]
}

async fn world() -> Arc<World> {
    World::builder().start().await
}

/// The chart as it is rendered where jobs alone maintain the Secrets.
async fn without_replicas() -> Arc<World> {
    let builder = World::builder()
        .self_signed()
        .value("config.injection=none");
    builder.value("replicas=0").start().await
}

/// Runs `sync` with these flags, with the rights and keys of a replica.
fn sync(world: &World, flags: &[&str]) -> Output {
    let replica = world.replica("sync");
    let mut command = Command::new(binary());
    command.arg("sync").args(flags).env_clear();
    command.envs(replica.environment());
    command.env("ECR_PULL_SECRETS_KUBECONFIG", &world.kubeconfig);
    command.output().expect("it runs")
}

/// The rows of a run that printed JSON.
fn rows(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    let json: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(json["ok"], output.status.success());
    json["namespaces"].as_array().expect("a list").clone()
}

/// The result for a namespace.
fn result(rows: &[Value], namespace: &Namespace) -> Option<String> {
    let row = rows
        .iter()
        .find(|row| row["namespace"] == *namespace.name)?;
    row["result"].as_str().map(str::to_owned)
}

/// Creates a pod that names the Secret. No scheduler takes it.
async fn runs(namespace: &Namespace) {
    waits(namespace, pod("pod", &namespace.image("app"))).await;
}

async fn waits(namespace: &Namespace, mut pod: Value) {
    pod["spec"]["imagePullSecrets"] = json!([{ "name": SECRET }]);
    pod["spec"]["schedulerName"] = json!("none");
    namespace.create::<Pod>(pod).await.expect("a pod");
}

async fn opens(namespace: &Namespace) {
    let secret = namespace.secret().await.expect("a pull Secret");
    assert_eq!(namespace.verdict(&secret, "app").await, Verdict::Accepted);
}

async fn minted(namespace: &Namespace) -> u64 {
    let counts = namespace.region.total(Action::GetAuthorizationToken);
    counts.await.expect("counts").succeeded
}

async fn run_writes_what_pods_want(world: Arc<World>) -> Outcome {
    let [first, second] = [Namespace::new(&world).await, Namespace::new(&world).await];
    let without_pods = Namespace::new(&world).await;
    let opted_out = json!({ "ecr-pull-secrets.dev/inject": "false" });
    let opted_out = Namespace::with_labels(&world, opted_out).await;
    for namespace in [&first, &second, &opted_out] {
        runs(namespace).await;
    }

    let output = sync(&world, &["-o", "json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let made = rows(&output);
    assert_eq!(made.len(), 2, "{made:?}");
    for namespace in [&first, &second] {
        assert_eq!(result(&made, namespace).as_deref(), Some("written"));
        opens(namespace).await;
    }
    assert!(opted_out.secret().await.is_none());

    // The token store has the tokens, and the Secrets are fresh.
    let before = first.secret().await.expect("a pull Secret");
    let again = rows(&sync(&world, &["--output=json"]));
    assert_eq!(result(&again, &first).as_deref(), Some("fresh"));
    docker::assert_unwritten(&before, &first.secret().await.expect("a pull Secret"));
    assert_eq!(minted(&first).await, 1);

    let renewed = sync(
        &world,
        &["-o", "json", "--renew", "--namespaces", &first.name],
    );
    let renewed = rows(&renewed);
    assert_eq!(renewed.len(), 1);
    assert_eq!(result(&renewed, &first).as_deref(), Some("written"));
    assert_eq!((minted(&first).await, minted(&second).await), (2, 1));
    let after = first.secret().await.expect("a pull Secret");
    assert_ne!(
        docker::auth(&after, &first.host()),
        docker::auth(&before, &first.host())
    );
    assert_eq!(after.metadata.uid, before.metadata.uid);

    let (host, name) = (first.host(), &without_pods.name);
    let asked = sync(&world, &["--registries", &host, "--namespaces", name]);
    let table = String::from_utf8_lossy(&asked.stdout);
    assert!(
        table.starts_with("NAMESPACE ") && table.contains("written"),
        "{table}"
    );
    let secret = without_pods.secret().await.expect("a pull Secret");
    assert_eq!(docker::hosts(&secret), [host.as_str()]);
    let refused = sync(
        &world,
        &["--registries", &host, "--namespaces", &opted_out.name],
    );
    assert_eq!(refused.status.code(), Some(0));
    assert!(opted_out.secret().await.is_none(), "it opted out");
    world.stop();
    Ok(())
}

async fn exit_code_says_what_failed(world: Arc<World>) -> Outcome {
    let [fine, foreign, down] = [
        Namespace::new(&world).await,
        Namespace::new(&world).await,
        Namespace::new(&world).await,
    ];
    for namespace in [&fine, &foreign] {
        runs(namespace).await;
    }
    let object = with_hosts([("registry.example.com", login("another"))]);
    foreign.foreign_secret("another", object).await;
    let output = sync(&world, &["-o", "json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let rows = rows(&output);
    assert_eq!(rows[0]["namespace"], *foreign.name, "failures come first");
    assert_eq!(rows[0]["cause"], "foreign_owner");
    assert_eq!(result(&rows, &fine).as_deref(), Some("written"));

    runs(&down).await;
    down.region.fault(Fault::Reset).await?;
    let unreachable = sync(&world, &["--namespaces", &down.name]);
    assert_eq!(unreachable.status.code(), Some(3), "{unreachable:?}");
    let wrong = sync(&world, &["--namespaces", "Team_X"]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    let wrong = sync(&world, &["--registries", "docker.io"]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    world.stop();
    Ok(())
}

/// A pod names one region more than a namespace may bring.
async fn renewal_keeps_to_namespace_quota(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    let regions: Vec<Region> = (0..17)
        .map(|number| world.aws.region(&format!("quota-land-{number}")))
        .collect();
    let containers = regions.iter().enumerate().map(|(number, region)| {
        let image = format!("{}/app:v1", region.host(ACCOUNT));
        json!({ "name": format!("app-{number}"), "image": image })
    });
    let mut pod = pod("pod", "unused");
    pod["spec"]["containers"] = containers.collect();
    waits(&namespace, pod).await;

    let output = sync(&world, &["-o", "json", "--renew"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let rows = rows(&output);
    assert_eq!(rows[0]["cause"], "too_many_tokens", "{rows:?}");
    let mut minted = 0;
    for region in &regions {
        let counts = region.total(Action::GetAuthorizationToken).await?;
        minted += counts.succeeded;
    }
    assert_eq!(minted, 16);
    world.stop();
    Ok(())
}

async fn opt_out_during_run_is_obeyed(world: Arc<World>) -> Outcome {
    for flags in [&["-o", "json"][..], &["-o", "json", "--renew"]] {
        let namespace = Namespace::new(&world).await;
        runs(&namespace).await;
        // Shorter than a call may take, and longer than the time between two reads of a namespace.
        let fault = Fault::Delay { milliseconds: 4000 };
        namespace.region.fault(fault).await?;
        let run = {
            let (world, name) = (world.clone(), namespace.name.clone());
            tokio::task::spawn_blocking(move || {
                sync(&world, &[flags, &["--namespaces", &name]].concat())
            })
        };
        eventually("AWS is asked", LIMIT, || async {
            (calls(&namespace.region).await > 0).then_some(())
        })
        .await;
        change(&namespace, json!({ "labels": { INJECT: "false" } })).await;
        let output = run.await?;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let rows = rows(&output);
        assert_eq!(rows[0]["cause"], "still_working", "{rows:?}");
        assert!(namespace.secret().await.is_none(), "it opted out");
    }
    world.stop();
    Ok(())
}

async fn run_needs_only_rights_without_replicas(world: Arc<World>) -> Outcome {
    let [first, second] = [Namespace::new(&world).await, Namespace::new(&world).await];
    runs(&first).await;
    for renews in [false, true] {
        let flags = if renews {
            &["-o", "json", "--renew"][..]
        } else {
            &["-o", "json"]
        };
        let output = sync(&world, flags);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(result(&rows(&output), &first).as_deref(), Some("written"));
        opens(&first).await;
        assert!(second.secret().await.is_none());
    }
    Ok(())
}
