//! The loop that keeps the CAs in force in the `caBundle` of our registration, and changes nothing
//! else there.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::certificate::trust::{
    BundleStep, Contention, RECHECK_INTERVAL, TrustStanding, bundle_step,
};
use futures::StreamExt as _;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use super::secret::SecretApi;
use crate::clock;
use crate::cluster::refusal::Refusal;
use crate::cluster::registration::{NAME, RegisteredWebhook, Registration};

/// The registration as the watch saw it last.
enum RegistrationSeen {
    Unknown,
    Absent,
    Present(RegisteredWebhook),
}

pub(super) struct BundleKeeper {
    registration: Registration,
    secret: SecretApi,
    start: Instant,
    wanted: watch::Receiver<Option<Arc<[u8]>>>,
    standing: watch::Sender<TrustStanding>,
    trusted: watch::Sender<bool>,
    seen: RegistrationSeen,
    contention: Contention,
    /// The state that was logged last, so that it is logged once.
    logged: &'static str,
}

impl BundleKeeper {
    /// Times count from `start`. `wanted` has the CAs in force; `trusted` turns true when the API
    /// server trusts them.
    pub(super) fn new(
        registration: Registration,
        secret: SecretApi,
        start: Instant,
        wanted: watch::Receiver<Option<Arc<[u8]>>>,
        standing: watch::Sender<TrustStanding>,
        trusted: watch::Sender<bool>,
    ) -> Self {
        Self {
            registration,
            secret,
            start,
            wanted,
            standing,
            trusted,
            seen: RegistrationSeen::Unknown,
            contention: Contention::default(),
            logged: "",
        }
    }

    /// Never returns.
    pub(super) async fn run(mut self) {
        let mut states = pin!(self.registration.states());
        let mut wanted = self.wanted.clone();
        loop {
            let again = self.check().await;
            let later = again.map(|at| self.start + at);
            tokio::select! {
                state = states.next() => match state {
                    Some(registration) => self.see(registration.as_ref()),
                    // A watch with backoff never ends.
                    None => return,
                },
                changed = wanted.changed() => if changed.is_err() {
                    return;
                },
                () = clock::at(later) => {}
            }
        }
    }

    fn see(&mut self, registration: Option<&MutatingWebhookConfiguration>) {
        let webhook = registration.and_then(RegisteredWebhook::of);
        self.seen = webhook.map_or(RegistrationSeen::Absent, RegistrationSeen::Present);
    }

    /// Compares the bundles, and writes if necessary. Returns the time of the next check.
    async fn check(&mut self) -> Option<Duration> {
        let now = self.start.elapsed();
        let webhook = match &self.seen {
            RegistrationSeen::Unknown => return None,
            RegistrationSeen::Absent => {
                self.publish(TrustStanding::Absent);
                self.log_once("absent", || {
                    info!("there is no registration {NAME} yet: no API server calls us");
                });
                return None;
            }
            RegistrationSeen::Present(webhook) => webhook.clone(),
        };
        let wanted = self.wanted.borrow().clone();
        let standing = TrustStanding::of(&webhook.ca_bundle, wanted.as_ref(), now);
        let (has_wanted, is_injected) = (wanted.is_some(), webhook.is_injected);
        let step = bundle_step(&standing, has_wanted, is_injected, &self.contention, now);
        if matches!(standing, TrustStanding::Ours { .. }) {
            self.logged = "";
        }
        self.publish(standing);
        match step {
            BundleStep::Keep => None,
            BundleStep::LeaveToInjector => {
                self.log_once("injected", || {
                    report_foreign("an annotation tells cert-manager to set it");
                });
                None
            }
            BundleStep::PauseUntil(until) => Some(until),
            BundleStep::Set => Some(self.set(webhook, now).await),
        }
    }

    /// Sets the bundle. Returns the time of the next check.
    async fn set(&mut self, webhook: RegisteredWebhook, now: Duration) -> Duration {
        match self.write(&webhook).await {
            // `wanted` is stale, and changes soon.
            Ok(bundle) if bundle == webhook.ca_bundle => now + RECHECK_INTERVAL,
            Ok(bundle) => {
                self.contention.record(now);
                if self.contention.is_contended() {
                    self.log_once("contended", || report_foreign("it was changed repeatedly"));
                }
                if let RegistrationSeen::Present(seen) = &mut self.seen {
                    seen.ca_bundle = bundle;
                }
                now
            }
            Err(refusal) => {
                self.contention.record(now);
                let (cause, detail) = refusal.into_parts();
                warn!(
                    cause = cause.name(),
                    detail, "the caBundle of {NAME} cannot be set"
                );
                let pause = self.contention.pause_until(now);
                pause.unwrap_or(now + RECHECK_INTERVAL)
            }
        }
    }

    /// Writes the CAs that the Secret has now, because `wanted` may be stale. Returns them.
    async fn write(&self, webhook: &RegisteredWebhook) -> Result<Vec<u8>, Refusal> {
        let stored = self.secret.read().await?;
        let live = stored
            .filter(|stored| stored.material.held().is_complete())
            .ok_or(Refusal::Changed)?;
        let bundle = live.material.bundle();
        if bundle != webhook.ca_bundle {
            self.registration.set_ca_bundle(webhook, &bundle).await?;
            info!("caBundle of {NAME} set");
        }
        Ok(bundle)
    }

    fn publish(&self, standing: TrustStanding) {
        let is_trusted = standing.is_trusted();
        self.standing
            .send_if_modified(|present| present.replace_with(standing));
        if is_trusted {
            self.trusted
                .send_if_modified(|trusted| !std::mem::replace(trusted, true));
        }
    }

    fn log_once(&mut self, state: &'static str, log: impl FnOnce()) {
        if self.logged != state {
            self.logged = state;
            log();
        }
    }
}

fn report_foreign(detail: &str) {
    let cause = Cause::CaBundleForeign;
    let remedy = cause.remedy();
    warn!(cause = cause.name(), detail, remedy, "{cause}");
}
