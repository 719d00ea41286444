//! The serving certificate: what is served, and where it comes from.

mod chain;
pub(crate) mod files;
pub(crate) mod self_signed;
pub(crate) mod served;
