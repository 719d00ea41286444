//! The configuration in force: read once, at the start, and shared by all.
//!
//! Each review and each step of a loop takes one [`Live::snapshot`] and keeps nothing of it, so that
//! no review could see two configurations. The ledger's watch keeps the name of the Secret, and
//! two loops of the leader read once in a term whether they are switched on.

use std::fs;
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use ecr_pull_secrets_core::admission::patch::Patches;
use ecr_pull_secrets_core::config::{Config, InvalidConfig};
use ecr_pull_secrets_core::scrub::scrub;
use ecr_pull_secrets_core::target::Target;

use crate::clock;

/// The path of the configuration file where no flag gives one.
pub(crate) const DEFAULT_PATH: &str = "/etc/ecr-pull-secrets/config.yaml";

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The content is invalid.
    // A file that does not parse is quoted, and may be another one than was meant.
    #[error("{path}: {}", scrub(&.source.to_string()))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The place in it, and the reason.
        source: InvalidConfig,
    },
}

/// Reads the configuration file; at [`DEFAULT_PATH`] it may be absent.
///
/// # Errors
///
/// [`ConfigError`] names the file.
pub(crate) fn load(path: &Path) -> Result<Config, ConfigError> {
    match fs::read_to_string(path) {
        Ok(yaml) => Config::parse(&yaml).map_err(|source| ConfigError::Invalid {
            path: path.to_owned(),
            source,
        }),
        // A path that a flag gives and that does not exist is a mistake.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && path == Path::new(DEFAULT_PATH) =>
        {
            Ok(Config::default())
        }
        Err(source) => Err(ConfigError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

/// A configuration with everything that follows from it alone.
#[derive(Debug)]
pub(crate) struct InForce {
    config: Config,
    /// The patches that add the reference, as bytes.
    pub(crate) patches: Patches,
}

impl InForce {
    fn new(config: Config) -> Self {
        let config = config.in_force_since(clock::now());
        let patches = Patches::new(&config.secret.name);
        Self { config, patches }
    }

    /// The pull Secret of a namespace.
    pub(crate) fn target(&self, namespace: &str) -> Target {
        Target::new(namespace, self.config.secret.name.as_str())
    }
}

impl Deref for InForce {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.config
    }
}

/// The one place that holds the configuration in force.
#[derive(Debug)]
pub(crate) struct Live(ArcSwap<InForce>);

impl Live {
    pub(crate) fn new(config: Config) -> Arc<Self> {
        Arc::new(Self(ArcSwap::from_pointee(InForce::new(config))))
    }

    /// The configuration of this moment, whole and unchanging.
    pub(crate) fn snapshot(&self) -> Arc<InForce> {
        self.0.load_full()
    }
}
