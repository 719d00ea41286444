//! Between the token store and the tokens of this process: both ways, by watches of the store.
//!
//! RBAC allows a watch of one name only, so each Secret of the store needs its own. A store of one
//! Secret, which most installations have, costs one watch; the others begin when the first Secret says
//! that there are more.

use ecr_pull_secrets_core::token::shards::NAMES;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Secret;

use super::store::{self, Store};
use super::supply::Supply;
use crate::cluster::watch::{Announce, Synced, announcement, follow_object};

/// Feeds the supply with what the store holds, and the store with what it lacks, until dropped.
///
/// An API server that forbids the watch has given its first answer: the process then serves without
/// the store, instead of never.
pub(crate) async fn run(store: &Store, supply: &Supply, announce: Announce) {
    let [first, others @ ..] = NAMES;
    let (first_read, first_synced) = announcement();
    let watching = follow(store, supply, 0, first, first_read);
    let further = async {
        let mut synced = first_synced;
        synced.synced().await;
        let mut spread = store.spread();
        if !*spread.borrow() {
            announce.announce();
        }
        // The store lives as long as its watches.
        let _ = spread.wait_for(|is_spread| *is_spread).await;
        let (reads, all_synced): (Vec<Announce>, Vec<Synced>) =
            others.iter().map(|_| announcement()).unzip();
        let watches = others.into_iter().zip(reads).enumerate();
        let watches =
            watches.map(|(index, (name, read))| follow(store, supply, index + 1, name, read));
        let complete = async {
            for mut synced in all_synced {
                synced.synced().await;
            }
            announce.announce();
        };
        tokio::join!(join_all(watches), complete);
    };
    tokio::join!(watching, further, store.keep_writing());
}

async fn follow(
    store: &Store,
    supply: &Supply,
    shard: usize,
    name: &'static str,
    announce: Announce,
) {
    let watched = store.watched();
    follow_object("token stores", watched, name, announce, |secret| {
        exchange(shard, &secret.unwrap_or_default(), store, supply);
    })
    .await;
}

fn exchange(shard: usize, secret: &Secret, store: &Store, supply: &Supply) {
    let tokens = store::tokens(secret);
    store.saw(shard, secret, &tokens);
    for (key, token) in tokens {
        supply.learn(key, token);
    }
    store.put_soon(store.lacking(supply.tokens()));
}
