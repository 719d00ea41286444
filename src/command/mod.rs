//! The verbs, one file each. A verb turns flags into a call of the engine, and its result into an exit code.

pub mod serve;
