//! Namespaces for which the API server never asks us, so that a pod without the reference there is
//! what somebody wanted.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::{Selector, SelectorExt as _};
use kube::{Api, Client};
use tokio::time::timeout;
use tracing::warn;

use crate::cluster::client::CALL_TIMEOUT;
use crate::telemetry::chain::chain;

/// Our registration.
const REGISTRATION: &str = "zz-ecr-pull-secrets";
/// Excluded by every registration that the chart renders; and there may be none.
const ALWAYS: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// Which namespaces the registration leaves out.
#[derive(Debug, Default)]
pub(crate) struct Exclusions {
    /// What a namespace's labels must satisfy, one for each webhook. Empty: there is none.
    selectors: Vec<Selector>,
}

impl Exclusions {
    /// Reads the registration.
    ///
    /// # Errors
    ///
    /// A sentence for the log.
    pub(crate) async fn read(client: &Client) -> Result<Self, String> {
        let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
        let registration = match timeout(CALL_TIMEOUT, api.get_opt(REGISTRATION)).await {
            Ok(Ok(registration)) => registration,
            // A right that is not there will not come; what it would say is not known then.
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 401 | 403) => {
                warn!(error = status.message, "cannot read our registration");
                None
            }
            Ok(Err(error)) => return Err(chain(&error)),
            Err(_) => return Err("no answer in time".to_owned()),
        };
        Ok(registration.map(Self::of).unwrap_or_default())
    }

    fn of(registration: MutatingWebhookConfiguration) -> Self {
        let webhooks = registration.webhooks.into_iter().flatten();
        let selectors = webhooks.filter_map(|webhook| {
            let selector = webhook.namespace_selector.unwrap_or_default();
            // One that we cannot read excludes nothing that we know of.
            Selector::try_from(selector).ok()
        });
        Self {
            selectors: selectors.collect(),
        }
    }

    /// Whether the namespace is left out; `client` is asked for its labels. One that is gone, or
    /// cannot be looked at, is told nothing either way: `None`.
    pub(crate) async fn exclude(&self, client: &Client, namespace: &str) -> Option<bool> {
        if ALWAYS.contains(&namespace) {
            return Some(true);
        }
        if self.selectors.is_empty() {
            return Some(false);
        }
        let api: Api<Namespace> = Api::all(client.clone());
        match timeout(CALL_TIMEOUT, api.get_metadata_opt(namespace)).await {
            Ok(Ok(Some(found))) => Some(self.leave_out(&found.metadata.labels.unwrap_or_default())),
            Ok(Ok(None)) => Some(true),
            Ok(Err(_)) | Err(_) => None,
        }
    }

    fn leave_out(&self, labels: &BTreeMap<String, String>) -> bool {
        !self.selectors.is_empty()
            && !self
                .selectors
                .iter()
                .any(|selector| selector.matches(labels))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn exclusions(selectors: &[Value]) -> Exclusions {
        let webhooks: Vec<Value> = selectors
            .iter()
            .map(|selector| {
                json!({
                    "name": "pods.ecr-pull-secrets.dev", "admissionReviewVersions": ["v1"],
                    "clientConfig": {}, "sideEffects": "None", "namespaceSelector": selector,
                })
            })
            .collect();
        let registration = json!({ "metadata": {}, "webhooks": webhooks });
        Exclusions::of(serde_json::from_value(registration).unwrap())
    }

    fn labels(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
        let labels = labels.iter();
        labels
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn what_no_webhook_selects_is_left_out() {
        let name = "kubernetes.io/metadata.name";
        let shipped = json!({ "matchExpressions": [
            { "key": name, "operator": "NotIn", "values": ["ours", "kube-system"] },
            { "key": "inject", "operator": "NotIn", "values": ["false"] },
        ]});
        let one = exclusions(std::slice::from_ref(&shipped));
        assert!(one.leave_out(&labels(&[(name, "ours")])));
        assert!(one.leave_out(&labels(&[(name, "team"), ("inject", "false")])));
        assert!(!one.leave_out(&labels(&[(name, "team")])));
        assert!(!one.leave_out(&labels(&[])));

        let some = exclusions(&[json!({ "matchLabels": { "env": "prod" } }), shipped]);
        assert!(some.leave_out(&labels(&[(name, "ours")])));
        assert!(!some.leave_out(&labels(&[(name, "ours"), ("env", "prod")])));
        assert!(!some.leave_out(&labels(&[(name, "team")])));
    }

    #[test]
    fn where_there_is_no_registration_nothing_else_is_left_out() {
        assert!(!Exclusions::default().leave_out(&labels(&[])));
        assert!(!exclusions(&[Value::Null]).leave_out(&labels(&[])));
    }
}
