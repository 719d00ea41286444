//! Tokens of ECR: what this process holds, and what all replicas share.

pub(crate) mod store;
pub(crate) mod supply;
pub(crate) mod sync;
