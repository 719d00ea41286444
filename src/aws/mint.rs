//! One call of `GetAuthorizationToken`.

use std::panic::AssertUnwindSafe;
use std::path::Path;

use ecr_pull_secrets_core::aws::codes::blames_credentials;
use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::config::Endpoints;
use ecr_pull_secrets_core::identity::TokenKey;
use ecr_pull_secrets_core::token::Token;
use futures::FutureExt as _;
use jiff::Timestamp;
use tokio::time::timeout;

use super::clients::{ClientGeneration, EcrClients, MINT_TIMEOUT};
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

    /// Loads the credentials again for the next token: a registry refuses what they minted. At most
    /// once a minute, because a pod author can make a registry refuse.
    pub(crate) async fn forget(&self) {
        self.clients.forget(None, false).await;
    }

    /// Mints a token within 20 s, credentials included. A pod waits for less, and the call goes on.
    /// `endpoints` are those of the key's region; `has_worked` says whether the last call for the key
    /// was a success.
    ///
    /// At most six calls start in a second ([`MintPace`]), so at most 120 of them are under way.
    ///
    /// [`MintPace`]: ecr_pull_secrets_core::token::mint_pace::MintPace
    ///
    /// # Errors
    ///
    /// [`MintFailure`]. After a refusal of the credentials, the next call may load them again
    /// ([`CredentialReloads`](ecr_pull_secrets_core::aws::reloads::CredentialReloads)).
    pub(crate) async fn mint(
        &self,
        key: &TokenKey,
        endpoints: &Endpoints,
        has_worked: bool,
    ) -> Result<Token, MintFailure> {
        // The SDK has panicked on values that it did not expect.
        let minted = AssertUnwindSafe(self.call(key, endpoints))
            .catch_unwind()
            .await;
        let (minted, used) = minted.unwrap_or_else(|_| (Err(MintFailure::panicked()), None));
        // The keys may have been replaced meanwhile, and a client that panicked is in no known state.
        let needs_new_client = minted.as_ref().is_err_and(|failure| {
            blames_credentials(failure.cause) || failure.cause == Cause::MintPanicked
        });
        if needs_new_client {
            self.clients.forget(used, has_worked).await;
        }
        minted
    }

    /// The outcome, and what the client was built from.
    async fn call(
        &self,
        key: &TokenKey,
        endpoints: &Endpoints,
    ) -> (Result<Token, MintFailure>, Option<ClientGeneration>) {
        let (client, generation) = match self.clients.client(key, endpoints).await {
            Ok(built) => built,
            Err(invalid) => return (Err(MintFailure::of_setting(&invalid)), None),
        };
        (ask(&client).await, Some(generation))
    }
}

async fn ask(client: &aws_sdk_ecr::Client) -> Result<Token, MintFailure> {
    let minted_at = clock::now();
    let call = timeout(MINT_TIMEOUT, client.get_authorization_token().send());
    let (answer, seen) = observed(call).await;
    let answer = answer
        .map_err(|_| MintFailure::timed_out(&seen))?
        .map_err(|error| MintFailure::of_call(&error, &seen))?;
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

#[cfg(test)]
mod tests {
    use ecr_pull_secrets_core::identity::Identity;
    use ecr_pull_secrets_core::image::Endpoint;

    use super::*;

    #[tokio::test]
    async fn refused_tokens_reload_credentials_once_a_minute() {
        let mint = Mint::new(Path::new("none"));
        let key = TokenKey {
            identity: Identity::Ambient,
            region: "eu-west-1".into(),
            endpoint: Endpoint::Standard,
        };
        let generation = async || {
            let built = mint.clients.client(&key, &Endpoints::default()).await;
            built.map(|(_, generation)| generation).unwrap()
        };
        let first = generation().await;
        mint.forget().await;
        let second = generation().await;
        assert_ne!(first, second);
        mint.forget().await;
        assert_eq!(generation().await, second);
    }
}
