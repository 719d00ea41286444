//! AWS: credentials, clients of ECR, and one call of `GetAuthorizationToken`.
//!
//! Nothing here knows Kubernetes. Endpoints come from the caller with each call.

mod checked;
mod clients;
mod environment;
pub(crate) mod failure;
mod http;
mod key_source;
mod keys;
pub(crate) mod mint;
mod profiles;
mod session;
mod sts;
