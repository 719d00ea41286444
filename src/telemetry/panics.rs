//! Panics, logged in our format and counted, whichever task or library they come from.
//!
//! A line has the place and the thread, and never the message: a library formats the value that it
//! did not expect into it, which may be a key.

use std::panic::{Location, PanicHookInfo, set_hook};
use std::sync::LazyLock;
use std::thread;

use prometheus_client::metrics::counter::Counter;
use tracing::{dispatcher, error};

/// The panics of this process.
static PANICS: LazyLock<Counter> = LazyLock::new(Counter::default);

/// The counter of all panics since the start.
pub(crate) fn counter() -> Counter {
    PANICS.clone()
}

/// From now on, each panic is logged and counted. Before logging has started, the line goes to
/// standard error.
pub(crate) fn report() {
    set_hook(Box::new(|info: &PanicHookInfo<'_>| {
        PANICS.inc();
        let place = info.location().map_or_else(|| "unknown".to_owned(), place);
        let current = thread::current();
        let thread = current.name().unwrap_or("unnamed");
        if dispatcher::has_been_set() {
            error!(place, thread, "a task panicked");
        } else {
            eprintln!("ecr-pull-secrets: a task panicked at {place}");
        }
    }));
}

/// File, line and column. The file of a library begins with its name and version.
fn place(location: &Location<'_>) -> String {
    let file = location.file();
    let crate_file = file.split_once("/registry/src/");
    let crate_file = crate_file.and_then(|(_, rest)| rest.split_once('/'));
    let file = crate_file.map_or(file, |(_, rest)| rest);
    format!("{file}:{}:{}", location.line(), location.column())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_is_relative_to_its_crate() {
        let here = place(Location::caller());
        assert!(here.starts_with("src/telemetry/panics.rs:"), "{here}");
    }
}
