//! The loop that manages the Secret with CA and leaf, and serves what is in it.
//!
//! It watches, creates keys and writes; [`trust`](ecr_pull_secrets_core::certificate::trust)
//! decides.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::backoff::jittered;
use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::certificate::life::{CertificateStep, HeldCertificates};
use ecr_pull_secrets_core::certificate::trust::{
    Contention, FailedWrites, MAX_CHECK_INTERVAL, RECHECK_INTERVAL, SecretStep, TrustStanding,
    absent_step, check_interval,
};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::material::Material;
use super::secret::{NAME, SecretApi, Stored};
use crate::certificate::served::Certificate;
use crate::clock;
use crate::cluster::optimistic::version_of;
use crate::cluster::refusal::Refusal;
use crate::cluster::watch::object_states;
use crate::telemetry::chain::chain;

/// The Secret as the watch saw it last.
enum SecretSeen {
    Unknown,
    Absent { since: Duration },
    Present(Box<Stored>),
}

pub(super) struct SecretKeeper {
    secret: SecretApi,
    certificate: Arc<Certificate>,
    lifetime: Duration,
    start: Instant,
    bundle: watch::Sender<Option<Arc<[u8]>>>,
    standing: watch::Receiver<TrustStanding>,
    seen: SecretSeen,
    /// What is served, and restored when the Secret is deleted or corrupt.
    served: Option<Material>,
    restores: Contention,
    failed: FailedWrites,
    /// The version of the Secret that was reported last.
    reported: Option<String>,
}

impl SecretKeeper {
    /// Times count from `start`. `bundle` receives the CAs in force; `standing` says what the API
    /// server trusts.
    pub(super) fn new(
        secret: SecretApi,
        certificate: Arc<Certificate>,
        lifetime: Duration,
        start: Instant,
        bundle: watch::Sender<Option<Arc<[u8]>>>,
        standing: watch::Receiver<TrustStanding>,
    ) -> Self {
        Self {
            secret,
            certificate,
            lifetime,
            start,
            bundle,
            standing,
            seen: SecretSeen::Unknown,
            served: None,
            restores: Contention::default(),
            failed: FailedWrites::default(),
            reported: None,
        }
    }

    /// Never returns.
    pub(super) async fn run(mut self) {
        let what = "the serving certificate's Secret";
        let mut states = pin!(object_states(what, self.secret.watched(), NAME));
        loop {
            let pause = self.check().await;
            tokio::select! {
                state = states.next() => match state {
                    Some(secret) => self.see(secret),
                    // A watch with backoff never ends.
                    None => return,
                },
                () = sleep(jittered(pause, fastrand::f64())) => {}
            }
        }
    }

    fn see(&mut self, secret: Option<Secret>) {
        self.seen = match secret {
            Some(secret) => SecretSeen::Present(Box::new(self.secret.stored(secret))),
            None => {
                debug!("there is no Secret {NAME}");
                SecretSeen::Absent { since: self.now() }
            }
        };
    }

    /// Serves what the Secret holds, and takes the next step. Returns the pause until the next
    /// check.
    async fn check(&mut self) -> Duration {
        let now = self.now();
        let (stored, step, idle) = match &self.seen {
            SecretSeen::Unknown => return MAX_CHECK_INTERVAL,
            SecretSeen::Absent { since } => {
                let standing = self.standing.borrow();
                let step = absent_step(self.served.is_some(), &standing, *since, now);
                (None, step, RECHECK_INTERVAL)
            }
            SecretSeen::Present(stored) => {
                let stored = stored.clone();
                let step = self.step(&stored);
                (Some(stored), step, self.check_interval())
            }
        };
        let is_restore = matches!(step, SecretStep::Restore(_));
        let Some(material) = self.wanted(stored.as_deref(), step, now) else {
            return if is_restore { RECHECK_INTERVAL } else { idle };
        };
        let base = stored.as_deref().map(|stored| version_of(&stored.metadata));
        match self.secret.write(base.as_ref(), material).await {
            Ok(stored) => {
                info!(
                    restores = is_restore,
                    "serving certificate written to its Secret"
                );
                self.seen = SecretSeen::Present(Box::new(stored));
                self.failed.reset();
            }
            Err(refusal) => self.refused(refusal).await,
        }
        if let SecretSeen::Present(stored) = &self.seen {
            let stored = stored.clone();
            self.serve(&stored.material);
        }
        RECHECK_INTERVAL
    }

    /// Serves usable certificates, and decides the next step.
    fn step(&mut self, stored: &Stored) -> SecretStep {
        let now = clock::now();
        let material = &stored.material;
        if stored.certificates().is_usable(self.served(), now) {
            self.serve(material);
        }
        let standing = self.standing.borrow();
        let is_trusted = standing.has_spread(&material.bundle(), self.lifetime, self.now());
        let certificates = stored.certificates();
        certificates.step(self.served(), self.lifetime, now, is_trusted)
    }

    /// What a step writes now, if it writes.
    fn wanted(
        &mut self,
        stored: Option<&Stored>,
        step: SecretStep,
        now: Duration,
    ) -> Option<Material> {
        let is_pausing = self.failed.is_pausing(now);
        match step {
            SecretStep::LeaveToOthers => {
                debug!("the lost Secret is left to those that remember what it held");
                None
            }
            SecretStep::Leave(cause) => {
                self.report(stored, cause);
                None
            }
            SecretStep::Restore(cause) => {
                if let Some(cause) = cause {
                    self.report(stored, cause);
                }
                if is_pausing || self.restores.pause_until(now).is_some() {
                    return None;
                }
                self.restores.record(now);
                self.served.clone()
            }
            SecretStep::Renew(CertificateStep::Keep) => None,
            SecretStep::Renew(_) if is_pausing => None,
            SecretStep::Renew(step) => match stored {
                Some(stored) => self.made(&stored.material, step),
                None => self.made(&Material::default(), step),
            },
        }
    }

    fn made(&self, material: &Material, step: CertificateStep) -> Option<Material> {
        let (service, provider) = (&self.secret.service, &self.secret.provider);
        match material.after(step, self.lifetime, clock::now(), service, provider) {
            Ok(made) => {
                info!(?step, "renewing the serving certificate");
                Some(made)
            }
            Err(error) => {
                warn!(
                    error = chain(&error),
                    ?step,
                    "cannot create a serving certificate"
                );
                None
            }
        }
    }

    /// Loads complete certificates, unless they are served already.
    fn serve(&mut self, material: &Material) {
        let Some(pair) = material.pair().filter(|_| material.held().is_complete()) else {
            return;
        };
        if self
            .served
            .as_ref()
            .is_some_and(|served| served.is_same_as(material))
        {
            return;
        }
        match self.certificate.load(pair) {
            Ok(()) => {
                self.bundle.send_replace(Some(material.bundle().into()));
                self.served = Some(material.clone());
            }
            Err(error) => debug!(
                error = chain(&error),
                "the Secret holds an older certificate"
            ),
        }
    }

    /// Reads the Secret again if another replica was first; otherwise waits.
    async fn refused(&mut self, refusal: Refusal) {
        let refusal = if refusal.is_conflict() {
            match self.secret.read().await {
                Ok(Some(stored)) => {
                    self.seen = SecretSeen::Present(Box::new(stored));
                    return;
                }
                Ok(None) => {
                    self.seen = SecretSeen::Absent { since: self.now() };
                    return;
                }
                Err(refusal) => refusal,
            }
        } else {
            refusal
        };
        let (cause, detail) = refusal.into_parts();
        warn!(
            cause = cause.name(),
            detail, "the serving certificate cannot be written to its Secret"
        );
        self.failed.record(self.now(), fastrand::f64());
    }

    /// Logs a cause, once for each version of the Secret.
    fn report(&mut self, stored: Option<&Stored>, cause: Cause) {
        let version = stored.and_then(|stored| stored.metadata.resource_version.as_ref());
        if self.reported.as_ref() != version {
            self.reported = version.cloned();
            let remedy = cause.remedy();
            let is_served = self.served.is_some();
            warn!(
                cause = cause.name(),
                secret = NAME,
                is_served,
                remedy,
                "{cause}"
            );
        }
    }

    fn check_interval(&self) -> Duration {
        check_interval(self.served(), self.lifetime, clock::now())
    }

    fn served(&self) -> Option<&HeldCertificates> {
        self.served.as_ref().map(Material::held)
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}
