//! The only source of time. Everything that judges an age takes the time as an argument.

use jiff::Timestamp;

/// The wall clock, for everything that is compared with what AWS or the API server says.
#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub fn now() -> Timestamp {
    Timestamp::now()
}
