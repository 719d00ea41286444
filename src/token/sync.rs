//! Between the token store and the tokens of this process: both ways, by a watch of the store.

use std::collections::BTreeMap;

use ecr_pull_secrets_core::token::lifetime::Lifetime;
use ecr_pull_secrets_core::token::stored;
use k8s_openapi::api::core::v1::Secret;

use super::store::{self, Store};
use super::supply::Supply;
use crate::clock;
use crate::cluster::watch::{Announce, follow_object};

/// Feeds the supply with what the store holds, and the store with what it lacks, until dropped.
///
/// An API server that forbids the watch has given its first answer: the process then serves without
/// the store, instead of never.
pub(crate) async fn run(store: &Store, supply: &Supply, announce: Announce) {
    let watched = store.watched();
    let watching = follow_object("token stores", watched, store::NAME, announce, |secret| {
        exchange(&secret.unwrap_or_default(), store, supply);
    });
    tokio::join!(watching, store.keep_writing());
}

fn exchange(secret: &Secret, store: &Store, supply: &Supply) {
    let mut lifetimes = BTreeMap::new();
    for (key, token) in store::tokens(secret) {
        lifetimes.insert(key.clone(), Lifetime::from(&token));
        supply.learn(key, token);
    }
    store.put_soon(stored::lacking(&lifetimes, supply.tokens(), clock::now()));
}
