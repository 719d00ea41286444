//! Our registration, as far as its `caBundle` goes: nothing else of it is ever written.

use futures::Stream;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::json;

use super::client::Clients;
use super::pull_secrets::within;
use super::refusal::Refusal;
use ecr_pull_secrets_core::pull_secret::OWNER;

/// Its name.
pub(crate) const NAME: &str = "zz-ecr-pull-secrets";
/// Of the webhook in it.
const WEBHOOK: &str = "pods.ecr-pull-secrets.dev";
/// Annotations by which cert-manager fills in the `caBundle`, and keeps it so.
const INJECTORS: [&str; 3] = [
    "cert-manager.io/inject-ca-from",
    "cert-manager.io/inject-ca-from-secret",
    "cert-manager.io/inject-apiserver-ca",
];

/// The webhook of our registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Webhook {
    /// Its place in the list.
    index: usize,
    /// Whose certificates the API server takes; empty: nobody's of ours.
    pub(crate) ca_bundle: Vec<u8>,
    /// Whether cert-manager was told to fill it in.
    pub(crate) is_injected: bool,
}

impl Webhook {
    /// None: the registration has no webhook of our name.
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

/// The registration's API.
#[derive(Clone)]
pub(crate) struct Registration {
    watched: Api<MutatingWebhookConfiguration>,
    called: Api<MutatingWebhookConfiguration>,
}

impl Registration {
    /// Talks to nobody yet.
    pub(crate) fn new(clients: &Clients) -> Self {
        Self {
            watched: Api::all(clients.watch.clone()),
            called: Api::all(clients.call.clone()),
        }
    }

    /// Watches it.
    pub(crate) fn events(
        &self,
    ) -> impl Stream<Item = watcher::Result<Event<MutatingWebhookConfiguration>>> + Send + use<>
    {
        let config = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
        watcher(self.watched.clone(), config)
    }

    /// Sets the `caBundle` of the webhook, if it is still at its place.
    ///
    /// # Errors
    ///
    /// [`Refusal`] of the API server.
    pub(crate) async fn set_ca_bundle(
        &self,
        webhook: &Webhook,
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
        within(|| self.called.patch_metadata(NAME, &params, &patch)).await?;
        Ok(())
    }
}
