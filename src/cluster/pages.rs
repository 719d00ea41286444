//! A list of pods, page by page: of all of them, or of those in a namespace.

use std::time::Duration;

use kube::Api;
use kube::api::ListParams;
use tokio::time::timeout;

use super::client::Clients;
use super::pods::Seen;
use crate::telemetry::chain::chain;

/// Pods in one answer: some 10 KiB each.
pub(crate) const PAGE: u32 = 100;
/// For one page.
const PATIENCE: Duration = Duration::from_secs(30);

/// A list that is being read.
pub(crate) struct Pages {
    api: Api<Seen>,
    params: Option<ListParams>,
}

impl Pages {
    /// Of every pod.
    pub(crate) fn all(clients: &Clients) -> Self {
        Self::of(Api::all(clients.watch.clone()))
    }

    /// Of a namespace's pods.
    pub(crate) fn namespaced(clients: &Clients, namespace: &str) -> Self {
        Self::of(Api::namespaced(clients.watch.clone(), namespace))
    }

    fn of(api: Api<Seen>) -> Self {
        Self {
            api,
            params: Some(ListParams::default().limit(PAGE)),
        }
    }

    /// The next page, if there is one.
    ///
    /// # Errors
    ///
    /// A sentence for the log. The list is over then.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Seen>>, String> {
        let Some(params) = self.params.take() else {
            return Ok(None);
        };
        let page = match timeout(PATIENCE, self.api.list(&params)).await {
            Ok(page) => page.map_err(|error| chain(&error))?,
            Err(_) => return Err("no answer in time".to_owned()),
        };
        self.params = page
            .metadata
            .continue_
            .filter(|token| !token.is_empty())
            .map(|token| params.continue_token(&token));
        Ok(Some(page.items))
    }
}
