//! The pull Secrets of the cluster: what each holds, and the one function that makes them right.

pub(crate) mod ensure;
mod flight;
pub(crate) mod ledger;
pub(crate) mod mandate;
pub(crate) mod metadata;
pub(crate) mod turn;
pub(crate) mod withdraw;
pub(crate) mod write;
