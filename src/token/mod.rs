//! Tokens of ECR: who asks for them, and where they are kept.

pub mod credentials;
pub mod failure;
pub mod mint;
pub mod mounted;
pub mod supply;
