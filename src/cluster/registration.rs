//! Our registration: its `caBundle`, and the namespaces that it leaves out.
//!
//! The `caBundle` is all of it that this process ever writes.

use std::collections::BTreeMap;

use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::pull_secret::OWNER;
use futures::Stream;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::{Patch, PatchParams};
use kube::core::{Selector, SelectorExt as _};
use kube::{Api, Client};
use serde_json::json;
use tracing::warn;

use super::call::call;
use super::client::Clients;
use super::namespaces;
use super::refusal::Refusal;
use super::watch::object_states;

/// The name of the registration.
pub(crate) const NAME: &str = "zz-ecr-pull-secrets";
/// The name of the webhook in it.
const WEBHOOK: &str = "pods.ecr-pull-secrets.dev";
/// Annotations by which cert-manager fills in the `caBundle`, and keeps it so.
const INJECTORS: [&str; 3] = [
    "cert-manager.io/inject-ca-from",
    "cert-manager.io/inject-ca-from-secret",
    "cert-manager.io/inject-apiserver-ca",
];
/// Namespaces that every registration of the chart leaves out. There may be no registration.
const ALWAYS_LEFT_OUT: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// The webhook of our registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RegisteredWebhook {
    /// The index in the list of webhooks.
    index: usize,
    /// The CAs by which the API server trusts us, in PEM; empty where there are none.
    pub(crate) ca_bundle: Vec<u8>,
    /// Whether an annotation tells cert-manager to fill it in.
    pub(crate) is_injected: bool,
}

impl RegisteredWebhook {
    /// `None` where the registration has no webhook of our name.
    pub(crate) fn of(registration: &MutatingWebhookConfiguration) -> Option<Self> {
        let webhooks = registration.webhooks.iter().flatten();
        let (index, webhook) = webhooks
            .enumerate()
            .find(|(_, webhook)| webhook.name == WEBHOOK)?;
        let annotations = registration.metadata.annotations.as_ref();
        let bundle = webhook.client_config.ca_bundle.clone();
        Some(Self {
            index,
            ca_bundle: bundle.unwrap_or(ByteString(Vec::new())).0,
            is_injected: annotations
                .is_some_and(|all| INJECTORS.iter().any(|name| all.contains_key(*name))),
        })
    }
}

/// The API of the registration.
#[derive(Clone)]
pub(crate) struct Registration {
    watched: Api<MutatingWebhookConfiguration>,
    called: Api<MutatingWebhookConfiguration>,
}

impl Registration {
    /// Makes no call yet.
    pub(crate) fn new(clients: &Clients) -> Self {
        Self {
            watched: Api::all(clients.watch.clone()),
            called: Api::all(clients.call.clone()),
        }
    }

    /// Watches it; `None` while there is none.
    pub(crate) fn states(
        &self,
    ) -> impl Stream<Item = Option<MutatingWebhookConfiguration>> + Send + use<> {
        object_states("the registration", self.watched.clone(), NAME)
    }

    /// Sets the `caBundle` of the webhook, if the webhook is still at its index.
    ///
    /// # Errors
    ///
    /// [`Refusal`] of the API server.
    pub(crate) async fn set_ca_bundle(
        &self,
        webhook: &RegisteredWebhook,
        bundle: &[u8],
    ) -> Result<(), Refusal> {
        let index = webhook.index;
        let operations = json!([
            { "op": "test", "path": format!("/webhooks/{index}/name"), "value": WEBHOOK },
            {
                "op": "add",
                "path": format!("/webhooks/{index}/clientConfig/caBundle"),
                "value": ByteString(bundle.to_vec()),
            },
        ]);
        let operations = serde_json::from_value(operations).unwrap_or_default();
        let patch = Patch::Json::<()>(operations);
        let params = PatchParams {
            field_manager: Some(OWNER.to_owned()),
            ..PatchParams::default()
        };
        call(|| self.called.patch_metadata(NAME, &params, &patch)).await?;
        Ok(())
    }
}

/// The namespaces that the registration leaves out. The API server calls no webhook for a pod there,
/// so a pod without the reference is as its owner wants it.
#[derive(Debug, Default)]
pub(crate) struct Exclusions {
    /// The namespace selector of each webhook; empty where there is no registration.
    selectors: Vec<Selector>,
}

impl Exclusions {
    /// Reads the registration. Where the API server forbids that, the registration leaves out nothing
    /// that is known.
    ///
    /// # Errors
    ///
    /// Any other [`Refusal`].
    pub(crate) async fn read(client: &Client) -> Result<Self, Refusal> {
        let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
        match call(|| api.get_opt(NAME)).await {
            Ok(registration) => Ok(registration.map(Self::of).unwrap_or_default()),
            // A right that is missing does not come by waiting.
            Err(refusal) if refusal.cause() == Cause::RbacForbidden => {
                warn!(error = %refusal, "cannot read our registration");
                Ok(Self::default())
            }
            Err(refusal) => Err(refusal),
        }
    }

    fn of(registration: MutatingWebhookConfiguration) -> Self {
        let webhooks = registration.webhooks.into_iter().flatten();
        let selectors = webhooks.filter_map(|webhook| {
            let selector = webhook.namespace_selector.unwrap_or_default();
            // A selector that this build cannot read leaves out nothing that it knows of.
            Selector::try_from(selector).ok()
        });
        Self {
            selectors: selectors.collect(),
        }
    }

    /// Whether the registration leaves the namespace out, by the labels that it has now. A namespace
    /// that is gone is left out; `None` where the API server does not say.
    pub(crate) async fn exclude(&self, client: &Client, namespace: &str) -> Option<bool> {
        if ALWAYS_LEFT_OUT.contains(&namespace) {
            return Some(true);
        }
        if self.selectors.is_empty() {
            return Some(false);
        }
        match namespaces::read(client, namespace).await.ok()? {
            Some(metadata) => Some(self.leave_out(&metadata.labels.unwrap_or_default())),
            None => Some(true),
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
    fn namespace_without_selecting_webhook_is_left_out() {
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
    fn missing_registration_leaves_no_namespace_out() {
        assert!(!Exclusions::default().leave_out(&labels(&[])));
        assert!(!exclusions(&[Value::Null]).leave_out(&labels(&[])));
    }
}
