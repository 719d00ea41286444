//! The verbs, one file each. A verb turns flags into a call of the engine, and its result into an exit code.

mod serve;
mod sync;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};
use crate::telemetry::chain::chain_of_ours;
use crate::telemetry::panics;

/// Parses the command line, runs the verb, and gives its exit code.
pub async fn execute() -> ExitCode {
    panics::report();
    let Cli { command, global } = Cli::parse();
    let result = match command {
        Command::Serve(serve) => serve::serve(&global, *serve).await,
        Command::Sync(sync) => sync::sync(&global, *sync).await,
        Command::Version => {
            println!("ecr-pull-secrets {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("ecr-pull-secrets: {}", chain_of_ours(&failure));
            ExitCode::from(failure.code())
        }
    }
}
