//! The API server: how to reach it, what it says, and what it knows about namespaces and
//! ServiceAccounts.

pub mod client;
pub mod events;
pub mod exclusions;
pub mod lease;
pub mod look_ups;
pub mod namespaces;
pub mod own_secret;
pub mod pages;
pub mod pods;
pub mod policy;
pub mod pull_secrets;
pub mod refusal;
pub mod registration;
pub mod service_accounts;
pub mod watch;
