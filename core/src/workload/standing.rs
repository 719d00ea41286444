//! What the leader does about a stored pod, from the same plan as admission's.

use super::plan::{Fact, Facts, PullReference, Workload, plan};
use super::pod::Pod;
use crate::config::Config;
use crate::identity::Access;
use crate::image::Registry;
use crate::selection::Wish;

/// How far a stored pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodPhase {
    /// It waits for a node, an image, or an init container.
    Pending,
    /// It runs, or its node does not report.
    Running,
    /// It has ended, or is being deleted.
    Ended,
}

/// How a stored pod stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodStanding {
    /// It needs nothing, or nothing can be done for it, or with `injection: none` it is its author's to name
    /// the pull Secret. A stored pod without an image from ECR needs nothing, whatever the selection: admission
    /// gives it the reference for an image that another webhook adds later, and none came.
    Fine,
    /// The API server stored it without the reference that admission gives to it, unless the pull Secret
    /// [withholds](super::plan::withholds) it.
    Missed,
    /// It names the pull Secret, which must open these registries.
    Served(Vec<Access>),
}

/// Judges a stored pod by the plan that admission makes for it.
///
/// # Errors
///
/// The [`Fact`] that `facts` lacks, as for [`plan`].
pub fn standing(
    workload: &Workload<'_>,
    phase: PodPhase,
    facts: &Facts,
    config: &Config,
) -> Result<PodStanding, Fact> {
    if phase == PodPhase::Ended || workload.pod.registries().is_empty() {
        return Ok(PodStanding::Fine);
    }
    let plan = plan(workload, facts, config)?;
    if plan.grants.is_empty() {
        return Ok(PodStanding::Fine);
    }
    Ok(match plan.reference {
        // Only ephemeral containers have an image from ECR: the pod needed no reference when it came.
        _ if plan.reference != PullReference::Named && !workload.pod.has_lasting_registry() => {
            PodStanding::Fine
        }
        PullReference::Create | PullReference::Append if config.injection.reaches_pods() => {
            PodStanding::Missed
        }
        PullReference::Create | PullReference::Append => PodStanding::Fine,
        PullReference::Named => PodStanding::Served(plan.grants),
        PullReference::Withheld => PodStanding::Fine,
    })
}

/// What a stored pod that names a pull Secret wants of it: the wish of its own label, and the
/// registries of its images, in no order, maybe repeated. Configuration, rules and namespace may
/// deny them. `None` if the pod wants none.
pub fn wanted<'a>(
    pod: &'a Pod<'_>,
    phase: PodPhase,
) -> Option<(Wish, impl Iterator<Item = &'a Registry>)> {
    let wish = pod.wish();
    (phase != PodPhase::Ended && wish != Wish::Out && !pod.is_mirror())
        .then(|| (wish, pod.registries().iter()))
}

#[cfg(test)]
mod tests;
