//! The admission endpoint: HTTP on the outside, the pure decision in the middle.

pub(crate) mod handler;
pub(crate) mod http;
