//! Each source of credentials and each outcome of a rule, in each partition: the principal that minted, the
//! region, and how often.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use aws_stand_in::spec::{Action, CallCount, User};
use futures::future::join_all;
use serde_json::{Value, json};

use crate::frame::trials;
use crate::harness::launch::Launch;
use crate::harness::namespace::{ACCOUNT, Namespace, pod};
use crate::harness::{Outcome, World, review};
use crate::leaks::answers::role;
use crate::leaks::{file, web_identity, without_keys};

trials!(each_source_mints_in_each_partition);

/// The beginnings of regions, a partition each.
const PARTITIONS: [&str; 4] = ["", "cn-", "us-gov-", "eusc-"];
const DIRECTORY: &str = "ECR_PULL_SECRETS_AWS_CREDENTIALS_DIR";

/// A way to credentials, or a rule about them.
struct Case {
    name: &'static str,
    /// A part of the ARN of the principal that mints; none where no token is to come.
    minted_by: Option<String>,
    /// Whether a role is assumed in each partition.
    assumes: bool,
}

/// A user of its own with keys.
async fn user(world: &World, name: &str) -> User {
    let user = User {
        access_key_id: format!("AKIA{:0>16}", name.to_uppercase().replace('-', "")),
        secret_access_key: format!("{:a<40}", fastrand::u64(..)),
        account: "123456789012".to_owned(),
        arn: format!("arn:aws:iam::123456789012:user/{name}"),
    };
    world.aws.user(&user).await.expect("a user");
    user
}

/// A directory with one file per key, as a mounted Secret has.
fn mount(world: &World, directory: &str, user: &User, is_lower_case: bool) -> PathBuf {
    let directory = world.directory().join(directory);
    fs::create_dir_all(&directory).expect("a directory");
    for (name, text) in [
        ("AWS_ACCESS_KEY_ID", &user.access_key_id),
        ("AWS_SECRET_ACCESS_KEY", &user.secret_access_key),
    ] {
        let name = if is_lower_case {
            name.to_lowercase()
        } else {
            name.to_owned()
        };
        fs::write(directory.join(name), text).expect("a file");
    }
    directory
}

fn config(rules: &Value) -> String {
    json!({ "apiVersion": "ecr-pull-secrets.dev/v1", "kind": "Config", "rules": rules }).to_string()
}

async fn cases(world: &Arc<World>) -> Vec<(Launch, Case)> {
    let keyless = |name: &str| without_keys(world.replica(&format!("source-{name}")));
    let in_directory =
        |launch: Launch, path: PathBuf| launch.env(DIRECTORY, path.display().to_string());
    let case = |name, launch, minted_by: &str, assumes| {
        let minted_by = Some(minted_by.to_owned());
        (
            launch,
            Case {
                name,
                minted_by,
                assumes,
            },
        )
    };
    let arn = |name: &str| format!("arn:aws:iam::210987654321:role/{name}");

    let of_environment = user(world, "of-environment").await;
    let environment = keyless("environment")
        .env("AWS_ACCESS_KEY_ID", &of_environment.access_key_id)
        .env("AWS_SECRET_ACCESS_KEY", &of_environment.secret_access_key);

    let of_mount = user(world, "of-mount").await;
    let mounted = in_directory(
        keyless("mounted"),
        mount(world, "source-mounted", &of_mount, true),
    );

    let of_file = user(world, "of-file").await;
    let directory = world.directory().join("source-file");
    fs::create_dir_all(&directory).expect("a directory");
    let (id, secret) = (&of_file.access_key_id, &of_file.secret_access_key);
    let text = format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
    fs::write(directory.join("credentials"), text).expect("a file");
    let shared_file = in_directory(keyless("file"), directory);

    let web = arn("of-web-identity");
    world
        .aws
        .role(&role(&web, "of-web-identity"))
        .await
        .expect("a role");
    let token = file(world, "of-web-identity", &web_identity("of-web-identity"));
    let web_identity = keyless("web-identity")
        .env("AWS_ROLE_ARN", &web)
        .env("AWS_WEB_IDENTITY_TOKEN_FILE", token.display().to_string());

    let of_rule = arn("of-rule");
    world.aws.role(&role(&of_rule, "")).await.expect("a role");
    let assumed = world.replica("source-role");
    let assumed = assumed.config(&config(&json!([{ "assumeRole": { "roleArn": of_rule } }])));

    // Beside the ambient keys, which no rule names.
    let of_name = user(world, "of-name").await;
    let ambient = mount(world, "source-named", &of_environment, false);
    mount(world, "source-named-further", &of_name, false);
    let rules = json!([{ "credentials": { "name": "further" } }]);
    let named = in_directory(keyless("named"), ambient).config(&config(&rules));

    let denied = world
        .replica("source-denied")
        .config(&config(&json!([{ "deny": {} }])));
    let none = Case {
        name: "denied",
        minted_by: None,
        assumes: false,
    };
    vec![
        case("environment", environment, ":user/of-environment", false),
        case("mounted", mounted, ":user/of-mount", false),
        case("file", shared_file, ":user/of-file", false),
        case(
            "web-identity",
            web_identity,
            ":assumed-role/of-web-identity/",
            false,
        ),
        case("role", assumed, ":assumed-role/of-rule/", true),
        case("named", named, ":user/of-name", false),
        (denied, none),
    ]
}

/// Fails unless the case minted once in a region of this partition, by the right principal, and asked STS as
/// often.
fn assert_minted(case: &Case, calls: &[CallCount], region: &str) {
    let mints = |action: &str| -> Vec<_> {
        let there = calls
            .iter()
            .filter(|call| call.region == region && call.action == action);
        there
            .map(|call| (call.principal.clone(), call.total, call.succeeded))
            .collect()
    };
    let name = format!("{} in {region}", case.name);
    let tokens = mints(Action::GetAuthorizationToken.name());
    match &case.minted_by {
        None => assert!(tokens.is_empty(), "{name}: {tokens:?}"),
        Some(by) => {
            let [(principal, total, succeeded)] = &tokens[..] else {
                panic!("{name}: {tokens:?}");
            };
            assert!(principal.contains(by), "{name}: {principal}");
            assert_eq!((*total, *succeeded), (1, 1), "{name}");
        }
    }
    let assumed: u64 = mints(Action::AssumeRole.name())
        .iter()
        .map(|(_, total, _)| total)
        .sum();
    assert_eq!(assumed, u64::from(case.assumes), "{name}");
}

async fn each_source_mints_in_each_partition(world: Arc<World>) -> Outcome {
    let runs = cases(&world).await.into_iter().map(|(launch, case)| {
        let world = world.clone();
        async move {
            let replica = launch.start();
            replica.ready().await;
            let namespace = Namespace::new(&world).await;
            for partition in PARTITIONS {
                let region = format!("{partition}source-{}-land-1", case.name);
                let host = world.aws.region(&region).host(ACCOUNT);
                let pod = pod("pod", &format!("{host}/app"));
                let answer = review::answer(&replica, &review::of_pod(&namespace.name, &pod)).await;
                let has_reference = review::adds_reference(&answer);
                assert_eq!(
                    has_reference,
                    case.minted_by.is_some(),
                    "{region}: {answer}"
                );
                assert_eq!(
                    review::warnings(&answer).is_empty(),
                    has_reference,
                    "{region}: {answer}"
                );
                let calls = world.aws.calls().await.expect("calls");
                assert_minted(&case, &calls, &region);
            }
        }
    });
    join_all(runs).await;
    // These calls are not signed, so they name no region.
    let calls = world.aws.calls().await?;
    let exchanges = calls.iter().filter(|call| {
        let action = Action::AssumeRoleWithWebIdentity.name();
        call.action == action && call.principal.ends_with(":role/of-web-identity")
    });
    let exchanged: u64 = exchanges.map(|call| call.total).sum();
    assert_eq!(exchanged, PARTITIONS.len() as u64);
    Ok(())
}
