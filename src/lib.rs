//! Pull secrets for Amazon ECR, made just in time.
//!
//! A pod that names an image in a private ECR registry gets its `imagePullSecrets` and a fresh pull
//! Secret in its namespace before the API server stores it. This crate is the shell: it listens,
//! watches, asks AWS and writes. What it decides is decided in [`ecr_pull_secrets_core`], which can
//! do none of that.
//!
//! To follow one admission, read `https::listener`, `admission::http`, `admission::handler` and
//! `pull_secret::ensure`, in this order. To see which parts there are, read `engine`; to see what
//! runs, read `run` and `leader`.
//!
//! What is public is what the program, the suite and the benches use.

mod admission;
mod aws;
mod certificate;
mod cli;
pub mod clock;
mod cluster;
mod command;
mod config;
mod engine;
mod exit;
mod facts;
mod https;
mod leader;
mod mounted;
mod probes;
mod pull_secret;
mod run;
mod slots;
mod sync;
mod telemetry;
mod token;
mod wants;

pub use command::execute;

/// The HTTPS port without what it answers: for the benches that compare handlers on it.
pub mod https_port {
    pub use crate::certificate::files::Files;
    pub use crate::certificate::served::{Certificate, service};
    pub use crate::https::connection::Service;
    pub use crate::https::connections::{Connection, Connections};
    pub use crate::https::drain::DrainSwitch;
    pub use crate::https::listener::serve;
    pub use crate::telemetry::metrics::Metrics;
}

/// The writer of pull Secrets without its callers: for the suite, which makes it write late.
pub mod pull_secret_writer {
    pub use crate::pull_secret::ledger::Ledger;
    pub use crate::pull_secret::mandate::Mandate;
    pub use crate::pull_secret::turn::WriteTurn;
    pub use crate::pull_secret::write::{SecretWriter, Written};
    pub use crate::telemetry::metrics::Trigger;
}
