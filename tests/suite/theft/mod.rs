//! The theft: what somebody can do who has stolen our token.
//!
//! RBAC says which names our account may touch, the guard policies what may be written there.
//! Every attempt is a row with three verdicts: with our token; with our account and every right
//! bound to it, where only the guards are left; and with our rights and an account that the guards
//! do not bind, where only RBAC is left. The last two show that each row can fail: that behind the
//! barrier it names there is something to be had.

mod account;
mod beyond;
mod events;
mod registration;
mod request;
mod scene;
mod second;
mod secrets;
mod shared;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use serde_json::{Value, json};

use self::account::{Account, Unguarded};
use self::request::{Row, apply, get};
use self::scene::{Scene, pull_secret};
use self::second::Second;
use crate::frame::trials;
use crate::harness::namespace::{Namespace, SECRET};
use crate::harness::{LIMIT, Outcome, World, eventually};

trials!(
    no_other_secret_can_be_read,
    a_list_by_our_name_holds_nothing_else,
    no_other_secret_can_be_written,
    no_other_type_or_key_under_our_name,
    the_guards_let_our_own_work_through,
    the_token_store_holds_tokens_and_nothing_else,
    the_serving_certificate_is_one,
    no_lease_but_ours,
    nothing_in_our_registration_but_the_ca_bundle,
    events_only_in_our_own_name,
    the_guards_cannot_be_switched_off,
    no_other_identity,
    no_way_through_a_workload,
    what_is_new_has_its_type_and_only_missed_pods_are_deleted,
    no_rights_beyond,
    every_right_bound_to_us_gets_past_no_guard,
    without_the_guards_the_rights_of_rbac_are_enough,
    the_controller_token_trick_is_denied,
);

async fn no_other_secret_can_be_read(world: Arc<World>) -> Outcome {
    judge(&world, secrets::read).await
}

async fn no_other_secret_can_be_written(world: Arc<World>) -> Outcome {
    judge(&world, secrets::write).await
}

async fn no_other_type_or_key_under_our_name(world: Arc<World>) -> Outcome {
    judge(&world, secrets::shape).await
}

async fn the_guards_let_our_own_work_through(world: Arc<World>) -> Outcome {
    judge(&world, secrets::ours).await
}

async fn the_token_store_holds_tokens_and_nothing_else(world: Arc<World>) -> Outcome {
    judge(&world, shared::store).await
}

async fn the_serving_certificate_is_one(world: Arc<World>) -> Outcome {
    judge(&world, shared::certificate).await
}

async fn no_lease_but_ours(world: Arc<World>) -> Outcome {
    judge(&world, |_| shared::leases()).await
}

async fn nothing_in_our_registration_but_the_ca_bundle(world: Arc<World>) -> Outcome {
    judge(&world, registration::rows).await
}

async fn events_only_in_our_own_name(world: Arc<World>) -> Outcome {
    judge(&world, events::rows).await
}

async fn the_guards_cannot_be_switched_off(world: Arc<World>) -> Outcome {
    judge(&world, |_| beyond::guards()).await
}

async fn no_other_identity(world: Arc<World>) -> Outcome {
    judge(&world, beyond::identities).await
}

async fn no_way_through_a_workload(world: Arc<World>) -> Outcome {
    judge(&world, beyond::workloads).await
}

async fn no_rights_beyond(world: Arc<World>) -> Outcome {
    judge(&world, beyond::rights).await
}

/// First without guards, to see that RBAC alone would let it through.
async fn what_is_new_has_its_type_and_only_missed_pods_are_deleted(world: Arc<World>) -> Outcome {
    let second = Second::new(&world).await;
    let rows = [second.stores(), second.certificates(), second.pods().await].concat();
    let Second { account, .. } = &second;
    none(&account.wrong(&rows, |row| &row.without_guards).await)?;
    second.guard().await;
    none(&account.wrong(&rows, |row| &row.ours).await)
}

/// Tries a table with our token.
async fn judge(world: &Arc<World>, rows: impl FnOnce(&Scene) -> Vec<Row>) -> Outcome {
    let rows = rows(Scene::get(world).await);
    let ours = Account::ours(world).await;
    none(&ours.wrong(&rows, |row| &row.ours).await)
}

/// Fails with all that went wrong.
fn none(wrong: &[String]) -> Outcome {
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!("{} wrong:\n{}", wrong.len(), wrong.join("\n")).into())
}

fn every_row(scene: &Scene) -> Vec<Row> {
    let tables = [
        secrets::read(scene),
        secrets::write(scene),
        secrets::shape(scene),
        secrets::ours(scene),
        shared::store(scene),
        shared::certificate(scene),
        shared::leases(),
        registration::rows(scene),
        events::rows(scene),
        beyond::guards(),
        beyond::identities(scene),
        beyond::workloads(scene),
        beyond::rights(scene),
    ];
    tables.concat()
}

/// The second barrier without the first. It also shows what is behind RBAC's refusals.
async fn every_right_bound_to_us_gets_past_no_guard(world: Arc<World>) -> Outcome {
    let rows = every_row(Scene::get(&world).await);
    let account = Account::ours_with_every_right(&world);
    none(&account.wrong(&rows, |row| &row.with_every_right).await)
}

/// The first barrier without the second: whatever a guard denies, RBAC would let through.
async fn without_the_guards_the_rights_of_rbac_are_enough(world: Arc<World>) -> Outcome {
    let rows = every_row(Scene::get(&world).await);
    let namespace = Namespace::new(&world).await;
    let unguarded = Unguarded::new(&world, &namespace).await;
    let wrong = unguarded
        .account
        .wrong(&rows, |row| &row.without_guards)
        .await;
    unguarded.remove(&world).await;
    none(&wrong)
}

/// RBAC lets a list through by its field selector; what comes is for us to look at.
async fn a_list_by_our_name_holds_nothing_else(world: Arc<World>) -> Outcome {
    let scene = Scene::get(&world).await;
    let ours = Account::ours(&world).await;
    let list = |selector: &str| {
        let path = format!("/api/v1/secrets?fieldSelector={selector}");
        get("a list", &path)
    };
    let listed = ours.read(&list(&format!("metadata.name%3D{SECRET}"))).await;
    let items = listed["items"].as_array().expect("a list");
    assert!(
        items
            .iter()
            .any(|item| item["metadata"]["namespace"] == json!(scene.managed))
    );
    for item in items {
        assert_eq!(item["metadata"]["name"], SECRET);
    }
    // Authorization looks at the first of two names; nothing has both.
    let two = format!("metadata.name%3D{SECRET},metadata.name%3Dgold");
    let listed = ours.read(&list(&two)).await;
    assert_eq!(listed["items"], json!([]));
    Ok(())
}

/// In earnest: RBAC lets a Secret of our name be made, and a controller fills in what it asks for.
async fn the_controller_token_trick_is_denied(world: Arc<World>) -> Outcome {
    Scene::get(&world).await;
    let namespace = Namespace::new(&world).await;
    let gold = rich_account(&namespace).await;
    let mut asks = pull_secret();
    asks["type"] = json!("kubernetes.io/service-account-token");
    asks["metadata"]["annotations"] = json!({ "kubernetes.io/service-account.name": "rich" });
    asks["data"] = json!({});
    let path = secrets::path(&namespace.name, SECRET);
    let trick = apply("a token of a rich account", &path, asks)
        .in_earnest()
        .guarded(request::SECRETS, "of type kubernetes.io/dockerconfigjson");

    let trick = [trick];

    let ours = Account::ours(&world).await;
    none(&ours.wrong(&trick, |row| &row.ours).await)?;
    assert!(namespace.secret().await.is_none());

    // The same with the same rights, where the guards do not look: it is they who stop it.
    let unguarded = Unguarded::new(&world, &namespace).await;
    let wrong = unguarded
        .account
        .wrong(&trick, |row| &row.without_guards)
        .await;
    let stolen = match wrong[..] {
        [] => token(&unguarded.account, &path).await,
        _ => String::new(),
    };
    unguarded.remove(&world).await;
    none(&wrong)?;
    let thief = Account::with_token(&world, &namespace.name, "rich", &stolen).await;
    let gold = get("gold", &gold);
    eventually("the rights of the rich account", LIMIT, || async {
        let answer = thief.send(&gold).await;
        answer.status.is_success().then_some(())
    })
    .await;
    Ok(())
}

/// An account `rich` that may read the Secret `gold`; the path of that Secret.
async fn rich_account(namespace: &Namespace) -> String {
    let gold = json!({ "metadata": { "name": "gold" }, "stringData": { "k": "v" } });
    let _: Secret = namespace.create(gold).await.expect("a Secret");
    let rich = json!({ "metadata": { "name": "rich" } });
    let _: ServiceAccount = namespace.create(rich).await.expect("a ServiceAccount");
    let rule = json!({
        "apiGroups": [""],
        "resources": ["secrets"],
        "resourceNames": ["gold"],
        "verbs": ["get"],
    });
    let role = json!({ "metadata": { "name": "rich" }, "rules": [rule] });
    let _: Role = namespace.create(role).await.expect("a Role");
    let binding = json!({
        "metadata": { "name": "rich" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "rich" },
        "subjects": [{ "kind": "ServiceAccount", "name": "rich", "namespace": namespace.name }],
    });
    let _: RoleBinding = namespace.create(binding).await.expect("a RoleBinding");
    secrets::path(&namespace.name, "gold")
}

/// The token that a controller puts into a Secret, as read by an account.
async fn token(account: &Account, path: &str) -> String {
    let request = get("the Secret of our name", path);
    let token: Value = eventually("a token in the Secret", LIMIT, || async {
        let secret = account.read(&request).await;
        secret["data"].get("token").cloned()
    })
    .await;
    let bytes: k8s_openapi::ByteString = serde_json::from_value(token).expect("base64");
    String::from_utf8(bytes.0).expect("a token is text")
}
