//! The configuration file changes while replicas run, and replicas start with a file that is invalid.

use std::sync::Arc;

use aws_stand_in::spec::{Fault, Role};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::belief::{calls, expires, lives, renewed};
use crate::frame::trial;
use crate::harness::namespace::{Namespace, SECRET, references};
use crate::harness::replica::Replica;
use crate::harness::world::OURS;
use crate::harness::{LIMIT, Outcome, World, docker, eventually};

/// The tests of this module. Each has a world of its own, and waits most of the time.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "reload::changed_file_comes_into_force",
            world,
            changed_file_comes_into_force,
        ),
        trial(
            "reload::rules_that_change_during_a_mint_win",
            world,
            rules_that_change_during_a_mint_win,
        ),
        trial(
            "reload::invalid_file_changes_nothing",
            world,
            invalid_file_changes_nothing,
        ),
        trial(
            "reload::invalid_file_at_start_is_replaced",
            world,
            invalid_file_at_start_is_replaced,
        ),
    ]
}

async fn world() -> Arc<World> {
    World::builder().log_level("info").start().await
}

/// A file with a misspelt field in line 3.
const INVALID: &str = "apiVersion: ecr-pull-secrets.dev/v1\nkind: Config\nselektion: opt-in\n";

/// A configuration that denies namespaces, if any, and has further fields, which may be other rules.
fn config(denied: &[&Namespace], fields: Value) -> String {
    let names: Vec<_> = denied.iter().map(|namespace| &namespace.name).collect();
    let rules = if names.is_empty() {
        json!([{ "ambient": {} }])
    } else {
        json!([{ "namespaces": names, "deny": {} }, { "ambient": {} }])
    };
    let mut config = json!({
        "apiVersion": "ecr-pull-secrets.dev/v1",
        "kind": "Config",
        "rules": rules,
    });
    let fields = fields.as_object().cloned().unwrap_or_default();
    config.as_object_mut().expect("an object").extend(fields);
    config.to_string()
}

async fn reloads(replica: &Replica, result: &str) -> f64 {
    let label = format!("result=\"{result}\"");
    let name = "ecr_pull_secrets_config_reloads_total";
    replica.metric(name, &[&label]).await
}

async fn is_current(replica: &Replica) -> bool {
    let name = "ecr_pull_secrets_config_last_reload_successful";
    replica.metric(name, &[]).await > 0.0
}

/// Waits until the replica has noticed this many files, with this result.
async fn notices(replica: &Replica, result: &str, files: f64) {
    eventually("the replica reads the file", LIMIT, || async {
        (reloads(replica, result).await >= files).then_some(())
    })
    .await;
}

fn lines(replica: &Replica, message: &str) -> Vec<Value> {
    let log = std::fs::read_to_string(&replica.log).expect("a log");
    let with_message = log.lines().filter(|line| line.contains(message));
    with_message
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// The Events that say the file is invalid: their texts.
async fn events(world: &World) -> Vec<String> {
    let events: Api<Event> = Api::namespaced(world.cluster.client.clone(), OURS);
    let params = ListParams::default().fields("reason=ConfigurationInvalid");
    let events = events.list(&params).await.expect("Events");
    let notes = events.items.into_iter().map(|event| event.note);
    notes.flatten().collect()
}

async fn kept(world: &World) -> Option<String> {
    let secrets: Api<Secret> = Api::namespaced(world.cluster.client.clone(), OURS);
    let store = secrets.get_opt("ecr-pull-secrets-tokens").await.ok()??;
    let value = store.data?.remove("config.yaml")?;
    String::from_utf8(value.0).ok()
}

async fn changed_file_comes_into_force(world: Arc<World>) -> Outcome {
    let [first, second] = [Namespace::new(&world).await, Namespace::new(&world).await];
    let replica = world.add_replica(|launch| launch.config(&config(&[], json!({}))));
    world.route().await;
    let short_lived = Namespace::new(&world).await;
    lives(&short_lived.region, 20).await;
    for namespace in [&first, &second, &short_lived] {
        let pod = namespace.pod("before", &namespace.image("app")).await;
        assert_eq!(references(&pod), [SECRET]);
        namespace.assert_opens().await;
    }

    let renamed = json!({ "secret": { "name": "another" }, "selection": "opt-out" });
    replica.configure(&config(&[&first], renamed));
    notices(&replica, "ok", 1.0).await;
    let denied = first.pod("after", &first.image("app")).await;
    assert_eq!(references(&denied), [""; 0]);
    // RBAC, guards and watches know the old name.
    let allowed = second.pod("after", &second.image("app")).await;
    assert_eq!(references(&allowed), [SECRET]);
    let waiting = lines(&replica, "changes with the next restart");
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0]["field"], "secret.name");
    let ended = lines(&replica, "ends the renewal of pull secrets");
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0]["pull_secrets"], 1);

    // A namespace that counts no more keeps its token until that expires.
    renewed(&short_lived, 1).await;
    replica.configure(&config(&[], json!({ "selection": "opt-in" })));
    notices(&replica, "ok", 2.0).await;
    expires(&short_lived).await;
    assert_eq!(reloads(&replica, "error").await, 0.0);
    world.stop();
    Ok(())
}

async fn rules_that_change_during_a_mint_win(world: Arc<World>) -> Outcome {
    let [namespace, other] = [Namespace::new(&world).await, Namespace::new(&world).await];
    let role = Role {
        arn: "arn:aws:iam::210987654321:role/next".to_owned(),
        external_id: None,
        trusts: vec![aws_stand_in::DEFAULT_ARN.to_owned()],
        web_identities: Vec::new(),
        max_session_seconds: 3600,
    };
    world.aws.role(&role).await?;
    let replica = world.add_replica(|launch| launch.config(&config(&[], json!({}))));
    world.route().await;
    // Longer than a replica takes to see the file, shorter than a call may take.
    let fault = Fault::Delay { milliseconds: 4000 };
    namespace.region.fault(fault).await?;
    let changes = async {
        eventually("AWS is asked", LIMIT, || async {
            (calls(&namespace.region).await > 0).then_some(())
        })
        .await;
        let rules = json!([{ "assumeRole": { "roleArn": role.arn } }]);
        replica.configure(&config(&[], json!({ "rules": rules })));
        notices(&replica, "ok", 1.0).await;
        let is_in_time = namespace.secret().await.is_none();
        namespace.region.clear_faults().await.expect("no faults");
        // It joins the work that began by the old rules.
        namespace.pod("late", &other.image("app")).await;
        is_in_time
    };
    let image = namespace.image("app");
    let (_, is_in_time) = tokio::join!(namespace.pod("pod", &image), changes);
    let names_the_role = |secret: &Secret| docker::annotation(secret, "identity") == role.arn;
    eventually("both registries, by the new rules", LIMIT, || async {
        let secret = namespace.secret().await?;
        let holds_both = docker::hosts(&secret).len() == 2;
        // The leader corrects an entry that was written before the rules changed, and no other.
        assert!(!is_in_time || names_the_role(&secret));
        (holds_both && names_the_role(&secret)).then_some(())
    })
    .await;
    namespace.assert_opens().await;
    world.stop();
    Ok(())
}

async fn invalid_file_changes_nothing(world: Arc<World>) -> Outcome {
    let denied = Namespace::new(&world).await;
    let good = config(&[&denied], json!({}));
    let replica = world.add_replica(|launch| launch.config(&good));
    world.route().await;
    assert!(is_current(&replica).await);

    replica.configure(INVALID);
    notices(&replica, "error", 1.0).await;
    assert!(!is_current(&replica).await);
    let pod = denied.pod("pod", &denied.image("app")).await;
    assert_eq!(references(&pod), [""; 0], "the rules stay in force");
    let note = eventually("an Event", LIMIT, || async {
        events(&world).await.into_iter().next()
    })
    .await;
    for place in ["line 3", "selektion"] {
        assert!(note.contains(place), "{note}");
    }
    let told = lines(&replica, "the configuration file is invalid");
    assert!(
        told.iter()
            .any(|line| line["cause"] == "configuration_invalid")
    );

    replica.configure(&good);
    notices(&replica, "ok", 1.0).await;
    assert!(is_current(&replica).await);
    world.stop();
    Ok(())
}

async fn invalid_file_at_start_is_replaced(world: Arc<World>) -> Outcome {
    // A first installation has nothing to fall back on.
    let first = world.replica("first").config(INVALID).start();
    assert_eq!(first.ended().await, 2);

    let denied = Namespace::new(&world).await;
    let good = config(&[&denied], json!({}));
    let leader = world.add_replica(|launch| launch.config(&good));
    eventually("the configuration is kept", LIMIT, || async {
        kept(&world)
            .await
            .filter(|kept| kept.contains(&denied.name))
    })
    .await;
    leader.terminate();
    leader.ended().await;
    world.take_replicas();

    let replica = world.add_replica(|launch| launch.config(INVALID));
    world.route().await;
    let pod = denied.pod("pod", &denied.image("app")).await;
    assert_eq!(
        references(&pod),
        [""; 0],
        "the last good rules are in force"
    );
    notices(&replica, "error", 1.0).await;
    assert!(!is_current(&replica).await);

    replica.configure(&config(&[], json!({})));
    notices(&replica, "ok", 1.0).await;
    let pod = denied.pod("later", &denied.image("app")).await;
    assert_eq!(references(&pod), [SECRET]);
    eventually("the new configuration is kept", LIMIT, || async {
        kept(&world)
            .await
            .filter(|kept| !kept.contains(&denied.name))
    })
    .await;
    world.stop();
    Ok(())
}
