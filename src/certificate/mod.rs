//! The serving certificate: what is served, and where it comes from.

mod chain;
pub mod files;
pub mod self_signed;
pub mod served;
