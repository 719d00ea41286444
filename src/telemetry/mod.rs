//! What the process tells about itself: metrics and log lines. Tokens are in none of them.

pub(crate) mod chain;
pub(crate) mod logs;
pub(crate) mod metrics;
pub(crate) mod panics;
pub(crate) mod ration;
