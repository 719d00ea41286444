//! Rotation.

use std::sync::Arc;

use crate::scope::Scope;

/// Runs until it is dropped.
pub async fn run(_scope: Arc<Scope>) {
    std::future::pending::<()>().await;
}
