//! The admission endpoint: its certificate, which is kept from the start, and its port.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use tokio::task::JoinHandle;
use tracing::info;

use super::lifecycle::Tasks;
use super::listen;
use super::ports::Ports;
use crate::admission::handler::Admission;
use crate::admission::http::Webhook;
use crate::certificate::files::Files;
use crate::certificate::self_signed::SelfSigned;
use crate::certificate::served::{Certificate, service};
use crate::engine::Engine;
use crate::exit::Failure;
use crate::https::connections::Connections;
use crate::https::drain::DrainSignal;
use crate::https::listener;
use crate::probes::CertificateReadiness;

/// An endpoint whose port is not open yet.
pub(super) struct AdmissionEndpoint {
    tls: ServerConfig,
    pub(super) readiness: CertificateReadiness,
}

impl AdmissionEndpoint {
    /// Starts the tasks that keep the certificate.
    ///
    /// # Errors
    ///
    /// [`Failure::Tls`].
    pub(super) fn new(
        engine: &Arc<Engine>,
        ports: &Ports,
        tasks: &mut Tasks,
    ) -> Result<Self, Failure> {
        let provider = CryptoProvider::get_default()
            .cloned()
            .ok_or_else(|| rustls::Error::General("no provider is installed".to_owned()))?;
        let service = service(&engine.namespace);
        let certificate = Certificate::new(provider, service, engine.metrics.clone());
        let tls = certificate.server_config()?;
        let served = certificate.served();
        tasks.own("certificate-expiry", certificate.clone().report_expiry());
        let trusted = if let Some(directory) = &ports.certificate_dir {
            tasks.own("certificate", Files::new(directory, certificate).run());
            None
        } else {
            let (clients, namespace) = (&engine.clients, &engine.namespace);
            let (managed, trusted) =
                SelfSigned::new(clients, namespace, ports.certificate_lifetime, certificate);
            tasks.own("certificate", managed.run());
            Some(trusted)
        };
        let readiness = CertificateReadiness { served, trusted };
        Ok(Self { tls, readiness })
    }

    /// Opens the port. The task ends when the last connection of a drain has.
    ///
    /// # Errors
    ///
    /// [`Failure::Listen`].
    pub(super) async fn open(
        self,
        engine: &Arc<Engine>,
        ports: &Ports,
        drain: DrainSignal,
    ) -> Result<JoinHandle<()>, Failure> {
        let metrics = engine.metrics.clone();
        let https = listen::bind(ports.https).await?;
        info!(https = %ports.https, "serving admission");
        Ok(tokio::spawn(listener::serve(
            https,
            Arc::new(self.tls),
            Webhook::new(Admission::new(engine.clone()), metrics.clone()),
            Connections::new(ports.connection_age, metrics),
            drain,
        )))
    }
}
