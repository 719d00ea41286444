//! The serving certificate: its lifetimes, and what the API server trusts.

pub mod life;
pub mod trust;
