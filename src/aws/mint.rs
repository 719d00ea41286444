//! One call of `GetAuthorizationToken`.

use std::panic::AssertUnwindSafe;
use std::path::Path;

use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::config::Endpoints;
use ecr_pull_secrets_core::identity::{Identity, TokenKey};
use ecr_pull_secrets_core::token::Token;
use futures::FutureExt as _;
use jiff::Timestamp;

use super::clients::EcrClients;
use super::environment::report;
use super::failure::MintFailure;
use super::http::observed;
use crate::clock;

/// The one caller of AWS.
pub(crate) struct Mint {
    clients: EcrClients,
}

impl Mint {
    /// Makes no call yet. `credentials` is the directory of mounted keys.
    pub(crate) fn new(credentials: &Path) -> Self {
        report();
        Self {
            clients: EcrClients::new(credentials),
        }
    }

    /// Loads the credentials of a key again for its next token.
    pub(crate) async fn forget(&self, key: &TokenKey) {
        self.clients.forget(key).await;
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
        // The SDK has panicked on values that it did not expect.
        let minted = AssertUnwindSafe(self.call(key, endpoints))
            .catch_unwind()
            .await;
        let minted = minted.unwrap_or_else(|_| Err(MintFailure::panicked()));
        // The keys may have been replaced meanwhile, and a client that panicked is in no known state.
        let needs_new_client = minted.as_ref().is_err_and(|failure| {
            matches!(
                failure.cause,
                Cause::AwsCredentialsExpired
                    | Cause::AwsCredentialsRefused
                    | Cause::AwsSignatureRefused
                    | Cause::MintPanicked
            )
        });
        if needs_new_client {
            self.clients.forget(key).await;
        }
        minted
    }

    async fn call(&self, key: &TokenKey, endpoints: &Endpoints) -> Result<Token, MintFailure> {
        let client = self.clients.client(key, endpoints).await;
        let client = client.map_err(|invalid| MintFailure::of_setting(&invalid))?;
        let minted_at = clock::now();
        let (answer, seen) = observed(client.get_authorization_token().send()).await;
        let answer = answer.map_err(|error| {
            let assumes_role = matches!(key.identity, Identity::Role(_));
            MintFailure::of_call(&error, &seen, assumes_role)
        })?;
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
            .map_err(|error| MintFailure::unusable(&error.to_string()))
    }
}
