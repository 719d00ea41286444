//! Whether the guard policies hold: there, bound, denying.
//!
//! RBAC lets our account write Secrets of one name in every namespace. What may be in them is
//! pinned by ValidatingAdmissionPolicies; without those a stolen token of ours could make the API
//! server hand out tokens of other accounts. The process works without them, and says so.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ecr_pull_secrets_core::pull_secret::{DATA_KEY, MANAGED_BY, OWNER, SECRET_TYPE};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::time::timeout;

use super::client::CALL_TIMEOUT;
use crate::telemetry::chain::chain;

/// The policies, and the names of their bindings.
pub(crate) const GUARDS: [&str; 4] = [
    "ecr-pull-secrets-guard-secrets",
    "ecr-pull-secrets-guard-registration",
    "ecr-pull-secrets-guard-events",
    "ecr-pull-secrets-guard-rest",
];

/// Looks whether the guards hold; the error says which does not, and how.
///
/// # Errors
///
/// A sentence for the log.
pub(crate) async fn verify(
    client: &Client,
    namespace: &str,
    secret_name: &str,
) -> Result<(), String> {
    match timeout(CALL_TIMEOUT * 3, check(client, namespace, secret_name)).await {
        Ok(result) => result,
        Err(_) => Err("the API server did not answer in time".to_owned()),
    }
}

async fn check(client: &Client, namespace: &str, secret_name: &str) -> Result<(), String> {
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    for name in GUARDS {
        let policy = policies
            .get(name)
            .await
            .map_err(|error| format!("policy {name}: {}", chain(&error)))?;
        let fails = policy
            .spec
            .and_then(|spec| spec.failure_policy)
            .is_none_or(|policy| policy == "Fail");
        if !fails {
            return Err(format!("policy {name} does not fail closed"));
        }
        let binding = bindings
            .get(name)
            .await
            .map_err(|error| format!("binding {name}: {}", chain(&error)))?;
        let actions = &binding.spec.validation_actions;
        let denies = actions.iter().any(|action| action == "Deny");
        if !denies || binding.spec.policy_name != name {
            return Err(format!("binding {name} does not deny"));
        }
    }
    probe(client, namespace, secret_name).await
}

/// Tries, as a dry run, what the first guard must deny: the annotation that makes a controller fill
/// in an account's token. The type is the right one, or the API server would refuse the change of
/// an existing Secret before it asks the guard.
async fn probe(client: &Client, namespace: &str, secret_name: &str) -> Result<(), String> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let forbidden = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": secret_name,
            "labels": { MANAGED_BY: OWNER },
            "annotations": { "kubernetes.io/service-account.name": "default" },
        },
        "type": SECRET_TYPE,
        "data": { DATA_KEY: BASE64_STANDARD.encode("{}") },
    });
    let params = PatchParams {
        dry_run: true,
        force: true,
        ..PatchParams::apply(OWNER)
    };
    match secrets
        .patch_metadata(secret_name, &params, &Patch::Apply(forbidden))
        .await
    {
        Err(kube::Error::Api(status)) if status.message.contains(GUARDS[0]) => Ok(()),
        Err(error) => Err(format!(
            "a forbidden write was refused, but not by the guard: {}",
            chain(&error)
        )),
        Ok(_) => Err("a forbidden write was not denied".to_owned()),
    }
}
