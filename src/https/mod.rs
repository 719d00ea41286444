//! The HTTPS port: certificate, listener, connections, drain.

pub(crate) mod body;
pub(crate) mod connection;
pub(crate) mod connections;
pub(crate) mod drain;
pub(crate) mod listener;
