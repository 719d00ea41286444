//! Variables and keys with the common misspellings: each has its cause at once, none is shown, and what is harmless works.

use std::sync::Arc;

use ecr_pull_secrets_core::cause::Cause;
use futures::future::join_all;

use super::{ask, assert_nothing_leaks, file, in_each_way, log, web_identity, without_keys};
use crate::frame::trials;
use crate::harness::namespace::Namespace;
use crate::harness::replica::Replica;
use crate::harness::{Outcome, World, review};

trials!(
    endpoint_without_scheme_shows_no_web_identity,
    misspelt_region_is_named_at_once,
    key_with_line_break_is_trimmed,
    key_with_other_fault_is_named,
    panic_of_a_library_is_logged_and_counted,
    broken_profile_is_named_with_its_line,
);

/// Asks each replica and checks the cause; all logs name `word`.
async fn assert_refused(
    world: &World,
    replicas: &[Replica],
    cause: Cause,
    word: &str,
    secrets: &[&str],
) {
    let namespace = Namespace::new(world).await;
    let region = namespace.region.name();
    let answers = replicas
        .iter()
        .map(|replica| ask(replica, &namespace, region));
    for (replica, answer) in replicas.iter().zip(join_all(answers).await) {
        assert_eq!(
            review::warnings(&answer),
            cause.warning(),
            "{}",
            replica.name
        );
        let (name, text) = log(replica);
        let lines = text
            .lines()
            .filter(|line| line.contains("cannot mint a token"));
        let lines: Vec<&str> = lines.collect();
        let is_named = |line: &&str| line.contains(cause.name()) && line.contains(word);
        assert!(lines.iter().any(is_named), "{name}: {word}: {lines:?}");
    }
    assert_nothing_leaks(world, replicas, secrets).await;
}

async fn endpoint_without_scheme_shows_no_web_identity(world: Arc<World>) -> Outcome {
    let token = web_identity("no-scheme");
    let path = file(&world, "no-scheme", &token);
    let replicas = in_each_way(&world, "no-scheme", |launch| {
        without_keys(launch)
            .env("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/puller")
            .env("AWS_WEB_IDENTITY_TOKEN_FILE", path.display().to_string())
            .env("AWS_ENDPOINT_URL_STS", "sts.eu-central-1.amazonaws.com")
    });
    let replicas = replicas.await;
    let cause = Cause::AwsSettingsInvalid;
    assert_refused(&world, &replicas, cause, "AWS_ENDPOINT_URL_STS", &[&token]).await;
    for replica in &replicas {
        assert!(log(replica).1.contains("an AWS variable is misspelt"));
    }
    Ok(())
}

async fn misspelt_region_is_named_at_once(world: Arc<World>) -> Outcome {
    let launch = without_keys(world.replica("misspelt-region"));
    let replica = launch.env("AWS_REGION", "eu central 1").start();
    replica.ready().await;
    let cause = Cause::AwsSettingsInvalid;
    assert_refused(&world, &[replica], cause, "AWS_REGION", &[]).await;
    Ok(())
}

async fn key_with_line_break_is_trimmed(world: Arc<World>) -> Outcome {
    let id = format!("{}\n", aws_stand_in::DEFAULT_ACCESS_KEY_ID);
    let secret = format!("\"{}\"", aws_stand_in::DEFAULT_SECRET_ACCESS_KEY);
    let launch = world.replica("line-break").log("info", "json");
    let replica = launch
        .env("AWS_ACCESS_KEY_ID", id)
        .env("AWS_SECRET_ACCESS_KEY", secret)
        .start();
    replica.ready().await;
    let namespace = Namespace::new(&world).await;
    let answer = ask(&replica, &namespace, namespace.region.name()).await;
    assert_eq!(review::warnings(&answer), "");
    namespace.assert_opens().await;
    assert_json(&replica);
    Ok(())
}

async fn key_with_other_fault_is_named(world: Arc<World>) -> Outcome {
    for (number, secret) in ["${AWS_SECRET}", "wJalrXUt nFEMI", "wJalrXUt\"nFEMI"]
        .into_iter()
        .enumerate()
    {
        let launch = world.replica(&format!("odd-key-{number}"));
        let replica = launch.env("AWS_SECRET_ACCESS_KEY", secret).start();
        replica.ready().await;
        let cause = Cause::AwsCredentialsUnreadable;
        let word = "the environment variable AWS_SECRET_ACCESS_KEY holds";
        assert!(!log(&replica).1.contains(secret));
        assert_refused(&world, &[replica], cause, word, &[]).await;
    }
    Ok(())
}

/// Fails unless each line of the log is an object.
fn assert_json(replica: &Replica) {
    let (name, text) = log(replica);
    for line in text.lines() {
        let parsed = serde_json::from_str::<serde_json::Value>(line);
        assert!(parsed.is_ok(), "{name}: {line}");
        assert!(!line.contains("panicked"), "{name}: {line}");
    }
}

async fn panic_of_a_library_is_logged_and_counted(world: Arc<World>) -> Outcome {
    // The library takes it for granted that the file has a certificate.
    let path = file(&world, "odd-roots", "c2VjcmV0IGtleQBFOGk5cC8v");
    let replicas = in_each_way(&world, "odd-roots", |launch| {
        launch.env("SSL_CERT_FILE", path.display().to_string())
    });
    let replicas = replicas.await;
    let secrets = ["c2VjcmV0IGtleQBFOGk5cC8v"];
    assert_refused(
        &world,
        &replicas,
        Cause::MintPanicked,
        "a task panicked",
        &secrets,
    )
    .await;
    for replica in &replicas {
        let (name, text) = log(replica);
        let mut lines = text.lines().filter(|line| line.contains("a task panicked"));
        let is_placed = lines.any(|line| line.contains("place") && line.contains(".rs:"));
        assert!(is_placed, "{name}");
        assert!(
            !text.contains("RUST_BACKTRACE"),
            "{name}: the panic is printed as well"
        );
        assert!(replica.metric("ecr_pull_secrets_panics_total", &[]).await >= 1.0);
        // The process goes on.
        replica.ready().await;
    }
    Ok(())
}

async fn broken_profile_is_named_with_its_line(world: Arc<World>) -> Outcome {
    let profile = "[default]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key c2VjcmV0IGtleQBFOGk5cC8v\n";
    let path = file(&world, "broken-profile", profile);
    let replicas = in_each_way(&world, "broken-profile", |launch| {
        without_keys(launch).env("AWS_SHARED_CREDENTIALS_FILE", path.display().to_string())
    });
    let replicas = replicas.await;
    let secrets = ["c2VjcmV0IGtleQBFOGk5cC8v"];
    let cause = Cause::AwsCredentialsUnreadable;
    assert_refused(
        &world,
        &replicas,
        cause,
        "on line 3: Expected an '=' sign",
        &secrets,
    )
    .await;
    Ok(())
}
