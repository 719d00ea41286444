//! One call of `GetAuthorizationToken`.

use std::collections::BTreeMap;
use std::path::Path;

use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::config::Endpoints;
use ecr_pull_secrets_core::identity::Identity;
use ecr_pull_secrets_core::identity::TokenKey;
use ecr_pull_secrets_core::token::Token;
use jiff::Timestamp;

use super::clients::Clients;
use super::failure::Failure;
use crate::clock;

/// Asks AWS.
pub(crate) struct Mint {
    clients: Clients,
}

impl Mint {
    /// Talks to nobody yet.
    pub(crate) fn new(endpoints: BTreeMap<String, Endpoints>, credentials: &Path) -> Self {
        Self {
            clients: Clients::new(endpoints, credentials),
        }
    }

    /// Loads the credentials of a key anew for its next token.
    pub(crate) async fn forget(&self, key: &TokenKey) {
        self.clients.forget(key).await;
    }

    /// Mints a token. Takes at most some 4 s.
    ///
    /// # Errors
    ///
    /// [`Failure`]; nothing is remembered of it but that refused credentials are loaded anew.
    pub(crate) async fn mint(&self, key: &TokenKey) -> Result<Token, Failure> {
        let client = self.clients.client(key).await;
        let minted_at = clock::now();
        let answer = client
            .get_authorization_token()
            .send()
            .await
            .map_err(|error| Failure::of_call(&error, matches!(key.identity, Identity::Role(_))));
        let answer = match answer {
            Ok(answer) => answer,
            Err(failure) => {
                // The keys may have been replaced meanwhile: the next call reads them again.
                let is_about_keys = matches!(
                    failure.cause,
                    Cause::AwsCredentialsExpired
                        | Cause::AwsCredentialsRefused
                        | Cause::AwsSignatureRefused
                );
                if is_about_keys {
                    self.clients.forget(key).await;
                }
                return Err(failure);
            }
        };
        let unusable = |detail: &str| Failure::new(Cause::AwsAnswerUnusable, detail);
        let data = answer
            .authorization_data
            .and_then(|list| list.into_iter().next())
            .ok_or_else(|| unusable("authorizationData is empty"))?;
        let expires_at = data
            .expires_at
            .and_then(|time| Timestamp::new(time.secs(), time.subsec_nanos().cast_signed()).ok());
        let text = data
            .authorization_token
            .ok_or_else(|| unusable("authorizationToken is missing"))?;
        Token::new(text, minted_at, expires_at).map_err(|error| unusable(&error.to_string()))
    }
}
