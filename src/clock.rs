//! The only source of time. Everything that judges an age takes the time as an argument.

use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};

/// The wall clock, for everything that is compared with what AWS or the API server says.
#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Waits until then; without a time, until dropped.
pub(crate) async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
