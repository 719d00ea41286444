//! The serving certificate: the pair that is served, and its two sources.

mod chain;
pub(crate) mod files;
pub(crate) mod self_signed;
pub(crate) mod served;
