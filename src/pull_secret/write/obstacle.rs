//! What prevents a write of a pull Secret: a cause, and a text for the log.

use ecr_pull_secrets_core::cause::Cause;

use crate::cluster::refusal::Refusal;

/// What prevents a write.
#[derive(Debug, thiserror::Error)]
#[error("{cause}: {detail}")]
pub(super) struct Obstacle {
    pub(super) cause: Cause,
    /// A text for the log.
    pub(super) detail: String,
    /// What another field manager wrote into the Secret may be the reason.
    pub(super) is_of_secret: bool,
}

impl From<Refusal> for Obstacle {
    fn from(refusal: Refusal) -> Self {
        let is_of_secret = matches!(refusal, Refusal::Invalid { .. });
        let (cause, detail) = refusal.into_parts();
        Self {
            cause,
            detail,
            is_of_secret,
        }
    }
}

impl From<Cause> for Obstacle {
    fn from(cause: Cause) -> Self {
        Self {
            cause,
            detail: String::new(),
            is_of_secret: false,
        }
    }
}
