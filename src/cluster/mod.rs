//! The API server: how to reach it, what it says, and what it knows about namespaces and
//! ServiceAccounts.

pub mod apply;
pub mod connect;
pub mod guard;
pub mod leader;
pub mod look_ups;
pub mod namespaces;
pub mod own_secret;
pub mod refusal;
pub mod registration;
pub mod service_accounts;
pub mod watch;
