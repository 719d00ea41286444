//! Clean-up.

use std::collections::HashSet;
use std::time::Duration;

use crate::scope::Scope;

/// A Secret that no pod names for so long is deleted.
pub fn period(_scope: &Scope) -> Duration {
    Duration::from_secs(35 * 24 * 60 * 60)
}

/// Runs after a sweep, which found these namespaces in use.
pub async fn run(_scope: &Scope, _in_use: &HashSet<Box<str>>) {}
