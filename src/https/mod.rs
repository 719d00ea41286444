//! The HTTPS port: certificate, listener, connections, drain.

pub mod body;
pub mod connection;
pub mod connections;
pub mod drain;
pub mod listener;
