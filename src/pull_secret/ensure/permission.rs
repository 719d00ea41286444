//! What the rules in force allow the work on a Secret.

use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::identity::{Access, Subject};
use ecr_pull_secrets_core::image::Registry;
use ecr_pull_secrets_core::pull_secret::content::Grant;
use ecr_pull_secrets_core::pull_secret::flight::FlightProgress;

use super::{PullSecrets, Work};
use crate::config::InForce;

impl PullSecrets {
    /// What the rules still allow of these registries, each with the identity that they name now.
    /// The others have failed.
    pub(super) fn permitted(
        &self,
        config: &InForce,
        work: &Work,
        registries: Vec<Registry>,
    ) -> Vec<Access> {
        let subject = Subject::of_namespace(&work.target.namespace);
        let mut denied = Vec::new();
        let permitted = config
            .rules
            .grants(subject, registries, |registry| denied.push(registry));
        if !denied.is_empty() {
            let progress = FlightProgress::Failed(Cause::DeniedByRule);
            work.flight.update(|log| log.report(&denied, progress));
        }
        permitted
    }

    /// Keeps the grants of the identities that the rules name now. The same attempt asks again for the
    /// others that the rules allow.
    pub(super) fn keep_granted(&self, config: &InForce, work: &Work, grants: &mut Vec<Grant>) {
        let registries = grants.iter().map(|grant| grant.registry.clone());
        let permitted = self.permitted(config, work, registries.collect());
        let mut outdated = Vec::new();
        grants.retain(|grant| {
            let mut permitted = permitted.iter();
            let access = permitted.find(|access| access.registry == grant.registry);
            let is_named =
                access.is_some_and(|access| access.identity.to_string() == *grant.identity);
            if access.is_some() && !is_named {
                outdated.push(grant.registry.clone());
            }
            is_named
        });
        work.flight.update(|log| log.repeat(&outdated));
    }
}
