//! Between the token store and the tokens of this process: both ways, by a watch of the store.

use std::collections::BTreeMap;

use ecr_pull_secrets_core::token::lifetime::Lifetime;
use ecr_pull_secrets_core::token::stored;
use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::watcher::{self, Event, watcher};

use super::store::{self, Store};
use super::supply::Supply;
use crate::clock;
use crate::cluster::watch::{Announce, follow};

/// Feeds the supply with what the store holds, and the store with what it lacks, until dropped.
///
/// An API server that forbids the watch has given its first answer: the process then serves without
/// the store, instead of never.
pub(crate) async fn run(store: &Store, supply: &Supply, announce: Announce) {
    let config = watcher::Config::default().fields(&format!("metadata.name={}", store::NAME));
    let answered = announce.clone();
    let events = watcher(store.watched(), config).inspect_err(move |error| {
        if is_refused(error) {
            answered.announce();
        }
    });
    let mut is_listed = false;
    let watching = follow("token stores", events, announce, |event| match event {
        Event::Init => is_listed = false,
        Event::InitApply(secret) | Event::Apply(secret) => {
            is_listed = true;
            exchange(&secret, store, supply);
        }
        Event::InitDone if is_listed => {}
        Event::InitDone | Event::Delete(_) => exchange(&Secret::default(), store, supply),
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

/// Whether the API server answered, and the same answer will come again: as without the Role.
fn is_refused(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status)) => {
            (400..500).contains(&status.code) && status.code != 429
        }
        _ => false,
    }
}
