//! The HTTPS port: certificate, listener, drain.

pub mod certificate;
pub mod drain;
pub mod listener;
pub mod self_signed;
