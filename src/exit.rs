//! Why a verb ends without success, and the exit code that says so.

use std::io;
use std::net::SocketAddr;

use tracing_subscriber::util::TryInitError;

use crate::cluster::client::ConnectError;
use crate::cluster::refusal::Refusal;
use crate::config::ConfigError;

/// A failure that ends the process. Its exit code is an interface: see [`Failure::code`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the API server does not answer: {0}")]
    Cluster(#[source] Refusal),
    /// The output has said what.
    #[error("some pull secrets are not as wanted")]
    Unfinished,
    /// The output has said what.
    #[error("AWS or the API server cannot be reached")]
    Unreachable,
    #[error("cannot listen on {address}: {source}")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("cannot print the configuration: {0}")]
    Print(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("cannot start logging: {0}")]
    Logging(#[from] TryInitError),
    #[error("cannot handle signals: {0}")]
    Signals(#[source] io::Error),
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// A task or the listener, none of which ends by itself.
    #[error("the task `{0}` ended")]
    TaskEnded(&'static str),
}

impl Failure {
    /// 1: a part failed; 2: usage or configuration; 3: cluster or AWS unreachable.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::Listen { .. }
            | Self::Connect(ConnectError::Kubeconfig { .. }) => 2,
            Self::Connect(_) | Self::Cluster(_) | Self::Unreachable => 3,
            Self::Unfinished
            | Self::Print(_)
            | Self::Logging(_)
            | Self::Signals(_)
            | Self::Tls(_)
            | Self::TaskEnded(_) => 1,
        }
    }
}
