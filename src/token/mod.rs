//! Tokens of ECR: who asks for them, and where they are kept.

pub mod keys;
pub mod store;
pub mod supply;
