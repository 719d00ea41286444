//! Tokens of ECR: what this process holds, and what all replicas share.

pub(crate) mod kept_config;
mod slots;
pub(crate) mod store;
mod supplied;
pub(crate) mod supply;
pub(crate) mod sync;
mod turns;
