//! The mandate of a write: what may go into a pull Secret, asked before each round of the write.
//!
//! If another writer is quicker, a write takes seconds. Meanwhile the namespace may opt out, or the
//! configuration may change.

use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::pull_secret::revision::Intent;

/// What allows a write.
pub trait Mandate: Send {
    /// What to write, as the namespace and the configuration are now.
    ///
    /// # Errors
    ///
    /// The cause for the caller, where nothing is to be written any more.
    fn review(&mut self) -> impl Future<Output = Result<Intent<'_>, Cause>> + Send;
}
