//! Tokens of ECR: who asks for them, and where they are kept.

pub(crate) mod keys;
pub(crate) mod store;
pub(crate) mod supply;
