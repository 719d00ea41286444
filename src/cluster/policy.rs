//! The check that the guard policies are there, bound and denying.
//!
//! RBAC lets our account write Secrets of one name in every namespace. ValidatingAdmissionPolicies
//! limit the content of those Secrets. Without the policies, a stolen token of ours could make the
//! API server hand out tokens of other accounts. The process works without them, and reports it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ecr_pull_secrets_core::pull_secret::{DATA_KEY, MANAGED_BY, OWNER, SECRET_TYPE};
use ecr_pull_secrets_core::target::Target;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::time::timeout;

use super::call::{CALL_TIMEOUT, call};
use super::refusal::Refusal;

/// The names of the policies and of their bindings that every installation has.
const ALWAYS: [&str; 4] = [
    SECRETS,
    "ecr-pull-secrets-guard-registration",
    "ecr-pull-secrets-guard-events",
    "ecr-pull-secrets-guard-lease",
];
const SECRETS: &str = "ecr-pull-secrets-guard-secrets";
const PODS: &str = "ecr-pull-secrets-guard-pods";
const REST: &str = "ecr-pull-secrets-guard-rest";

/// The guards that depend on the chart's values. The configuration and a flag of the Deployment say
/// which there are, and never the cluster's answer: our account can write neither of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChosenGuards {
    /// `repair.recreatePods`, with which RBAC grants the deletion of pods.
    pub(crate) pods: bool,
    /// The chart's value `guard.rest`.
    pub(crate) rest: bool,
}

impl ChosenGuards {
    /// The names of all guards that must hold.
    fn names(self) -> impl Iterator<Item = &'static str> {
        let chosen = [(self.pods, PODS), (self.rest, REST)];
        let chosen = chosen.into_iter().filter(|(is_chosen, _)| *is_chosen);
        ALWAYS.into_iter().chain(chosen.map(|(_, name)| name))
    }
}

/// Which guard does not hold, and why.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GuardError {
    #[error("cannot read the policy {name}")]
    Policy { name: &'static str, source: Refusal },
    #[error("cannot read the binding {name}")]
    Binding { name: &'static str, source: Refusal },
    #[error("the policy {0} does not fail closed")]
    FailsOpen(&'static str),
    #[error("the binding {0} does not deny")]
    DoesNotDeny(&'static str),
    #[error("a forbidden write was refused, but not by the guard")]
    NotTheGuard(#[source] Refusal),
    #[error("a forbidden write was not denied")]
    NotDenied,
    #[error("the API server did not answer in time")]
    NoAnswer,
}

/// Checks the guards. `target` is a pull Secret that a forbidden write is tried on, as a dry run.
///
/// # Errors
///
/// [`GuardError`] of the first guard that does not hold.
pub(crate) async fn verify(
    client: &Client,
    target: &Target,
    chosen: ChosenGuards,
) -> Result<(), GuardError> {
    match timeout(CALL_TIMEOUT * 3, check(client, target, chosen)).await {
        Ok(result) => result,
        Err(_) => Err(GuardError::NoAnswer),
    }
}

async fn check(client: &Client, target: &Target, chosen: ChosenGuards) -> Result<(), GuardError> {
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    for name in chosen.names() {
        let policy = call(|| policies.get(name))
            .await
            .map_err(|source| GuardError::Policy { name, source })?;
        let fails_closed = policy
            .spec
            .and_then(|spec| spec.failure_policy)
            .is_none_or(|policy| policy == "Fail");
        if !fails_closed {
            return Err(GuardError::FailsOpen(name));
        }
        let binding = call(|| bindings.get(name))
            .await
            .map_err(|source| GuardError::Binding { name, source })?;
        let actions = &binding.spec.validation_actions;
        let denies = actions.iter().any(|action| action == "Deny");
        if !denies || binding.spec.policy_name != name {
            return Err(GuardError::DoesNotDeny(name));
        }
    }
    probe(client, target).await
}

/// Tries, as a dry run, what the first guard must deny: the annotation that makes a controller fill
/// in the token of an account. The type is the right one, because the API server would otherwise
/// refuse the change of an existing Secret before it asks the guard.
async fn probe(client: &Client, target: &Target) -> Result<(), GuardError> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &target.namespace);
    let forbidden = Patch::Apply(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": &*target.secret,
            "labels": { MANAGED_BY: OWNER },
            "annotations": { "kubernetes.io/service-account.name": "default" },
        },
        "type": SECRET_TYPE,
        "data": { DATA_KEY: BASE64_STANDARD.encode("{}") },
    }));
    let params = PatchParams {
        dry_run: true,
        force: true,
        ..PatchParams::apply(OWNER)
    };
    match call(|| secrets.patch_metadata(&target.secret, &params, &forbidden)).await {
        // The refusal of a policy names the policy.
        Err(Refusal::Because { detail, .. }) if detail.contains(SECRETS) => Ok(()),
        Err(refusal) => Err(GuardError::NotTheGuard(refusal)),
        Ok(_) => Err(GuardError::NotDenied),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_chosen_guards_must_hold() {
        let names = |pods, rest| ChosenGuards { pods, rest }.names().collect::<Vec<_>>();
        assert_eq!(names(false, false), ALWAYS);
        assert_eq!(names(true, false), [&ALWAYS[..], &[PODS]].concat());
        assert_eq!(names(false, true), [&ALWAYS[..], &[REST]].concat());
        assert_eq!(names(true, true).len(), ALWAYS.len() + 2);
    }
}
