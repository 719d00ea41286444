//! The HTTPS port: listener, connections, bodies, drain.

pub(crate) mod accept;
pub(crate) mod body;
pub(crate) mod connection;
pub(crate) mod connections;
pub(crate) mod drain;
pub(crate) mod listener;
