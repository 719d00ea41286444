//! The Secret of our name that is not ours to write.

use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::config::Config;
use ecr_pull_secrets_core::pull_secret::ownership::{Ownership, ownership};
use ecr_pull_secrets_core::target::Target;
use ecr_pull_secrets_core::workload::plan::withholds;
use k8s_openapi::api::core::v1::Secret;

use super::SecretWriter;
use crate::cluster::pull_secrets::view;

impl SecretWriter {
    /// Whether a foreign Secret, as it is now, keeps references from new pods. Logs and counts nothing.
    pub(crate) async fn withholds(&self, config: &Config, target: &Target) -> bool {
        let foreign = self.foreign_cause(config, target).await;
        foreign.is_some_and(|(_, cause)| withholds(cause))
    }

    /// The foreign Secret of this name, and why it is not ours to write.
    pub(super) async fn foreign_cause(
        &self,
        config: &Config,
        target: &Target,
    ) -> Option<(Secret, Cause)> {
        if !self.ledger.read().is_contested(target) {
            return None;
        }
        // A read that fails now fails again before the write, which reports it.
        let secret = self.api.read(target).await.ok().flatten()?;
        match ownership(&view(&secret), config.secret.adopt) {
            Ownership::Foreign(cause) => Some((secret, cause)),
            Ownership::Adopted(_) | Ownership::Ours(_) => None,
        }
    }
}
