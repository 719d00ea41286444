//! The pull Secrets of the cluster: what each holds, and the one function that makes them right.

pub mod ensure;
pub mod flight;
pub mod ledger;
pub mod view;
pub mod write;
