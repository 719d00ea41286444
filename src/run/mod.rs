//! A process that serves: which tasks it owns, and how it ends.
//!
//! Every background task is owned here. A task that ends before the process does ends the process:
//! a replica without its ledger would answer from a memory that nothing refreshes.

mod configuration;
mod endpoint;
mod guards;
mod heap;
mod lifecycle;
mod listen;
mod ports;
mod serve;
mod shutdown;
mod tasks;

pub(crate) use self::configuration::{ConfigSource, last_good};
pub(crate) use self::lifecycle::Stop;
pub(crate) use self::ports::Ports;
pub(crate) use self::serve::serve;
