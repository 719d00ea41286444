//! The stand-in as a process: prints its address as one line of JSON, and ends on SIGTERM or SIGINT.

use std::{io::Write, net::SocketAddr, process::ExitCode};

use clap::Parser;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// ECR, STS and an ECR registry for tests.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Address to listen on; port 0 takes a free port, which the first line on stdout names.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Args { listen } = Args::parse();
    match run(listen).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aws-stand-in: cannot serve on {listen}: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(listen: SocketAddr) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let handle = aws_stand_in::serve(TcpListener::bind(listen).await?)?;

    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}", serde_json::json!({"url": handle.url()}))?;
    stdout.flush()?;

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
