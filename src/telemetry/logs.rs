//! Log lines on standard output, as text or JSON.
//!
//! `--log-level` speaks of this program only. The libraries underneath stay at WARN whatever it
//! says: at TRACE some of them print whole requests and answers, tokens included.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer as _, fmt};

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For machines: one object a line.
    Json,
}

/// Starts logging.
///
/// # Errors
///
/// When logging was started already.
pub(crate) fn init(format: Format, level: LevelFilter) -> Result<(), TryInitError> {
    let lines = fmt::layer().with_target(false).with_ansi(false);
    let lines = match format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(targets(level)))
        .try_init()
}

fn targets(level: LevelFilter) -> Targets {
    Targets::new()
        .with_default(LevelFilter::WARN.min(level))
        // Its warnings quote whole answers of the API server, and its errors are ours to tell.
        .with_target("kube_client", LevelFilter::OFF)
        .with_target("ecr_pull_secrets", level)
        .with_target("ecr_pull_secrets_core", level)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn libraries_stay_quiet_at_any_level() {
        let trace = targets(LevelFilter::TRACE);
        for library in ["hyper", "aws_smithy_runtime", "rustls::conn", "h2"] {
            assert!(!trace.would_enable(library, &Level::INFO), "{library}");
            assert!(trace.would_enable(library, &Level::WARN), "{library}");
        }
        assert!(trace.would_enable("ecr_pull_secrets::run", &Level::TRACE));
        assert!(!trace.would_enable("kube_client::client", &Level::ERROR));
        assert!(!targets(LevelFilter::ERROR).would_enable("hyper", &Level::WARN));
    }
}
