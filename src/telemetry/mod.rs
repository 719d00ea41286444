//! What the process tells about itself: metrics, Events and log lines. Tokens are in none of them.

pub mod logs;
pub mod metrics;
pub mod ration;
