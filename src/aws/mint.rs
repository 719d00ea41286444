//! One call of `GetAuthorizationToken`.

use std::path::Path;

use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::config::Endpoints;
use ecr_pull_secrets_core::identity::{Identity, TokenKey};
use ecr_pull_secrets_core::token::Token;
use jiff::Timestamp;

use super::clients::EcrClients;
use super::failure::MintFailure;
use crate::clock;

/// The one caller of AWS.
pub(crate) struct Mint {
    clients: EcrClients,
}

impl Mint {
    /// Makes no call yet. `credentials` is the directory of mounted keys.
    pub(crate) fn new(credentials: &Path) -> Self {
        Self {
            clients: EcrClients::new(credentials),
        }
    }

    /// Loads the credentials again for the next token.
    pub(crate) async fn forget(&self) {
        self.clients.forget(None).await;
    }

    /// Mints a token within 4 s. `endpoints` are those of the key's region.
    ///
    /// # Errors
    ///
    /// [`MintFailure`]. After a refusal of the credentials, the next call loads them again.
    pub(crate) async fn mint(
        &self,
        key: &TokenKey,
        endpoints: &Endpoints,
    ) -> Result<Token, MintFailure> {
        let (client, generation) = self.clients.client(key, endpoints).await;
        let minted_at = clock::now();
        let answer = match client.get_authorization_token().send().await {
            Ok(answer) => answer,
            Err(error) => {
                let assumes_role = matches!(key.identity, Identity::Role(_));
                let failure = MintFailure::of_call(&error, assumes_role);
                // The keys may have been replaced meanwhile.
                let is_about_keys = matches!(
                    failure.cause,
                    Cause::AwsCredentialsExpired
                        | Cause::AwsCredentialsRefused
                        | Cause::AwsSignatureRefused
                );
                if is_about_keys {
                    self.clients.forget(Some(generation)).await;
                }
                return Err(failure);
            }
        };
        let data = answer
            .authorization_data
            .and_then(|list| list.into_iter().next())
            .ok_or_else(|| MintFailure::unusable("authorizationData is empty"))?;
        let expires_at = data
            .expires_at
            .and_then(|time| Timestamp::new(time.secs(), time.subsec_nanos().cast_signed()).ok());
        let text = data
            .authorization_token
            .ok_or_else(|| MintFailure::unusable("authorizationToken is missing"))?;
        Token::new(text, minted_at, expires_at)
            .map_err(|error| MintFailure::unusable(error.to_string()))
    }
}
