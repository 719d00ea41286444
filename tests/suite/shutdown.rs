//! The process from its command line to its end.

use std::fs;
use std::process::{Command, Output};
use std::sync::Arc;

use aws_stand_in::spec::Fault;
use ecr_pull_secrets_core::cause::Cause;
use http::{Request, StatusCode, header};
use http_body_util::Full;

use crate::frame::trials;
use crate::harness::namespace::{Namespace, pod};
use crate::harness::replica::Replica;
use crate::harness::{LIMIT, Outcome, World, eventually, review};
use crate::ownership::ask;

trials!(
    sigterm_drains_and_second_signal_ends,
    request_in_flight_is_finished,
    printed_configuration_can_be_read_again,
    bad_configuration_ends_process_and_names_line,
);

const CONFIG: &str = "{apiVersion: ecr-pull-secrets.dev/v1, kind: Config}";

async fn with_drain_delay(world: &World, name: &str, seconds: u32) -> Replica {
    let replica = world.replica(name);
    let replica = replica.env("ECR_PULL_SECRETS_DRAIN_DELAY", seconds.to_string());
    let replica = replica.start();
    replica.ready().await;
    replica
}

fn logged(replica: &Replica, text: &str) -> bool {
    fs::read_to_string(&replica.log).is_ok_and(|log| log.contains(text))
}

async fn sigterm_drains_and_second_signal_ends(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    // Longer than the test waits: the second signal ends the process.
    let replica = with_drain_delay(&world, "drains", 3600).await;
    let review = review::of_pod(&namespace.name, &pod("pod", &namespace.image("app")));
    let send = async || {
        let request = Request::post("/mutate?timeout=5s")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(review.to_string()));
        let answer = replica
            .send(request.expect("a request"))
            .await
            .expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
        let body: serde_json::Value = serde_json::from_slice(answer.body()).expect("JSON");
        assert!(review::adds_reference(&body["response"]), "{body}");
        answer.headers().get(header::CONNECTION).cloned()
    };
    assert_eq!(send().await, None);
    replica.terminate();
    let missing = eventually("the replica is unready", LIMIT, || async {
        let (status, text) = replica.get("/readyz").await?;
        (status == StatusCode::SERVICE_UNAVAILABLE).then_some(text)
    })
    .await;
    assert_eq!(missing, "draining\n");
    // The replica is alive, accepts connections and answers, and closes each connection.
    assert_eq!(
        replica.get("/healthz").await.expect("an answer").0,
        StatusCode::OK
    );
    assert_eq!(send().await.expect("a header"), "close");
    // Any second signal will do.
    replica.interrupt();
    assert_eq!(replica.ended().await, 0);
    assert!(logged(&replica, "stopping at once: a second signal came"));
    Ok(())
}

async fn request_in_flight_is_finished(world: Arc<World>) -> Outcome {
    let namespace = Namespace::new(&world).await;
    namespace.region.fault(Fault::Hang).await?;
    let replica = with_drain_delay(&world, "finishes", 0).await;
    let interrupt = async {
        eventually("a review is in progress", LIMIT, || async {
            let in_flight = replica
                .metric("ecr_pull_secrets_admission_in_flight", &[])
                .await;
            (in_flight >= 1.0).then_some(())
        })
        .await;
        replica.terminate();
    };
    // The review waits two seconds for AWS, and the process waits for the review.
    let (answer, ()) = tokio::join!(ask(&replica, &namespace), interrupt);
    assert!(review::adds_reference(&answer), "{answer}");
    assert_eq!(review::warnings(&answer), Cause::AwsTimeout.warning());
    assert_eq!(replica.ended().await, 0);
    assert!(logged(&replica, "\"stopped\""));
    namespace.region.clear_faults().await?;
    Ok(())
}

/// Runs `serve` with a configuration file, if given, and with further flags.
fn serve(config: Option<&str>, flags: &[&str]) -> Output {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("config.yaml");
    if let Some(config) = config {
        fs::write(&file, config).expect("a file");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_ecr-pull-secrets"));
    command.env_clear().arg("serve").args(flags);
    if config.is_some() {
        command.arg("--config").arg(file);
    }
    command.output().expect("the program runs")
}

fn printed(config: Option<&str>) -> String {
    let output = serve(config, &["--print-config"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert_eq!(errors, "");
    String::from_utf8(output.stdout).expect("text")
}

async fn printed_configuration_can_be_read_again(_: Arc<World>) -> Outcome {
    // Without a file the defaults are printed.
    let defaults = printed(None);
    assert!(
        defaults.contains("name: ecr-registry-credentials"),
        "{defaults}"
    );
    assert_eq!(printed(Some(CONFIG)), defaults);
    assert_eq!(printed(Some(&defaults)), defaults);
    let other = "
apiVersion: ecr-pull-secrets.dev/v1
kind: Config
secret: {name: pull, adopt: never, cleanupAfter: 48h}
selection: opt-in
rules:
- {accounts: ['123456789012'], regions: [us-*], assumeRole: {roleArn: 'arn:aws:iam::123456789012:role/a'}}
- deny: {}
endpoints: {us-east-1: {ecr: 'https://ecr.example.com'}}
provision: [{namespaces: [web-*], selector: {matchExpressions: [{key: frozen, operator: DoesNotExist}]}, registries: [123456789012.dkr.ecr.us-east-1.amazonaws.com]}]
rotation: {maxAge: 90m}
repair: {recreatePods: true}
";
    let text = printed(Some(other));
    assert_eq!(printed(Some(&text)), text);
    for part in [
        "name: pull",
        "adopt: never",
        "opt-in",
        "role/a",
        "ecr.example.com",
        "5400s",
        "cleanupAfter: 2d",
        "key: frozen",
        "operator: DoesNotExist",
        "recreatePods: true",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    Ok(())
}

async fn bad_configuration_ends_process_and_names_line(_: Arc<World>) -> Outcome {
    let head = "apiVersion: ecr-pull-secrets.dev/v1\nkind: Config\n";
    for (rest, what) in [
        ("secret:\n  nmae: pull\n", ["line 4", "nmae"]),
        ("rulez: []\n", ["line 3", "rulez"]),
        ("selection: sometimes\n", ["line 3", "sometimes"]),
        (
            "rules: [{deny: {}, ambient: {}}]\n",
            ["rules[0]", "exactly one"],
        ),
        ("rotation: {maxAge: soon}\n", ["line 3", "soon"]),
        ("secret: {name: Pull}\n", ["line 3", "Pull"]),
        (
            "provision: [{registries: [quay.io]}]\n",
            ["provision[0]", "quay.io"],
        ),
    ] {
        let config = format!("{head}{rest}");
        for flags in [&["--print-config"][..], &[]] {
            let output = serve(Some(&config), flags);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{errors}");
            assert!(errors.contains("config.yaml"), "{errors}");
            assert!(
                what.iter().all(|what| errors.contains(what)),
                "{what:?}: {errors}"
            );
        }
    }
    let output = serve(None, &["--no-such-flag"]);
    assert_eq!(output.status.code(), Some(2));
    Ok(())
}
