//! What the lease holder does: it renews tokens, keeps every pull Secret up to date, and serves the
//! pods and namespaces that admission could not serve. The other replicas [stand by](standby).
//!
//! Each loop is a file; clean-up runs after each sweep, and the deletion of missed pods beside the
//! watch of pods. The loops start when the lease is won and end, wherever they are, when it is lost:
//! each of their writes may be late or repeated. Repairs run in every replica, because they read the
//! changes that the ledger reports, but they act only while the replica leads.

mod attend;
mod backlog;
mod candidates;
mod cleanup;
mod failed_pulls;
mod kept_config;
mod missed;
mod missed_reports;
mod pod_reports;
mod pods;
mod provision;
mod recreate;
mod repairs;
mod reports;
mod rotation;
mod standby;
mod sweep;
mod term;
mod withdrawals;

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::info;

use self::backlog::Backlog;
use self::candidates::Candidates;
use self::missed::Missed;
use self::reports::Reports;
use self::term::Term;
use crate::engine::Engine;
use crate::pull_secret::ledger::Changed;

/// Starts every loop that runs for the whole term.
fn start(term: &Arc<Term>) -> JoinSet<()> {
    let mut loops = JoinSet::new();
    loops.spawn(rotation::run(term.clone()));
    loops.spawn(pods::run(term.clone()));
    loops.spawn(failed_pulls::run(term.clone()));
    loops.spawn(pod_reports::run(term.clone()));
    loops.spawn(missed_reports::run(term.clone()));
    loops.spawn(sweep::run(term.clone()));
    loops.spawn(provision::run(term.clone()));
    loops.spawn(withdrawals::run(term.clone()));
    loops.spawn(kept_config::run(term.clone()));
    loops
}

/// Runs the loops whenever this replica leads, and again with each configuration; ends when a loop
/// ends, which none does by itself.
pub(crate) async fn run(
    engine: Arc<Engine>,
    mut leads: watch::Receiver<bool>,
    mut changes: mpsc::UnboundedReceiver<Changed>,
) {
    let reports = Arc::new(Reports::default());
    let mut configurations = engine.live.changes();
    let mut was_leading = false;
    loop {
        configurations.mark_unchanged();
        let term = Arc::new(Term {
            engine: engine.clone(),
            reports: reports.clone(),
            candidates: Candidates::default(),
            backlog: Backlog::new(),
            missed: Missed::new(),
        });
        let is_leading = *leads.borrow_and_update();
        engine.wants.begin_term(is_leading);
        let mut loops = JoinSet::new();
        if was_leading && !is_leading {
            info!("not leading any more");
        }
        if is_leading {
            if !was_leading {
                info!("leading");
            }
            while changes.try_recv().is_ok() {} // the sweep checks everything anyway
            loops = start(&term);
        }
        was_leading = is_leading;
        // The receiver outlives the term, so the loop that reads it is part of this task.
        tokio::select! {
            changed = leads.changed() => if changed.is_err() { return },
            // The sender lives as long as the engine.
            _ = configurations.changed() => {}
            Some(_) = loops.join_next() => return,
            () = repairs::run(&term, &mut changes, is_leading) => return,
            () = standby::run(&engine), if !is_leading => return,
        }
    }
}
