//! The serving certificate from a CA of our own: an installation needs no other program for it.
//!
//! CA and leaf are in one Secret in our own namespace, `ecr-pull-secrets-tls`. The first replica
//! creates it. Every replica watches it and serves its leaf, and any replica takes the next step of
//! the renewal ([`life::step`](ecr_pull_secrets_core::certificate::life::step)): see `keeper`. The
//! CAs in force go into the `caBundle` of our registration, and are set again when another program
//! changes it: see `trust`.

mod keeper;
mod material;
mod secret;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::certificate::trust::TrustStanding;
use tokio::sync::watch;
use tokio::time::Instant;

use self::keeper::SecretKeeper;
use self::secret::SecretApi;
use self::trust::BundleKeeper;
use super::served::Certificate;
use crate::cluster::client::Clients;
use crate::cluster::registration::Registration;

/// Both loops of self-signed mode.
pub(crate) struct SelfSigned {
    secret: SecretKeeper,
    bundle: BundleKeeper,
}

impl SelfSigned {
    /// Reads nothing yet. The receiver turns true, and stays so, when the API server trusts our
    /// CAs or has no registration of ours.
    pub(crate) fn new(
        clients: &Clients,
        namespace: &str,
        lifetime: Duration,
        certificate: Arc<Certificate>,
    ) -> (Self, watch::Receiver<bool>) {
        let api = SecretApi::new(clients, namespace, certificate.provider.clone());
        let start = Instant::now();
        let (wanted, wants) = watch::channel(None);
        let (standing, stands) = watch::channel(TrustStanding::Unknown);
        let trusted = watch::Sender::new(false);
        let is_trusted = trusted.subscribe();
        let bundle = BundleKeeper::new(
            Registration::new(clients),
            api.clone(),
            start,
            wants,
            standing,
            trusted,
        );
        let secret = SecretKeeper::new(api, certificate, lifetime, start, wanted, stands);
        (Self { secret, bundle }, is_trusted)
    }

    /// Runs both loops. Never returns.
    pub(crate) async fn run(self) {
        tokio::join!(self.secret.run(), self.bundle.run());
    }
}
