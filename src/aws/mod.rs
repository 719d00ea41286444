//! AWS: credentials, clients of ECR, and one call of `GetAuthorizationToken`.
//!
//! Nothing here knows Kubernetes. Endpoints come from the caller with each call.

pub(crate) mod clients;
pub(crate) mod failure;
pub(crate) mod keys;
pub(crate) mod mint;
mod session;
