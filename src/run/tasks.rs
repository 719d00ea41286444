//! The background tasks that keep memory up to date, and the election.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::lifecycle::Tasks;
use crate::cluster::events::EventWriter;
use crate::cluster::lease::Elector;
use crate::cluster::watch::{Synced, announcement};
use crate::engine::Engine;
use crate::leader;
use crate::token::sync;

/// The task that ends by itself, once it has released the lease.
pub(super) const ELECTION: &str = "election";

/// Starts the watches, the writer of Events, the election and the loops of the leader. `resign`
/// says true when the lease is to be released. Returns the first complete lists of all watches.
pub(super) fn start(
    engine: &Arc<Engine>,
    event_writer: EventWriter,
    resign: watch::Receiver<bool>,
    tasks: &mut Tasks,
) -> Vec<Synced> {
    tasks.own("events", event_writer.run());
    let mut synced = Vec::new();
    let mut announce = || {
        let (announce, sync) = announcement();
        synced.push(sync);
        announce
    };
    let (first_list, this) = (announce(), engine.clone());
    let (change, changes) = mpsc::unbounded_channel();
    tasks.own("ledger", async move {
        let client = this.clients.watch.clone();
        let name = this.live.snapshot().secret.name.clone();
        this.ledger
            .watch(client, &name, first_list, |target, what| {
                this.pull_secrets.reconsider(&target);
                // The other end lives as long as the process.
                let _ = change.send((target, what));
            })
            .await;
    });
    let (first_list, this) = (announce(), engine.clone());
    tasks.own("namespaces", async move {
        let client = this.clients.watch.clone();
        this.namespaces.watch(client, first_list).await;
    });
    let (first_list, this) = (announce(), engine.clone());
    tasks.own("serviceaccounts", async move {
        let client = this.clients.watch.clone();
        this.service_accounts.watch(client, first_list).await;
    });
    let (first_list, this) = (announce(), engine.clone());
    tasks.own("tokens", async move {
        sync::run(&this.store, &this.supply, first_list).await;
    });

    let (elector, leads) = Elector::new(
        engine.clients.call.clone(),
        &engine.namespace,
        &engine.instance,
        engine.metrics.clone(),
    );
    let supply = engine.supply.clone();
    let is_unfit = move || supply.is_cut_off();
    tasks.own(
        ELECTION,
        take_part(elector, synced.clone(), resign, is_unfit),
    );
    tasks.own("leader", leader::run(engine.clone(), leads, changes));
    synced
}

/// Joins the election once every watch has its first list: a replica without them could lead and
/// do nothing.
async fn take_part(
    elector: Elector,
    mut ready: Vec<Synced>,
    mut resign: watch::Receiver<bool>,
    is_unfit: impl Fn() -> bool,
) {
    let seen = async {
        for sync in &mut ready {
            sync.synced().await;
        }
    };
    tokio::select! {
        _ = resign.wait_for(|resign| *resign) => return,
        () = seen => {}
    }
    elector.run(resign, is_unfit).await;
}

#[cfg(test)]
mod tests;
