//! What the namespace and the rules in force allow the work on a Secret.

use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::identity::{Access, Subject};
use ecr_pull_secrets_core::image::Registry;
use ecr_pull_secrets_core::pull_secret::content::Grant;
use ecr_pull_secrets_core::pull_secret::flight::FlightProgress;
use ecr_pull_secrets_core::pull_secret::revision::{Aim, Intent};
use ecr_pull_secrets_core::workload::claim::{NamespaceFact, Unserved};

use super::{PullSecrets, Work};
use crate::config::InForce;
use crate::pull_secret::mandate::Mandate;
use crate::telemetry::metrics::Trigger;

/// The mandate of a flight.
pub(super) struct FlightMandate<'a> {
    work: &'a Work,
    grants: Vec<Grant>,
}

impl<'a> FlightMandate<'a> {
    /// The mandate to write these tokens.
    pub(super) fn new(work: &'a Work, grants: Vec<Grant>) -> Self {
        Self { work, grants }
    }

    /// The registries that the last review left. The others have been reported.
    pub(super) fn into_registries(self) -> Vec<Registry> {
        let grants = self.grants.into_iter();
        grants.map(|grant| grant.registry).collect()
    }
}

impl Mandate for FlightMandate<'_> {
    async fn review(&mut self) -> Result<Intent<'_>, Cause> {
        let pull_secrets = &self.work.of;
        pull_secrets.check_claim(self.work).await?;
        // An entry that names a wrong identity, and is newer than the rules, would stay until it expires.
        let config = pull_secrets.live.snapshot();
        pull_secrets.keep_granted(&config, self.work, &mut self.grants);
        if self.grants.is_empty() {
            return Err(Cause::StillWorking);
        }
        let intent = Intent::new(&config, config.since, &self.grants, Aim::Serving);
        Ok(intent)
    }
}

impl PullSecrets {
    /// Why the claim of a flight does not count in a namespace of this state.
    pub(super) fn unserved(&self, work: &Work, fact: NamespaceFact) -> Option<Unserved> {
        let config = self.live.snapshot();
        let claim = work.flight.claim();
        claim.unserved(&config, &work.target.namespace, fact)
    }

    /// Whether the claim of a flight still counts: by memory, which the watch keeps up to date, or by a
    /// read, because a run of `sync` has no watch.
    async fn check_claim(&self, work: &Work) -> Result<(), Cause> {
        let namespace = &work.target.namespace;
        let fact = if work.trigger == Trigger::sync {
            let read = self.namespaces.read_again(namespace).await;
            Some(read.map_err(|refusal| refusal.into_parts().0)?)
        } else {
            self.namespaces.cached(namespace)
        };
        let unserved = fact.and_then(|fact| self.unserved(work, fact));
        unserved.map_or(Ok(()), |unserved| Err(unserved.cause()))
    }

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
    fn keep_granted(&self, config: &InForce, work: &Work, grants: &mut Vec<Grant>) {
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
