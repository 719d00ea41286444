//! Log lines as text or JSON: our own, and no others.
//!
//! Libraries print requests and answers with everything in them. It is not only their DEBUG lines:
//! the AWS SDK's WARN about a misspelt endpoint shows the whole web identity token, and kube's WARN
//! about a malformed answer shows the answer. So this is a list of what may be logged, and no library
//! is on it. What the error of a library says comes in our own line, through
//! [`chain`](super::chain::chain). Panics are logged by [`super::panics`].

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
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

/// Starts logging, on standard output.
///
/// # Errors
///
/// When logging was started already.
pub(crate) fn init(format: Format, level: Option<LevelFilter>) -> Result<(), TryInitError> {
    start(std::io::stdout, format, level.unwrap_or(LevelFilter::INFO))
}

/// The same for a verb that prints its result there: on standard error, and by default warnings alone.
///
/// # Errors
///
/// When logging was started already.
pub(crate) fn init_beside_output(
    format: Format,
    level: Option<LevelFilter>,
) -> Result<(), TryInitError> {
    start(std::io::stderr, format, level.unwrap_or(LevelFilter::WARN))
}

fn start<W>(writer: W, format: Format, level: LevelFilter) -> Result<(), TryInitError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = fmt::layer()
        .with_target(false)
        .with_ansi(false)
        .with_writer(writer);
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
        .with_default(LevelFilter::OFF)
        .with_target("ecr_pull_secrets", level)
        .with_target("ecr_pull_secrets_core", level)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn libraries_log_nothing_at_any_level() {
        for level in [LevelFilter::TRACE, LevelFilter::INFO, LevelFilter::ERROR] {
            let targets = targets(level);
            for library in [
                "aws_config::web_identity_token",
                "aws_smithy_runtime",
                "hyper",
                "kube_client::client",
                "kube_runtime",
                "rustls::conn",
                "",
            ] {
                assert!(!targets.would_enable(library, &Level::ERROR), "{library}");
            }
        }
        assert!(targets(LevelFilter::TRACE).would_enable("ecr_pull_secrets::run", &Level::TRACE));
        assert!(!targets(LevelFilter::INFO).would_enable("ecr_pull_secrets::run", &Level::DEBUG));
    }
}
