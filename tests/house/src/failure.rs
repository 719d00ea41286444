//! Why a check cannot run.

use std::io;
use std::path::PathBuf;

/// An obstacle; unlike a finding, it says nothing about the sources.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot parse {}: {source}", path.display())]
    Parse { path: PathBuf, source: syn::Error },
    #[error("cannot list the files of the repository: {0}")]
    List(String),
    #[error("cannot use {path}:{line}: {reason}")]
    WordList {
        path: &'static str,
        line: usize,
        reason: &'static str,
    },
}
