//! The configuration in force, shared by all. A file that changes replaces it as a whole.
//!
//! Each review and each step of a loop takes one [`Live::snapshot`] and keeps nothing of it, so that
//! no review could see two configurations. The name of the pull Secret never changes in a process. A
//! new configuration ends the loops of the leader and starts them again.

use std::fs;
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use ecr_pull_secrets_core::admission::patch::Patches;
use ecr_pull_secrets_core::config::change::Succession;
use ecr_pull_secrets_core::config::{Config, InvalidConfig};
use ecr_pull_secrets_core::scrub::scrub;
use ecr_pull_secrets_core::target::Target;
use tokio::sync::watch;
use tracing::warn;

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

/// The content of the configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileText {
    /// The file at [`DEFAULT_PATH`] may be absent: every field has its default then.
    Absent,
    /// Its YAML.
    Yaml(String),
}

/// A configuration file that can be used.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    pub(crate) text: FileText,
    pub(crate) config: Config,
}

impl ConfigFile {
    /// Reads the configuration file.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the file.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = FileText::read(path)?;
        let config = text.parse(path)?;
        Ok(Self { text, config })
    }
}

impl FileText {
    /// Reads the configuration file.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Read`].
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        match fs::read_to_string(path) {
            Ok(yaml) => Ok(Self::Yaml(yaml)),
            // A path that a flag gives and that does not exist is a mistake.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && path == Path::new(DEFAULT_PATH) =>
            {
                Ok(Self::Absent)
            }
            Err(source) => Err(ConfigError::Read {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// What it says.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Invalid`], with this path.
    pub(crate) fn parse(&self, path: &Path) -> Result<Config, ConfigError> {
        let Self::Yaml(yaml) = self else {
            return Ok(Config::default());
        };
        Config::parse(yaml).map_err(|source| ConfigError::Invalid {
            path: path.to_owned(),
            source,
        })
    }
}

/// Warns of what the configuration says in vain.
pub(crate) fn report_doubts(config: &Config) {
    for doubt in config.doubts() {
        warn!(%doubt, "a part of the configuration has no effect");
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
pub(crate) struct Live {
    current: ArcSwap<InForce>,
    changes: watch::Sender<()>,
}

impl Live {
    pub(crate) fn new(config: Config) -> Arc<Self> {
        Arc::new(Self {
            current: ArcSwap::from_pointee(InForce::new(config)),
            changes: watch::Sender::new(()),
        })
    }

    /// The configuration of this moment, whole and unchanging.
    pub(crate) fn snapshot(&self) -> Arc<InForce> {
        self.current.load_full()
    }

    /// Speaks whenever another configuration comes into force.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// What would come into force in place of the configuration of this moment, and the fields that
    /// wait for a restart.
    pub(crate) fn successor(&self, next: Config) -> (Arc<InForce>, Vec<&'static str>) {
        let Succession { config, waiting } = self.snapshot().succeeded_by(next);
        (Arc::new(InForce::new(config)), waiting)
    }

    /// Puts a successor into force.
    pub(crate) fn replace(&self, successor: Arc<InForce>) {
        self.current.store(successor);
        self.changes.send_replace(());
    }
}
