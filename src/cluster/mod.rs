//! The API server: how to reach it, what it answers, and what it says about Secrets, namespaces,
//! ServiceAccounts, pods, our registration, its guard policies, the Lease and Events.

pub(crate) mod call;
pub(crate) mod client;
mod connect;
pub(crate) mod events;
pub(crate) mod lease;
pub(crate) mod look_ups;
pub(crate) mod namespaces;
pub(crate) mod optimistic;
pub(crate) mod own_secret;
pub(crate) mod pages;
pub(crate) mod pods;
pub(crate) mod policy;
pub(crate) mod pull_events;
pub(crate) mod pull_secrets;
pub(crate) mod refusal;
pub(crate) mod registration;
pub(crate) mod service_accounts;
mod sift;
mod views;
pub(crate) mod watch;
