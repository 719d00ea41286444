//! Every variable and field that names an endpoint or a proxy, with each common misspelling. The cause names it at once, and
//! no log holds a part of the credentials that were at hand.

use std::sync::Arc;

use ecr_pull_secrets_core::aws::value::ValueFault;
use ecr_pull_secrets_core::cause::Cause;
use futures::StreamExt as _;
use futures::stream::iter;
use serde_json::json;

use super::{LOGGINGS, ask, assert_nothing_in, file, log, texts, web_identity, without_keys};
use crate::frame::trials;
use crate::harness::launch::Launch;
use crate::harness::namespace::Namespace;
use crate::harness::replica::Replica;
use crate::harness::{Outcome, World, review};

trials!(
    misspelt_endpoint_is_named_and_leaks_nothing,
    misspelt_proxy_is_named_and_leaks_nothing,
    proxy_for_the_kubeconfig_is_not_shown,
    misspelt_configured_endpoint_ends_the_replica,
);

/// Replicas that run at a time.
const AT_A_TIME: usize = 4;

const ROLE: &str = "arn:aws:iam::123456789012:role/puller";

/// From where a replica has its credentials, and so what it would send to the endpoint.
#[derive(Clone, Copy)]
enum Credentials {
    WebIdentity,
    Container,
    Metadata,
    /// Keys, which sign a call for the role of a rule.
    Role,
}

/// Each variable, a valid value, and who would send credentials there.
const ENDPOINTS: [(&str, &str, Credentials); 7] = [
    (
        "AWS_ENDPOINT_URL",
        "https://vpce.example.com",
        Credentials::WebIdentity,
    ),
    (
        "AWS_ENDPOINT_URL_ECR",
        "https://api.ecr.eu-central-1.amazonaws.com",
        Credentials::WebIdentity,
    ),
    (
        "AWS_ENDPOINT_URL_STS",
        "https://sts.eu-central-1.amazonaws.com",
        Credentials::WebIdentity,
    ),
    (
        "AWS_ENDPOINT_URL_STS",
        "https://sts.eu-central-1.amazonaws.com",
        Credentials::Role,
    ),
    (
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "http://169.254.170.23/v1/credentials",
        Credentials::Container,
    ),
    (
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "/v2/credentials",
        Credentials::Container,
    ),
    (
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "http://169.254.169.254",
        Credentials::Metadata,
    ),
];

/// Variables with a misspelling of which the SDK once logged what it sends there. They are tried with each way to log.
const SEEN_LEAKING: [&str; 2] = ["AWS_ENDPOINT_URL_STS", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];

/// The misspellings of a URL or of a path, and what the cause says about each.
fn misspellings(valid: &str) -> [(String, ValueFault); 6] {
    let is_path = valid.starts_with('/');
    let (start, fault) = if is_path {
        ("/", ValueFault::Path)
    } else {
        ("://", ValueFault::Url)
    };
    let at = valid.find(start).expect("a URL or a path") + start.len();
    let (start, rest) = valid.split_at(at);
    [
        (rest.to_owned(), fault),
        (String::new(), ValueFault::Blank),
        (" ".to_owned(), ValueFault::Blank),
        (format!("{valid}\n"), ValueFault::Space),
        (format!("\"{valid}\""), ValueFault::Quote),
        (format!("{start}${{ENDPOINT}}"), ValueFault::Unexpanded),
    ]
}

/// Gives a replica its credentials.
fn identified(launch: Launch, credentials: Credentials, token: &str) -> Launch {
    match credentials {
        Credentials::WebIdentity => without_keys(launch)
            .env("AWS_ROLE_ARN", ROLE)
            .env("AWS_WEB_IDENTITY_TOKEN_FILE", token),
        Credentials::Container => {
            without_keys(launch).env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token)
        }
        Credentials::Metadata => without_keys(launch).env("AWS_EC2_METADATA_DISABLED", "false"),
        Credentials::Role => launch.config(
            &json!({
                "apiVersion": "ecr-pull-secrets.dev/v1",
                "kind": "Config",
                "rules": [{ "assumeRole": { "roleArn": ROLE } }],
            })
            .to_string(),
        ),
    }
}

/// Fails unless the replica's log has a line with all these words.
fn assert_logged(replica: &Replica, words: &[&str]) {
    let (name, text) = log(replica);
    // The text of a fault has no character that JSON escapes.
    let mut lines = text.lines();
    let is_there = lines.any(|line| words.iter().all(|word| line.contains(word)));
    assert!(is_there, "{name}: no line with {words:?}");
}

async fn misspelt_endpoint_is_named_and_leaks_nothing(world: Arc<World>) -> Outcome {
    let token = web_identity("endpoints");
    let path = file(&world, "endpoints", &token).display().to_string();
    let namespace = Namespace::new(&world).await;
    let cases = ENDPOINTS
        .into_iter()
        .flat_map(|(name, valid, credentials)| {
            let misspelt = misspellings(valid).into_iter();
            misspelt.map(move |(value, fault)| (name, value, fault, credentials))
        });
    let cases = cases.enumerate().flat_map(|(number, case)| {
        let loggings = if SEEN_LEAKING.contains(&case.0) {
            LOGGINGS.to_vec()
        } else {
            vec![LOGGINGS[number % LOGGINGS.len()]]
        };
        loggings
            .into_iter()
            .map(move |logging| (case.clone(), logging))
    });
    let trials = cases.enumerate().map(|(number, (case, (level, format)))| {
        let (name, value, fault, credentials) = case;
        let (world, namespace, path) = (&world, &namespace, &path);
        async move {
            let launch = world.replica(&format!("endpoint-{number}-{name}"));
            let launch = identified(launch, credentials, path).log(level, format);
            let replica = launch.env(name, value).start();
            replica.ready().await;
            let answer = ask(&replica, namespace, namespace.region.name()).await;
            let cause = Cause::AwsSettingsInvalid;
            assert_eq!(
                review::warnings(&answer),
                cause.warning(),
                "{}",
                replica.name
            );
            let detail = format!("the environment variable {name} {fault}");
            for event in ["an AWS variable is misspelt", "cannot mint a token"] {
                assert_logged(&replica, &[event, cause.name(), &detail]);
            }
            texts(&replica).await
        }
    });
    let trials: Vec<_> = trials.collect();
    let texts: Vec<_> = iter(trials).buffer_unordered(AT_A_TIME).collect().await;
    assert_eq!(texts.len(), 3 * 6 * 4 + 4 * 6);
    assert_nothing_in(&world, &texts.concat(), &[&token]).await;
    Ok(())
}

/// A proxy with a password, and its misspellings.
fn proxies(password: &str) -> [(String, ValueFault); 5] {
    let proxy = format!("http://user:{password}@proxy.example.com:3128");
    [
        (" ".to_owned(), ValueFault::Blank),
        (format!("{proxy}\n"), ValueFault::Space),
        (format!("\"{proxy}\""), ValueFault::Quote),
        (
            format!("http://user:{password}@${{PROXY}}"),
            ValueFault::Unexpanded,
        ),
        (format!("http://user:{password}@:3128"), ValueFault::Url),
    ]
}

/// 40 random characters.
fn password() -> String {
    web_identity("").chars().rev().take(40).collect()
}

async fn misspelt_proxy_is_named_and_leaks_nothing(world: Arc<World>) -> Outcome {
    let password = password();
    let namespace = Namespace::new(&world).await;
    let cases = ["HTTP_PROXY", "ALL_PROXY"].into_iter().flat_map(|name| {
        let misspelt = proxies(&password).into_iter();
        misspelt.map(move |(value, fault)| (name, value, fault))
    });
    let cases = cases.zip(LOGGINGS.into_iter().cycle()).enumerate();
    let trials = cases.map(|(number, ((name, value, fault), (level, format)))| {
        let (world, namespace) = (&world, &namespace);
        async move {
            let launch = world.replica(&format!("proxy-{number}-{name}"));
            let replica = launch.log(level, format).env(name, value).start();
            replica.ready().await;
            // The call goes to this machine, and so takes no proxy.
            let answer = ask(&replica, namespace, namespace.region.name()).await;
            assert_eq!(review::warnings(&answer), "", "{}", replica.name);
            let detail = format!("the environment variable {name} {fault}");
            let cause = Cause::AwsSettingsInvalid.name();
            assert_logged(&replica, &["an AWS variable is misspelt", cause, &detail]);
            texts(&replica).await
        }
    });
    let trials: Vec<_> = trials.collect();
    let texts: Vec<_> = iter(trials).buffer_unordered(AT_A_TIME).collect().await;
    assert_eq!(texts.len(), 10);
    assert_nothing_in(&world, &texts.concat(), &[&password]).await;
    Ok(())
}

/// The client of the API server takes no proxy: with a kubeconfig, `HTTPS_PROXY` ends the process.
async fn proxy_for_the_kubeconfig_is_not_shown(world: Arc<World>) -> Outcome {
    let password = password();
    let valid = format!("http://user:{password}@proxy.example.com:3128");
    let misspelt = proxies(&password).into_iter().map(|(value, _)| value);
    for (number, value) in misspelt.chain([valid]).enumerate() {
        let launch = world.replica(&format!("kubeconfig-proxy-{number}"));
        let replica = launch.env("HTTPS_PROXY", value).start();
        let code = replica.ended().await;
        assert!([2, 3].contains(&code), "{}: {code}", replica.name);
        assert_logged(&replica, &["ecr-pull-secrets: cannot ", ": ", "roxy"]);
        assert_nothing_in(&world, &[log(&replica)], &[&password]).await;
    }
    Ok(())
}

/// As at a first installation: in this namespace no replica has kept a good configuration.
async fn misspelt_configured_endpoint_ends_the_replica(world: Arc<World>) -> Outcome {
    let token = web_identity("configured");
    let path = file(&world, "configured", &token).display().to_string();
    let cases = ["ecr", "sts"].into_iter().flat_map(|field| {
        let misspelt = misspellings("https://vpce.example.com").into_iter();
        misspelt.map(move |(value, fault)| (field, value, fault))
    });
    let trials = cases.enumerate().map(|(number, (field, value, fault))| {
        let config = json!({
            "apiVersion": "ecr-pull-secrets.dev/v1",
            "kind": "Config",
            "endpoints": { "eu-central-1": { field: value } },
        });
        let launch = world.replica(&format!("endpoints-{number}"));
        let launch = launch.env("ECR_PULL_SECRETS_NAMESPACE", "first-installation");
        let (level, format) = LOGGINGS[number % LOGGINGS.len()];
        let launch = identified(launch, Credentials::WebIdentity, &path).log(level, format);
        async move {
            let replica = launch.config(&config.to_string()).start();
            assert_eq!(replica.ended().await, 2, "{config}");
            let detail = format!("endpoints.eu-central-1.{field} {fault}");
            assert_logged(&replica, &[".yaml", &detail]);
            log(&replica)
        }
    });
    let trials: Vec<_> = trials.collect();
    let ended: Vec<_> = iter(trials).buffer_unordered(AT_A_TIME).collect().await;
    assert_eq!(ended.len(), 12);
    assert_nothing_in(&world, &ended, &[&token]).await;
    Ok(())
}
