//! The theft: what an attacker can do with our stolen token.
//!
//! RBAC limits the names that our account may touch. The guard policies limit what it may write there.
//! Every attempt is a row with three verdicts: with our token; with every right bound to our account,
//! where only the guards remain; and with our rights on an account that the guards do not bind, where
//! only RBAC remains. The last two show that each row can fail: without its barrier the attempt succeeds.

mod account;
mod adoption;
mod beyond;
mod chosen;
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
use self::chosen::{CHOSEN_SECRETS, Chosen};
use self::request::{Row, apply, get};
use self::scene::{Scene, pull_secret};
use self::second::Second;
use crate::belief::INJECT;
use crate::frame::trials;
use crate::harness::namespace::{Namespace, SECRET};
use crate::harness::{LIMIT, Outcome, World, eventually};
use crate::ownership::{ELSEWHERE, login, with_hosts};

trials!(
    no_other_secret_can_be_read,
    list_by_our_name_holds_nothing_else,
    no_other_secret_can_be_written,
    no_other_type_or_key_is_accepted,
    no_foreign_secret_becomes_ours,
    guards_admit_our_own_work,
    token_store_accepts_only_tokens,
    serving_certificate_accepts_nothing_else,
    no_other_lease_can_be_written,
    only_ca_bundle_of_our_registration_can_change,
    events_name_only_us,
    guards_cannot_be_disabled,
    no_other_identity_can_be_taken,
    no_workload_can_be_created,
    new_installation_is_guarded_too,
    no_further_right_is_granted,
    guards_hold_with_every_right_bound,
    chosen_guard_denies_every_further_right,
    annotated_adoption_is_enforced,
    label_then_delete_works_by_default,
    rbac_alone_admits_what_guards_deny,
    controller_token_trick_is_denied,
);

async fn no_other_secret_can_be_read(world: Arc<World>) -> Outcome {
    judge(&world, secrets::read).await
}

async fn no_other_secret_can_be_written(world: Arc<World>) -> Outcome {
    judge(&world, secrets::write).await
}

async fn no_other_type_or_key_is_accepted(world: Arc<World>) -> Outcome {
    judge(&world, secrets::shape).await
}

async fn no_foreign_secret_becomes_ours(world: Arc<World>) -> Outcome {
    judge(&world, adoption::rows).await
}

async fn guards_admit_our_own_work(world: Arc<World>) -> Outcome {
    judge(&world, secrets::ours).await
}

async fn token_store_accepts_only_tokens(world: Arc<World>) -> Outcome {
    judge(&world, shared::store).await
}

async fn serving_certificate_accepts_nothing_else(world: Arc<World>) -> Outcome {
    judge(&world, shared::certificate).await
}

async fn no_other_lease_can_be_written(world: Arc<World>) -> Outcome {
    judge(&world, |_| shared::leases()).await
}

async fn only_ca_bundle_of_our_registration_can_change(world: Arc<World>) -> Outcome {
    judge(&world, registration::rows).await
}

async fn events_name_only_us(world: Arc<World>) -> Outcome {
    judge(&world, events::rows).await
}

async fn guards_cannot_be_disabled(world: Arc<World>) -> Outcome {
    judge(&world, |_| beyond::guards()).await
}

async fn no_other_identity_can_be_taken(world: Arc<World>) -> Outcome {
    judge(&world, beyond::identities).await
}

async fn no_workload_can_be_created(world: Arc<World>) -> Outcome {
    judge(&world, beyond::workloads).await
}

async fn no_further_right_is_granted(world: Arc<World>) -> Outcome {
    judge(&world, beyond::rights).await
}

/// First without guards, to show that RBAC alone admits it.
async fn new_installation_is_guarded_too(world: Arc<World>) -> Outcome {
    let second = Second::new(&world).await;
    let adoptions = Second::adoptions(Scene::get(&world).await);
    let rows = [
        second.stores(),
        second.certificates(),
        second.pods().await,
        adoptions,
    ]
    .concat();
    let Second { account, .. } = &second;
    none(&account.wrong(&rows, |row| &row.without_guards).await)?;
    second.guard().await;
    none(&account.wrong(&rows, |row| &row.ours).await)?;
    label_then_delete(&world, account, Some(second::SECRETS)).await
}

/// Tries the rows with our token.
async fn judge(world: &Arc<World>, rows: impl FnOnce(&Scene) -> Vec<Row>) -> Outcome {
    let rows = rows(Scene::get(world).await);
    let ours = Account::ours(world).await;
    none(&ours.wrong(&rows, |row| &row.ours).await)
}

/// Fails if any row is wrong, and lists all of them.
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
        adoption::rows(scene),
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

/// The second barrier without the first. It also shows what RBAC alone refuses.
async fn guards_hold_with_every_right_bound(world: Arc<World>) -> Outcome {
    let rows = every_row(Scene::get(&world).await);
    let account = Account::ours_with_every_right(&world);
    none(&account.wrong(&rows, |row| &row.with_every_right).await)
}

/// `guard.rest`: the second barrier also covers what RBAC refuses.
async fn chosen_guard_denies_every_further_right(world: Arc<World>) -> Outcome {
    let scene = Scene::get(&world).await;
    let chosen = Chosen::get(&world).await;
    let mut rows = Chosen::further_rights(every_row(scene));
    rows.extend(Chosen::work(scene));
    none(
        &chosen
            .account
            .wrong(&rows, |row| &row.with_every_right)
            .await,
    )
}

/// `secret.adopt: annotated`: nothing but a user's annotation lets us label another owner's Secret.
async fn annotated_adoption_is_enforced(world: Arc<World>) -> Outcome {
    let scene = Scene::get(&world).await;
    let chosen = Chosen::get(&world).await;
    let rows = adoption::annotated(scene, CHOSEN_SECRETS);
    none(
        &chosen
            .account
            .wrong(&rows, |row| &row.with_every_right)
            .await,
    )?;
    label_then_delete(&world, &chosen.account, Some(CHOSEN_SECRETS)).await
}

/// `secret.adopt: ecr-only`: what SECURITY says that a thief can take.
async fn label_then_delete_works_by_default(world: Arc<World>) -> Outcome {
    Scene::get(&world).await;
    let ours = Account::ours(&world).await;
    label_then_delete(&world, &ours, None).await
}

/// Labels the login of another owner and then deletes it, in a namespace of its own.
async fn label_then_delete(
    world: &World,
    account: &Account,
    guard: Option<&'static str>,
) -> Outcome {
    let namespace = Namespace::with_labels(world, json!({ INJECT: "false" })).await;
    let theirs = with_hosts([(ELSEWHERE, login("robot"))]);
    namespace.foreign_secret("kubectl", theirs).await;
    let secret = secrets::path(&namespace.name, SECRET);
    for step in adoption::label_then_delete(&secret, guard) {
        none(&account.wrong(&[step], |row| &row.ours).await)?;
    }
    assert_eq!(namespace.secret().await.is_some(), guard.is_some());
    Ok(())
}

/// The first barrier without the second: RBAC admits everything that a guard denies.
async fn rbac_alone_admits_what_guards_deny(world: Arc<World>) -> Outcome {
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

/// RBAC admits a list with our name in its field selector. The test checks the result.
async fn list_by_our_name_holds_nothing_else(world: Arc<World>) -> Outcome {
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
    // Authorization checks the first of two names. No object has both.
    let two = format!("metadata.name%3D{SECRET},metadata.name%3Dgold");
    let listed = ours.read(&list(&two)).await;
    assert_eq!(listed["items"], json!([]));
    Ok(())
}

/// A real write: RBAC admits a Secret of our name, and a controller fills in the token that it asks for.
async fn controller_token_trick_is_denied(world: Arc<World>) -> Outcome {
    Scene::get(&world).await;
    let namespace = Namespace::new(&world).await;
    let gold = rich_account(&namespace).await;
    let mut asks = pull_secret();
    asks["type"] = json!("kubernetes.io/service-account-token");
    asks["metadata"]["annotations"] = json!({ "kubernetes.io/service-account.name": "rich" });
    asks["data"] = json!({});
    let path = secrets::path(&namespace.name, SECRET);
    let trick = apply("a token of a rich account", &path, asks)
        .for_real()
        .guarded(request::SECRETS, "of type kubernetes.io/dockerconfigjson");

    let trick = [trick];

    let ours = Account::ours(&world).await;
    none(&ours.wrong(&trick, |row| &row.ours).await)?;
    assert!(namespace.secret().await.is_none());

    // The same rights on an account without guards: so the guards stop it.
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

/// Creates an account `rich` that may read the Secret `gold`; the path of that Secret.
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

/// Waits for the token that a controller writes into a Secret, and reads it as an account.
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
