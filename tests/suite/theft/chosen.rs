//! Attempts in a further installation, whose values choose the guard of everything else and adoption by
//! annotation.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::OnceCell;

use super::account::Account;
use super::request::{REST, Row, SECRETS, Verdict, delete, force_apply, merge_patch};
use super::scene::{Scene, pull_secret};
use super::secrets::path;
use crate::harness::installation::Installation;
use crate::harness::namespace::SECRET;
use crate::harness::world::OURS;
use crate::harness::{LIMIT, World, eventually};

// Guards have no namespace: these are the names of the further ones.
/// Guard of Secrets.
pub const CHOSEN_SECRETS: &str = "chosen-guard-secrets";
const CHOSEN_REST: &str = "chosen-guard-rest";

static CHOSEN: OnceCell<Chosen> = OnceCell::const_new();

/// A guarded installation.
pub struct Chosen {
    /// Its account, with every right.
    pub account: Account,
}

impl Chosen {
    /// The one installation; the first caller makes it, and waits until its guards are in force.
    pub async fn get(world: &Arc<World>) -> &'static Self {
        CHOSEN.get_or_init(|| Self::new(world)).await
    }

    async fn new(world: &Arc<World>) -> Self {
        let values = "guard.rest=true,config.secret.adopt=annotated";
        let installation = Installation::new(world, values).await;
        let guards = installation.rendered("guard");
        let guards = guards.replace("ecr-pull-secrets-guard-", "chosen-guard-");
        installation.apply(&[guards]);
        let namespace = &installation.namespace.name;
        let account = Account::with_every_right(world, namespace);
        let label = json!({ "metadata": { "labels": { "x": "y" } } });
        let config_map = format!("/api/v1/namespaces/{OURS}/configmaps/{OURS}");
        for (request, guard) in [
            (
                merge_patch("the rest is guarded", &config_map, label),
                CHOSEN_REST,
            ),
            (
                force_apply(
                    "all Secrets are guarded",
                    &path(namespace, "loot"),
                    json!({
                        "apiVersion": "v1",
                        "kind": "Secret",
                        "metadata": { "name": "loot" },
                    }),
                ),
                CHOSEN_SECRETS,
            ),
        ] {
            eventually(&request.attempt, LIMIT, || async {
                let answer = account.send(&request).await;
                answer.message.contains(guard).then_some(())
            })
            .await;
        }
        Self { account }
    }

    /// The rows of further rights, each with its verdict here.
    pub fn further_rights(rows: Vec<Row>) -> Vec<Row> {
        let further = rows.into_iter().filter_map(|row| {
            let (policy, says) = row.with_rest?;
            let policy = match policy {
                REST => CHOSEN_REST,
                SECRETS => CHOSEN_SECRETS,
                other => panic!("{other} does not depend on the values"),
            };
            Some(Row {
                with_every_right: Verdict::Guard(policy, says),
                ..row
            })
        });
        further.collect()
    }

    /// Work of the program, which the further guards must admit.
    pub fn work(scene: &Scene) -> Vec<Row> {
        let Scene { empty, managed, .. } = scene;
        let ours = path(managed, SECRET);
        vec![
            force_apply("create ours", &path(empty, SECRET), pull_secret()).allowed(),
            force_apply("write ours", &ours, pull_secret()).allowed(),
            delete("clean up ours", &ours).allowed(),
        ]
    }
}
