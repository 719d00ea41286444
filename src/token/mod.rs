//! Tokens of ECR: what this process holds, and what all replicas share.

mod slot;
pub(crate) mod store;
mod supplied;
pub(crate) mod supply;
pub(crate) mod sync;
mod turns;
