//! Crypto provider, parse, run.

use std::process::ExitCode;
use std::thread::available_parallelism;

use clap::Parser as _;
use ecr_pull_secrets::cli::{Cli, Command};
use ecr_pull_secrets::command;

/// One thread answers some ten thousand reviews a second, and costs memory on a node with many cores.
const THREADS: usize = 4;

fn main() -> ExitCode {
    let threads = available_parallelism().map_or(1, |cores| cores.get().min(THREADS));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(run()),
        Err(error) => {
            eprintln!("ecr-pull-secrets: cannot start a thread: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> ExitCode {
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
