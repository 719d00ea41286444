//! The admission endpoint: HTTP on the outside, the pure decision in the middle.

mod body;
pub mod handler;
pub mod http;
