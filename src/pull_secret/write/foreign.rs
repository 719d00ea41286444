//! The Secret of our name that is not ours to write.

use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::config::Config;
use ecr_pull_secrets_core::pull_secret::ownership::{Ownership, ownership};
use ecr_pull_secrets_core::target::Target;
use ecr_pull_secrets_core::workload::plan::withholds;
use k8s_openapi::api::core::v1::Secret;

use super::SecretWriter;
use crate::cluster::pull_secrets::view;
use crate::cluster::refusal::Refusal;
use crate::telemetry::metrics::Trigger;

impl SecretWriter {
    /// Why a foreign Secret, as it is now, keeps references from new pods; `None` if none does. Logs and
    /// counts nothing.
    ///
    /// # Errors
    ///
    /// [`Refusal`] if the API server does not say.
    pub(crate) async fn withheld_for(
        &self,
        config: &Config,
        target: &Target,
    ) -> Result<Option<Cause>, Refusal> {
        let contested = self.ledger.read().contested_version(target);
        let Some(version) = contested else {
            return Ok(None);
        };
        let read = async {
            let foreign = self.foreign_cause(config, target).await?;
            let cause = foreign.map(|(_, cause)| cause);
            Ok(cause.filter(|cause| withholds(*cause)))
        };
        let adopt = config.secret.adopt;
        self.withheld.ask(target, version, adopt, read).await
    }

    /// Finds out whether the Secret is another's. No token helps then, and the caller has to hear so
    /// whether AWS answers or not: a pod may have to do without the reference. Costs a call only
    /// where the ledger has a doubt.
    ///
    /// # Errors
    ///
    /// The cause that prevents a write; it has been counted and logged.
    pub(crate) async fn check(
        &self,
        config: &Config,
        target: &Target,
        trigger: Trigger,
    ) -> Result<(), Cause> {
        if !self.ledger.read().is_contested(target) {
            return Ok(());
        }
        match self.foreign_cause(config, target).await {
            Ok(Some((secret, cause))) => {
                let obstacle = self.foreign(&secret, cause);
                Err(self.failed(target, trigger, obstacle))
            }
            // A read that fails now fails again before the write, which reports it.
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// Reads a Secret that the ledger has a doubt about: if it is foreign, why it is not ours to write.
    async fn foreign_cause(
        &self,
        config: &Config,
        target: &Target,
    ) -> Result<Option<(Secret, Cause)>, Refusal> {
        let Some(secret) = self.api.read(target).await? else {
            return Ok(None);
        };
        match ownership(&view(&secret), config.secret.adopt) {
            Ownership::Foreign(cause) => Ok(Some((secret, cause))),
            Ownership::Adopted(_) | Ownership::Ours(_) => Ok(None),
        }
    }
}
