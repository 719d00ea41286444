//! What the lease holder does: it renews tokens, keeps every pull Secret up with them, and sees to
//! the pods and namespaces that admission could not serve. The others [stand by](standby).
//!
//! Each loop is a file. All of them start when the lease is won and end, wherever they are, when it
//! is lost: every write that they make is safe to be made late or twice.

pub mod attend;
pub mod cleanup;
pub mod pods;
pub mod provision;
pub mod recreate;
pub mod repairs;
pub mod reports;
pub mod rotation;
pub mod standby;
pub mod sweep;

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::info;

use crate::engine::Scope;
use crate::pull_secret::ledger::Change;

/// A namespace whose Secret changed, and how.
pub type Changed = (Box<str>, Change);

/// Runs the loops whenever this replica leads; ends when a loop ends, which none does by itself.
pub async fn run(
    scope: Arc<Scope>,
    mut leads: watch::Receiver<bool>,
    mut changes: mpsc::UnboundedReceiver<Changed>,
) {
    loop {
        let mut loops = JoinSet::new();
        if *leads.borrow_and_update() {
            info!("leading");
            while changes.try_recv().is_ok() {} // the sweep looks at everything anyway
            loops.spawn(rotation::run(scope.clone()));
            loops.spawn(pods::run(scope.clone()));
            loops.spawn(sweep::run(scope.clone()));
            loops.spawn(provision::run(scope.clone()));
        }
        // The receiver outlives the leadership, so the loop that reads it is part of this task.
        let is_leading = !loops.is_empty();
        tokio::select! {
            changed = leads.changed() => if changed.is_err() { return },
            Some(_) = loops.join_next() => return,
            () = repairs::run(&scope, &mut changes, is_leading) => return,
            () = standby::run(&scope), if !is_leading => return,
        }
        if is_leading {
            info!("not leading any more");
        }
    }
}
