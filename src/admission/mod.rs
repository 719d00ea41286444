//! The admission endpoint: HTTP on the outside, the pure decision in the middle.

pub mod handler;
pub mod http;
