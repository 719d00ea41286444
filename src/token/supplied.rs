//! What a caller of the supply gets: a token, or why there is none.

use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::token::Token;
use ecr_pull_secrets_core::token::quota::TooManyNewKeys;
use ecr_pull_secrets_core::token::table::TooManyKeys;
use tokio::task::JoinHandle;

use super::turns::TooManyCallers;
use crate::aws::failure::MintFailure;

/// A token, and what stands in the way of a better one.
#[derive(Clone, Debug)]
pub(crate) struct Supplied {
    /// A token that works now.
    pub(crate) token: Token,
    /// Why there is no next token yet, although this one expires soon.
    pub(crate) failure: Option<TokenFailure>,
}

impl From<Token> for Supplied {
    fn from(token: Token) -> Self {
        Self {
            token,
            failure: None,
        }
    }
}

/// The outcome of a renewal.
pub(super) struct Renewed {
    pub(super) token: Token,
    /// The write of a new token to the store.
    pub(super) storing: Option<JoinHandle<()>>,
}

impl From<Token> for Renewed {
    fn from(token: Token) -> Self {
        Self {
            token,
            storing: None,
        }
    }
}

/// Why a caller gets no token.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum TokenFailure {
    #[error(transparent)]
    Mint(#[from] MintFailure),
    #[error(transparent)]
    Quota(#[from] TooManyNewKeys),
    #[error(transparent)]
    Limit(#[from] TooManyKeys),
    #[error(transparent)]
    TooManyCallers(#[from] TooManyCallers),
    #[error("the task that mints tokens panicked")]
    Panicked,
}

impl TokenFailure {
    pub(crate) fn cause(&self) -> Cause {
        match self {
            Self::Mint(failure) => failure.cause,
            Self::Quota(TooManyNewKeys::OfNamespace) => Cause::TooManyTokens,
            // Other namespaces have reached the limit, and it passes.
            Self::Quota(TooManyNewKeys::OfAll) | Self::TooManyCallers(_) => Cause::StillWorking,
            Self::Limit(_) => Cause::TokenLimitReached,
            Self::Panicked => Cause::MintPanicked,
        }
    }
}
