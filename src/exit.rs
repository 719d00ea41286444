//! Why a verb ends without success, and the exit code that says so.

use crate::cluster::client::ConnectError;
use crate::config::ConfigError;

/// A failure that ends the process. Its exit code is an interface: see [`Failure::code`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A flag cannot be obeyed.
    #[error("{0}")]
    Usage(String),
    /// The cluster cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Anything that fails later.
    #[error("{0}")]
    Run(String),
}

impl Failure {
    /// 1: a part failed; 2: usage or configuration; 3: cluster or AWS unreachable.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Usage(_) | Self::Connect(ConnectError::Kubeconfig { .. }) => 2,
            Self::Connect(_) => 3,
            Self::Run(_) => 1,
        }
    }
}
