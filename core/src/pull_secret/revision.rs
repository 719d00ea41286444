//! What one write changes: the decision between a Secret that was read and the grants for it.

use std::time::Duration;

use jiff::Timestamp;

use super::content::{Described, DescribedEntry, Grant, Merged, merge};
use super::docker_config::DockerConfig;
use super::ownership::{Existing, Ownership, ownership};
use super::tolerance::tolerated_until;
use crate::cause::Cause;
use crate::config::{Adopt, Config};
use crate::image::Registry;

/// What a write is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// The Secret exists and serves a pod that starts now.
    Serving,
    /// The Secret, if it exists, holds tokens that expire no sooner than those of the grants.
    Newest,
}

/// Whether another field manager wrote the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// No other field manager did.
    Absent,
    /// Another one did, and its content may be tolerated.
    Tolerable,
    /// Another one did, and its content was tolerated for long enough.
    Overdue,
}

/// What a write is to achieve, and the settings for it.
#[derive(Clone, Copy, Debug)]
pub struct Intent<'a> {
    /// Tokens for the registries that are wanted.
    pub grants: &'a [Grant],
    /// What the write is for.
    pub aim: Aim,
    /// `secret.adopt` of the configuration.
    pub adopt: Adopt,
    /// How long content of another field manager is tolerated.
    pub patience: Duration,
    /// Since when the rules that gave the grants are in force.
    pub since: Timestamp,
}

/// Why a Secret is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevisionReason {
    /// It becomes ours.
    Adoption,
    /// Another field manager wrote its content.
    Repair,
    /// It lacks some of the grants.
    Update,
}

/// What to do about a Secret that was read.
#[derive(Debug)]
pub enum Revision {
    /// Nothing: it is not ours to write.
    Foreign(Cause),
    /// Nothing until then: the content of another field manager serves every registry.
    Tolerated(Timestamp),
    /// Nothing: it has all that is wanted.
    Unneeded,
    /// Nothing: the registries that it lacks do not fit, or AWS gave no better token.
    Futile(Vec<Registry>),
    /// Write this content.
    Write(Merged, RevisionReason),
}

impl<'a> Intent<'a> {
    /// By this configuration, whose rules are in force since `since`.
    pub fn new(config: &Config, since: Timestamp, grants: &'a [Grant], aim: Aim) -> Self {
        Self {
            grants,
            aim,
            adopt: config.secret.adopt,
            patience: config.rotation.max_age,
            since,
        }
    }

    /// Content for a Secret that does not exist, or whose content the grants replace.
    pub fn whole(&self, now: Timestamp) -> Merged {
        let (config, described) = <(DockerConfig, Described)>::default();
        merge(config, described, self.grants, self.since, now)
    }

    /// Decides about a Secret that was read.
    pub fn revision(&self, secret: &Existing<'_>, edit: Edit, now: Timestamp) -> Revision {
        let Self {
            grants,
            aim,
            adopt,
            patience,
            since,
        } = *self;
        let described = Described::read(|name| secret.annotation(name));
        let (config, described, reason) = match ownership(secret, adopt) {
            Ownership::Foreign(cause) => return Revision::Foreign(cause),
            Ownership::Adopted(config) => (config, Described::default(), RevisionReason::Adoption),
            Ownership::Ours(config) if edit == Edit::Absent => {
                (config, described, RevisionReason::Update)
            }
            Ownership::Ours(config) => {
                if aim == Aim::Serving
                    && edit == Edit::Tolerable
                    && let Some(until) = tolerated_until(&config, &described, grants, patience, now)
                {
                    return Revision::Tolerated(until);
                }
                (config, Described::default(), RevisionReason::Repair)
            }
        };
        let grants = self.lacking(&config, &described, now);
        if grants.is_empty() {
            return Revision::Unneeded;
        }
        let merged = merge(config, described.clone(), &grants, since, now);
        if merged.refused.len() == grants.len() || merged.content.described == described {
            return Revision::Futile(merged.refused);
        }
        Revision::Write(merged, reason)
    }

    /// The grants for which the Secret has no entry that is good enough.
    fn lacking(&self, config: &DockerConfig, described: &Described, now: Timestamp) -> Vec<Grant> {
        let is_enough = |grant: &&Grant| {
            let host = grant.registry.host();
            let entry = described.0.get(host).map(DescribedEntry::incumbent);
            config.has_ecr_credentials(host)
                && entry.is_some_and(|entry| match self.aim {
                    Aim::Serving => {
                        entry.lifetime.serves(now) && !entry.is_outdated(grant.mark(), self.since)
                    }
                    Aim::Newest => !entry.is_below(grant.successor(self.since, now)),
                })
        };
        let lacking = self.grants.iter().filter(|grant| !is_enough(grant));
        lacking.cloned().collect()
    }
}

#[cfg(test)]
mod tests;
