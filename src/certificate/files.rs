//! The serving certificate from two files of a mounted Secret.
//!
//! `tls.crt` has the whole chain, and `tls.key` the key in PKCS#8, PKCS#1 or SEC1. Both are read
//! every ten seconds and compared byte by byte. A pair that cannot be loaded is reported once, and
//! the old pair stays.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::interval;

use super::served::{Certificate, CertificateError, Pair};
use crate::mounted::{MountedError, MountedVolume};

/// The interval between two reads. The kubelet itself takes up to a minute to update the files.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

#[derive(PartialEq, Eq)]
struct PemFiles {
    chain: Vec<u8>,
    key: Vec<u8>,
}

struct LastPoll {
    read: Result<PemFiles, MountedError>,
    /// Whether the same files may load later, when the served pair has expired.
    may_load_later: bool,
}

/// The mounted files whose pair is served.
pub struct Files {
    volume: MountedVolume,
    certificate: Arc<Certificate>,
    last: Option<LastPoll>,
}

impl Files {
    /// Follows the files in this directory, once it runs.
    pub fn new(directory: &Path, certificate: Arc<Certificate>) -> Self {
        Self {
            volume: MountedVolume::new(directory),
            certificate,
            last: None,
        }
    }

    /// Loads each new pair. Never returns.
    pub async fn run(mut self) {
        let mut tick = interval(POLL_INTERVAL);
        loop {
            tick.tick().await;
            self.poll();
        }
    }

    fn poll(&mut self) {
        let read = self.volume.read(["tls.crt", "tls.key"]);
        let read = read.map(|[chain, key]| PemFiles { chain, key });
        let before = self.last.take().filter(|last| last.read == read);
        if before.as_ref().is_some_and(|last| !last.may_load_later) {
            self.last = before;
            return;
        }
        // The same failure is reported once.
        let is_new = before.is_none();
        let mut may_load_later = false;
        match &read {
            Ok(files) => {
                if let Err(error) = self.load(files) {
                    may_load_later = error.may_pass();
                    if is_new {
                        self.certificate.report_unusable(&error);
                    }
                }
            }
            Err(error) => {
                if is_new {
                    self.certificate.report_unusable(error);
                }
            }
        }
        self.last = Some(LastPoll {
            read,
            may_load_later,
        });
    }

    fn load(&self, files: &PemFiles) -> Result<(), CertificateError> {
        let pair = Pair::parse(&files.chain, &files.key, &self.certificate.provider)?;
        self.certificate.load(&pair)
    }
}

#[cfg(test)]
mod tests;
