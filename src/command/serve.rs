//! `serve`: the admission endpoint and everything behind it.

use std::io::Write as _;

use crate::cli::{Global, Serve};
use crate::config;
use crate::exit::Failure;
use crate::run;
use crate::telemetry::logs;

/// Serves until SIGTERM, or prints the configuration.
///
/// # Errors
///
/// [`Failure`] when the process cannot start, or when a part of it died.
pub(crate) async fn serve(global: &Global, serve: Serve) -> Result<(), Failure> {
    let config = config::load(&global.config)?;
    if serve.print_config {
        let yaml = config
            .to_yaml()
            .map_err(|error| Failure::Run(error.to_string()))?;
        let written = std::io::stdout().write_all(yaml.as_bytes());
        return written.map_err(|error| Failure::Run(error.to_string()));
    }
    logs::init(global.log_format, global.log_level)
        .map_err(|error| Failure::Run(error.to_string()))?;
    run::run(config, serve).await
}
