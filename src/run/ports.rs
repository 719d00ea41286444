//! What a serving process listens with.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What the two ports are served with.
pub(crate) struct Ports {
    /// Address of the admission endpoint, if new pods get the reference.
    pub(crate) https: SocketAddr,
    /// Address of the probes and metrics.
    pub(crate) http: SocketAddr,
    /// Directory of the certificate's files; without it the replicas manage a self-signed one.
    pub(crate) certificate_dir: Option<PathBuf>,
    /// Lifetime of a self-signed certificate.
    pub(crate) certificate_lifetime: Duration,
    /// The least age at which a connection is closed after an answer.
    pub(crate) connection_age: Duration,
    /// How long connections are still accepted after SIGTERM.
    pub(crate) drain_delay: Duration,
}
