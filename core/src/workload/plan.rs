//! The one decision: the reference and the grants that a pod needs.
//!
//! Admission asks [`plan`] before the API server stores a pod, and the leader asks it about stored
//! pods, so both answer alike. [`plan`] is total: it refuses no pod. It does not look anything up
//! either: it asks for a [`Fact`] that it needs, and the caller asks again with the answer.

pub use super::claim::NamespaceFact;
use super::claim::{SecretClaim, Unserved};
use super::pod::{Pod, ReferenceList};
use crate::cause::Cause;
use crate::config::Config;
use crate::identity::{Access, Subject};
use crate::pull_secret::MAX_REGISTRIES;

/// A pod in its namespace.
#[derive(Clone, Copy, Debug)]
pub struct Workload<'a> {
    /// Name of the namespace.
    pub namespace: &'a str,
    /// The pod.
    pub pod: &'a Pod<'a>,
    /// Whether the pod runs and gets an ephemeral container: its references cannot change then.
    pub is_running: bool,
}

impl<'a> Workload<'a> {
    /// The subject of the rules: the namespace, and the account that the pod runs as.
    pub fn subject(&self) -> Subject<'a> {
        Subject {
            namespace: self.namespace,
            service_account: Some(self.pod.service_account()),
        }
    }
}

/// Whether a ServiceAccount lets its pods name the pull Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountFact {
    /// The API server admits a pod that names the pull Secret. Also for an account that could not
    /// be looked up in time: the restriction is deprecated and rare.
    Unrestricted,
    /// The API server refuses a pod that names the pull Secret.
    Restricted,
}

/// The surroundings of a pod, as far as the caller knows them.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// The namespace; `None` if the caller has not looked it up.
    pub namespace: Option<NamespaceFact>,
    /// The pod's ServiceAccount; `None` if the caller has not looked it up.
    pub account: Option<AccountFact>,
}

impl Facts {
    /// Enters the answer for a fact that could not be looked up in time. With it the pod gets its
    /// reference.
    pub fn give_up(&mut self, fact: Fact) {
        match fact {
            Fact::Namespace => self.namespace = Some(NamespaceFact::Unknown),
            Fact::Account => self.account = Some(AccountFact::Unrestricted),
        }
    }
}

/// A fact that [`plan`] needs and does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fact {
    /// [`Facts::namespace`].
    #[error("the state of the namespace is not known")]
    Namespace,
    /// [`Facts::account`].
    #[error("the ServiceAccount is not known")]
    Account,
}

/// Why a pod needs nothing. Its name is a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// No image is in a private ECR registry, and the selection depends on images or the ServiceAccount forbids
    /// the reference; or the pod runs without the reference, and its ephemeral containers need none.
    NoEcrImage,
    /// The pod mirrors a static pod: the API server forbids it any Secret.
    MirrorPod,
    /// The labels of the pod and its namespace, by the configuration's [selection](crate::selection::Selection).
    OptedOut,
    /// The namespace does not exist, so no API server sent the review.
    NamespaceMissing,
    /// The configuration leaves the namespace out, or it is our own.
    NamespaceExempt,
}

impl Skip {
    /// `snake_case`, for metrics and audit annotations.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoEcrImage => "no_ecr_image",
            Self::MirrorPod => "mirror_pod",
            Self::OptedOut => "opted_out",
            Self::NamespaceMissing => Cause::NamespaceMissing.name(),
            Self::NamespaceExempt => "namespace_exempt",
        }
    }
}

/// The pod's reference to the pull Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullReference {
    /// The pod gets it, in a list that is created for it.
    Create,
    /// The pod gets it, at the end of its list.
    Append,
    /// The pod has it.
    Named,
    /// The pod does not get it.
    Withheld,
}

/// What a pod needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Why the pod needs nothing; with it, the other fields are empty.
    pub skip: Option<Skip>,
    /// The pod's reference to the pull Secret.
    pub reference: PullReference,
    /// The registries that the pull Secret must open, and the identity for each. Sorted, each once.
    pub grants: Vec<Access>,
    /// What is not as it should be, the most important cause first.
    pub causes: Vec<Cause>,
}

impl Plan {
    fn skip(skip: Skip) -> Self {
        Self {
            skip: Some(skip),
            reference: PullReference::Withheld,
            grants: Vec::new(),
            causes: Vec::new(),
        }
    }

    /// A plan without grants, for one cause.
    fn degraded(reference: PullReference, cause: Cause) -> Self {
        Self {
            skip: None,
            reference,
            grants: Vec::new(),
            causes: vec![cause],
        }
    }

    /// The plan once the pull Secret is written, or `late` for a cause.
    #[must_use]
    pub fn settle(mut self, late: Option<Cause>) -> Self {
        if let Some(cause) = late {
            self.causes.retain(|known| *known != cause);
            self.causes.insert(0, cause);
        }
        if late.is_some_and(withholds) && self.reference != PullReference::Named {
            self.reference = PullReference::Withheld;
        }
        self
    }
}

/// Whether a pod does without its reference while the pull Secret cannot be written for this cause: a
/// malformed Secret breaks every pull of a pod that names it.
pub fn withholds(cause: Cause) -> bool {
    cause == Cause::ForeignMalformed
}

/// Plans what a pod needs.
///
/// A pod that no fact can change is planned without any: one that mirrors a static pod, opts out by
/// its own label, or has no image in a private registry while the selection depends on images.
///
/// # Errors
///
/// The [`Fact`] that the plan depends on and that `facts` lacks.
pub fn plan(workload: &Workload<'_>, facts: &Facts, config: &Config) -> Result<Plan, Fact> {
    let pod = workload.pod;
    if pod.is_mirror() {
        return Ok(Plan::skip(Skip::MirrorPod));
    }
    let names_registry = !pod.registries().is_empty();
    if !names_registry && (config.selection.depends_on_images() || !pod.has_spec()) {
        return Ok(Plan::skip(Skip::NoEcrImage));
    }
    let list = pod.reference_list(&config.secret.name);
    let reference = match list {
        ReferenceList::Named => PullReference::Named,
        _ if workload.is_running => PullReference::Withheld,
        ReferenceList::Absent => PullReference::Create,
        ReferenceList::Present => PullReference::Append,
    };
    // No other namespace admits more pods than one that is unknown.
    let fact = facts.namespace.unwrap_or(NamespaceFact::Unknown);
    match SecretClaim::Pods(pod.wish()).unserved(config, workload.namespace, fact) {
        Some(Unserved::OptedOut) => return Ok(Plan::skip(Skip::OptedOut)),
        Some(Unserved::Excluded) => return Ok(Plan::skip(Skip::NamespaceExempt)),
        Some(Unserved::Missing) => return Ok(Plan::skip(Skip::NamespaceMissing)),
        // The API server creates no pod there, so the fact is stale and the pod gets its reference.
        Some(Unserved::Terminating) => {
            return Ok(Plan::degraded(reference, Cause::NamespaceTerminating));
        }
        None => {}
    }
    if facts.namespace.is_none() {
        return Err(Fact::Namespace);
    }
    if reference == PullReference::Withheld {
        if !pod.has_ephemeral_registry() {
            return Ok(Plan::skip(Skip::NoEcrImage));
        }
        return Ok(Plan::degraded(reference, Cause::PodLacksReference));
    }
    if reference != PullReference::Named
        && facts.account.ok_or(Fact::Account)? == AccountFact::Restricted
    {
        let cause = Cause::ServiceAccountRestricted;
        return Ok(if names_registry {
            Plan::degraded(PullReference::Withheld, cause)
        } else {
            // It pulls without the Secret.
            Plan::skip(Skip::NoEcrImage)
        });
    }
    Ok(granted(workload, reference, config))
}

/// Asks the rules about each registry of the pod.
fn granted(workload: &Workload<'_>, reference: PullReference, config: &Config) -> Plan {
    let mut is_denied = false;
    let registries = workload.pod.registries().iter().cloned();
    let rules = &config.rules;
    let mut grants = rules.grants(workload.subject(), registries, |_| is_denied = true);
    grants.truncate(MAX_REGISTRIES);
    let has_too_many = workload.pod.has_too_many_registries();
    let causes = [
        has_too_many.then_some(Cause::TooManyRegistries),
        is_denied.then_some(Cause::DeniedByRule),
    ];
    Plan {
        skip: None,
        reference: if is_denied && grants.is_empty() {
            PullReference::Withheld
        } else {
            reference
        },
        grants,
        causes: causes.into_iter().flatten().collect(),
    }
}

#[cfg(test)]
mod tests;
