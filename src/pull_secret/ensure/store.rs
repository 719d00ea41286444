//! The way of tokens that arrived into the Secret.

use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::image::Registry;
use ecr_pull_secrets_core::pull_secret::content::Grant;
use ecr_pull_secrets_core::pull_secret::flight::{FlightPhase, FlightProgress};
use ecr_pull_secrets_core::pull_secret::lineup::Errand;

use super::permission::FlightMandate;
use super::{Minted, PullSecrets, Work};
use crate::pull_secret::write::Written;
use crate::token::supply::Supplied;

impl PullSecrets {
    /// Writes tokens that arrived. Returns the registries whose write failed.
    pub(super) async fn store(&self, work: &Work, batch: Vec<Minted>) -> Vec<Registry> {
        let Work {
            target,
            flight,
            trigger,
            ..
        } = work;
        let mut grants = Vec::new();
        let mut expiring = Vec::new();
        for Minted { errand, token } in batch {
            let Errand {
                key, registries, ..
            } = errand;
            match token {
                Ok(Supplied { token, failure }) => {
                    if let Some(failure) = failure {
                        expiring.push((registries.clone(), failure.cause()));
                    }
                    let identity = &key.identity;
                    let granted = registries.into_iter();
                    grants.extend(
                        granted.map(|registry| Grant::new(registry, identity, token.clone())),
                    );
                }
                Err(failure) => flight.update(|log| {
                    log.report(&registries, FlightProgress::Failed(failure.cause()));
                }),
            }
        }
        if grants.is_empty() {
            return Vec::new();
        }
        flight.update(|log| log.enter(FlightPhase::Writing));
        let turn = self.writer.turn().await;
        let mut mandate = FlightMandate::new(work, grants);
        let written = self
            .writer
            .write(target, &mut mandate, *trigger, turn)
            .await;
        let granted = mandate.into_registries();
        match written {
            Ok(Written { refused, .. }) => {
                flight.update(|log| {
                    log.report(&granted, FlightProgress::Done);
                    for (registries, cause) in &expiring {
                        log.report(registries, FlightProgress::Failed(*cause));
                    }
                    let too_many = FlightProgress::Failed(Cause::TooManyRegistries);
                    log.report(&refused, too_many);
                });
                Vec::new()
            }
            Err(cause) => {
                flight.update(|log| log.report(&granted, FlightProgress::Failed(cause)));
                granted
            }
        }
    }
}
