//! The serving certificate from two files that somebody else keeps.
//!
//! The directory is that of a mounted Secret: `tls.crt` with the whole chain, `tls.key` in PKCS#8,
//! PKCS#1 or SEC1. It is read every ten seconds and compared byte by byte. What cannot be taken up
//! is reported once, and the old certificate stays.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::interval;

use super::served::{Certificate, CertificateError, Pair};

/// How often the files are looked at. The kubelet itself takes up to a minute to change them.
const POLL: Duration = Duration::from_secs(10);
/// The link that the kubelet swaps when the content of a mounted Secret changes.
const VERSION: &str = "..data";

/// The bytes of both files.
#[derive(PartialEq, Eq)]
struct Bytes {
    chain: Vec<u8>,
    key: Vec<u8>,
}

/// What a look found.
#[derive(PartialEq, Eq)]
struct Seen {
    read: Result<Bytes, String>,
    /// They were fine, but not better than those that were served at the time.
    is_to_come: bool,
}

/// Files that the certificate follows.
pub struct Files {
    directory: PathBuf,
    certificate: Arc<Certificate>,
    seen: Option<Seen>,
}

impl Files {
    /// Nothing is read yet.
    pub fn new(directory: &Path, certificate: Arc<Certificate>) -> Self {
        Self {
            directory: directory.to_owned(),
            certificate,
            seen: None,
        }
    }

    /// Follows the files, for ever.
    pub async fn run(mut self) {
        let mut tick = interval(POLL);
        loop {
            tick.tick().await;
            self.look();
        }
    }

    fn look(&mut self) {
        // Once more when the kubelet swapped the files under our hands.
        let read = self.read().or_else(|_| self.read());
        let read = read.map_err(|error| error.to_string());
        let before = self.seen.take().filter(|seen| seen.read == read);
        if let Some(
            before @ Seen {
                is_to_come: false, ..
            },
        ) = before
        {
            self.seen = Some(before);
            return;
        }
        let taken = match &read {
            Ok(bytes) => self.take_up(bytes),
            Err(error) => Err((error.clone(), false)),
        };
        let mut is_to_come = false;
        if let Err((error, comes)) = taken {
            is_to_come = comes;
            // Time alone may help, so that it is tried again at each look, and said once.
            if before.is_none() {
                self.certificate.refused(&error);
            }
        }
        self.seen = Some(Seen { read, is_to_come });
    }

    fn take_up(&self, bytes: &Bytes) -> Result<(), (String, bool)> {
        let provider = &self.certificate.provider;
        let taken = Pair::parse(&bytes.chain, &bytes.key, provider)
            .and_then(|pair| self.certificate.take_up(&pair));
        taken.map_err(|error| {
            // Until the one that is served has ended.
            let is_to_come = matches!(
                error,
                CertificateError::NotGoodNow { .. } | CertificateError::Shortened(_)
            );
            (error.to_string(), is_to_come)
        })
    }

    /// Both of one version: the link may be swapped between two reads.
    fn read(&self) -> Result<Bytes, CertificateError> {
        let version = self.directory.join(VERSION);
        let directory = fs::canonicalize(version).unwrap_or_else(|_| self.directory.clone());
        let read = |name: &str| {
            fs::read(directory.join(name)).map_err(|source| CertificateError::Read {
                // Without the version's name, or each failure would look like a new one.
                path: self.directory.join(name),
                source,
            })
        };
        Ok(Bytes {
            chain: read("tls.crt")?,
            key: read("tls.key")?,
        })
    }
}

#[cfg(test)]
mod tests;
