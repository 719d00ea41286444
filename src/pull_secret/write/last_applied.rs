//! The copy that `kubectl apply` keeps of a Secret.

use ecr_pull_secrets_core::pull_secret::annotation;
use ecr_pull_secrets_core::target::Target;
use tracing::warn;

use super::{ROUNDS, SecretWriter};
use crate::cluster::optimistic::version_of;
use crate::cluster::refusal::Refusal;

impl SecretWriter {
    /// Removes the annotation of `kubectl apply`: it holds a token in clear text.
    pub(super) async fn drop_last_applied(&self, target: &Target) {
        let namespace = &*target.namespace;
        for _ in 0..ROUNDS {
            let Ok(Some(secret)) = self.api.read(target).await else {
                break;
            };
            let base = version_of(&secret.metadata);
            drop(secret);
            match self.api.drop_last_applied(target, &base).await {
                Ok(metadata) => {
                    self.ledger.saw(&metadata);
                    return;
                }
                Err(Refusal::Changed) => {}
                Err(_) => break,
            }
        }
        warn!(
            namespace,
            "cannot remove the annotation {}",
            annotation::LAST_APPLIED
        );
    }
}
