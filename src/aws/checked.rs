//! The one door through which credentials come, whatever their source.
//!
//! Each part goes into a header of a signed request. The SDK panics on a value that no header can
//! have, and signs with one that has a quote or a space too many.

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, Result, future};
use ecr_pull_secrets_core::aws::value::{InvalidValue, key};

/// A provider whose credentials are checked.
#[derive(Debug)]
pub(super) struct CheckedKeys<P>(pub(super) P);

impl<P: ProvideCredentials> CheckedKeys<P> {
    async fn load(&self) -> Result {
        checked(&self.0.provide_credentials().await?)
    }
}

impl<P: ProvideCredentials> ProvideCredentials for CheckedKeys<P> {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.load())
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        let fallback = self.0.fallback_on_interrupt()?;
        checked(&fallback).ok()
    }
}

/// The same credentials, trimmed.
fn checked(credentials: &Credentials) -> Result {
    let trimmed = || -> std::result::Result<Credentials, InvalidValue> {
        let id = key("the access key id", credentials.access_key_id())?;
        let secret = key("the secret access key", credentials.secret_access_key())?;
        // A helper that has none writes an empty one.
        let session = credentials.session_token();
        let session = session
            .filter(|token| !token.trim().is_empty())
            .map(|token| key("the session token", token))
            .transpose()?;
        let is_unchanged = (id.as_str(), secret.as_str(), session.as_deref())
            == (
                credentials.access_key_id(),
                credentials.secret_access_key(),
                credentials.session_token(),
            );
        if is_unchanged {
            return Ok(credentials.clone());
        }
        let expiry = credentials.expiry();
        Ok(Credentials::new(id, secret, session, expiry, "trimmed"))
    };
    trimmed().map_err(CredentialsError::invalid_configuration)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(id: &str, secret: &str, session: Option<&str>) -> Credentials {
        Credentials::new(id, secret, session.map(str::to_owned), None, "test")
    }

    #[tokio::test]
    async fn credentials_of_any_provider_are_trimmed() {
        let given = credentials("AKIA\n", "\"s3cret\"", Some(" token\r\n"));
        let keys = CheckedKeys(given).provide_credentials().await.unwrap();
        assert_eq!(keys.access_key_id(), "AKIA");
        assert_eq!(keys.secret_access_key(), "s3cret");
        assert_eq!(keys.session_token(), Some("token"));
        let given = credentials("AKIA", "s3cret", Some(""));
        let keys = CheckedKeys(given).provide_credentials().await.unwrap();
        assert_eq!(keys.session_token(), None);
        let given = credentials("AKIA", "s3cret", None);
        let keys = CheckedKeys(given.clone()).provide_credentials().await;
        assert_eq!(keys.unwrap(), given);
    }

    #[tokio::test]
    async fn broken_credentials_are_refused_by_name() {
        for (given, name) in [
            (
                credentials("", "s3cret", None),
                "the access key id is blank",
            ),
            (
                credentials("AKIA", "", Some("")),
                "the secret access key is blank",
            ),
            (
                credentials("AK\u{1}IA", "s3cret", None),
                "the access key id holds",
            ),
            (
                credentials("AKIA", "s3 cret", None),
                "the secret access key holds",
            ),
            (
                credentials("AKIA", "${s3cret}", None),
                "the secret access key holds",
            ),
            (
                credentials("AKIA", "s3cret", Some("to\nken")),
                "the session token holds",
            ),
        ] {
            let error = CheckedKeys(given).provide_credentials().await.unwrap_err();
            let text = crate::telemetry::chain::chain(&error);
            assert!(text.contains(name), "{text}");
            for value in ["s3cret", "s3 cret", "AK\u{1}IA", "to\nken"] {
                assert!(!text.contains(value) && !format!("{error:?}").contains(value));
            }
        }
    }
}
