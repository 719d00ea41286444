//! Crypto provider, parse, run.

use std::process::ExitCode;

use clap::Parser as _;
use ecr_pull_secrets::cli::{Cli, Command};
use ecr_pull_secrets::command;

#[tokio::main]
async fn main() -> ExitCode {
    // The first to install one wins, and nobody was earlier.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let Cli { command, global } = Cli::parse();
    let result = match command {
        Command::Serve(serve) => command::serve::serve(&global, *serve).await,
        Command::Version => {
            println!("ecr-pull-secrets {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("ecr-pull-secrets: {failure}");
            ExitCode::from(failure.code())
        }
    }
}
