//! The HTTPS port: certificate, listener, connections, drain.

pub mod certificate;
pub mod connection;
pub mod connections;
pub mod drain;
pub mod listener;
pub mod self_signed;
