//! Ambient credentials that all clients share.
//!
//! A provider that assumes a role loads the ambient credentials for each call. With a thousand roles
//! that would be a second call of STS for each token where the ambient credentials are a web identity.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, Result, future};
use parking_lot::Mutex;

use crate::clock;

/// The time before their expiry at which credentials are loaded again.
const MARGIN: Duration = Duration::from_secs(10);

/// Loads credentials from a provider, and keeps those that state an expiry until shortly before it.
/// Others cost no call: they stand in the environment. Callers that come during a load cause another
/// one each, so that none waits for a failure that is not its own.
#[derive(Debug)]
pub(crate) struct SharedSession<P> {
    provider: P,
    loaded: Mutex<Option<Credentials>>,
}

impl<P: ProvideCredentials> SharedSession<P> {
    /// Loads nothing yet.
    pub(crate) fn new(provider: P) -> Self {
        Self {
            provider,
            loaded: Mutex::default(),
        }
    }

    async fn load(&self) -> Result {
        let is_good = |credentials: &&Credentials| {
            let expiry = credentials.expiry();
            expiry.is_some_and(|expiry| SystemTime::from(clock::now()) + MARGIN < expiry)
        };
        if let Some(credentials) = self.loaded.lock().as_ref().filter(is_good) {
            return Ok(credentials.clone());
        }
        let credentials = self.provider.provide_credentials().await?;
        *self.loaded.lock() = Some(credentials.clone());
        Ok(credentials)
    }
}

impl<P: ProvideCredentials> ProvideCredentials for SharedSession<P> {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.load())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use aws_credential_types::provider::error::CredentialsError;

    use super::*;

    /// Counts its loads; the credentials expire after this time, if any.
    #[derive(Debug, Default)]
    struct Counting {
        loads: AtomicUsize,
        lasts: Option<Duration>,
        fails: bool,
    }

    impl ProvideCredentials for Counting {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            self.loads.fetch_add(1, Ordering::Relaxed);
            let expiry = self
                .lasts
                .map(|lasts| SystemTime::from(clock::now()) + lasts);
            let credentials = Credentials::new("AKIA", "s3cret", None, expiry, "test");
            future::ProvideCredentials::ready(if self.fails {
                Err(CredentialsError::not_loaded("none"))
            } else {
                Ok(credentials)
            })
        }
    }

    #[tokio::test]
    async fn credentials_are_loaded_again_only_near_their_expiry() {
        let minutes = |count: u64| Some(Duration::from_secs(60 * count));
        for (lasts, fails, loads) in [
            (minutes(60), false, 1),
            (Some(MARGIN), false, 3),
            (None, false, 3),
            (minutes(60), true, 3),
        ] {
            let session = SharedSession::new(Counting {
                lasts,
                fails,
                ..Counting::default()
            });
            for _ in 0..3 {
                assert_eq!(session.provide_credentials().await.is_err(), fails);
            }
            assert_eq!(
                session.provider.loads.load(Ordering::Relaxed),
                loads,
                "{lasts:?}"
            );
        }
    }
}
