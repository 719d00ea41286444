//! The verbs, one file each. A verb turns flags into a call and a result into an exit code.

pub mod serve;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ecr_pull_secrets_core::config::{Config, InvalidConfig};

use crate::cluster::client::ConnectError;

/// Why a verb ended without doing its work. Exit codes are an interface: see `code`.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration file cannot be read.
    #[error("cannot read {path}: {source}")]
    ReadConfig {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The configuration file cannot be obeyed.
    #[error("{path}: {source}")]
    Config {
        /// Which file.
        path: PathBuf,
        /// Where, and why.
        source: InvalidConfig,
    },
    /// A flag that cannot be obeyed.
    #[error("{0}")]
    Usage(String),
    /// The cluster cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Anything that went wrong later.
    #[error("{0}")]
    Run(String),
}

impl Failure {
    /// 1 something failed · 2 usage or configuration · 3 cluster or AWS unreachable.
    pub fn code(&self) -> u8 {
        match self {
            Self::ReadConfig { .. } | Self::Config { .. } | Self::Usage(_) => 2,
            Self::Connect(ConnectError::Kubeconfig { .. }) => 2,
            Self::Connect(_) => 3,
            Self::Run(_) => 1,
        }
    }
}

/// Where the configuration is looked for if no flag says it.
pub const DEFAULT_CONFIG: &str = "/etc/ecr-pull-secrets/config.yaml";

/// Reads the configuration file; none at all is fine at [`DEFAULT_CONFIG`].
///
/// # Errors
///
/// With the file's name in front.
pub fn configuration(path: &Path) -> Result<Config, Failure> {
    match fs::read_to_string(path) {
        Ok(yaml) => Config::parse(&yaml).map_err(|source| Failure::Config {
            path: path.to_owned(),
            source,
        }),
        // Only where nobody asked for a file: the name of one that is not there is a mistake.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && path == Path::new(DEFAULT_CONFIG) =>
        {
            Ok(Config::default())
        }
        Err(source) => Err(Failure::ReadConfig {
            path: path.to_owned(),
            source,
        }),
    }
}
