//! Our registration: its `caBundle`, which is all of it that this process reads and writes.

use ecr_pull_secrets_core::pull_secret::OWNER;
use futures::Stream;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::call::call;
use super::client::Clients;
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
