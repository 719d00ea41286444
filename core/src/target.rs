//! One Secret of one namespace: what the ledger knows, a flight works on and the writer writes.

use std::fmt;
use std::sync::Arc;

/// The place of a Secret. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// Name of the namespace.
    pub namespace: Arc<str>,
    /// Name of the Secret: one of a finite list that the configuration gives.
    pub secret: Arc<str>,
}

impl Target {
    /// The Secret of this name in this namespace.
    pub fn new(namespace: impl Into<Arc<str>>, secret: impl Into<Arc<str>>) -> Self {
        Self {
            namespace: namespace.into(),
            secret: secret.into(),
        }
    }
}

impl fmt::Display for Target {
    /// `NAMESPACE/NAME`, as kubectl writes it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.secret)
    }
}
