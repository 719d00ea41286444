//! Keeps the CAs in force in the `caBundle` of our registration, and nothing else there.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::cause::Cause;
use futures::StreamExt as _;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::secret::SecretApi;
use super::{Patience, SOON};
use crate::cluster::refusal::Refusal;
use crate::cluster::registration::{NAME, RegisteredWebhook, Registration};

/// What the API server has been told to trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Not seen yet.
    Unknown,
    /// There is no registration, so that nobody calls us.
    Absent,
    /// Nobody yet.
    Empty,
    /// Somebody else, or less than all CAs in force, or more.
    Other,
    /// The CAs in force, these.
    Ours {
        /// In PEM.
        bundle: Arc<[u8]>,
        /// Since when it is they.
        since: Instant,
    },
}

impl Standing {
    /// Takes the place of what was. The same bundle keeps its time; says whether it is another.
    fn replace_with(&mut self, next: Self) -> bool {
        let is_same = match (&*self, &next) {
            (Self::Ours { bundle, .. }, Self::Ours { bundle: other, .. }) => bundle == other,
            (present, next) => present == next,
        };
        if !is_same {
            *self = next;
        }
        !is_same
    }

    /// Whether every API server that may call us has had so much time to hear of these CAs.
    pub(super) fn is_known(&self, wanted: &[u8], spread: Duration, now: Instant) -> bool {
        match self {
            Self::Ours { bundle, since } => {
                **bundle == *wanted && now.duration_since(*since) >= spread
            }
            Self::Absent => true,
            Self::Unknown | Self::Empty | Self::Other => false,
        }
    }
}

/// What the watch said last.
enum Seen {
    Unknown,
    Absent,
    There(RegisteredWebhook),
}

/// See above.
pub(super) struct Trust {
    registration: Registration,
    secret: SecretApi,
    wanted: watch::Receiver<Option<Arc<[u8]>>>,
    standing: watch::Sender<Standing>,
    trusted: watch::Sender<bool>,
    seen: Seen,
    patience: Patience,
    /// What was said last, so that it is said once.
    said: &'static str,
}

impl Trust {
    /// `wanted` says which CAs are in force; `trusted` is told when the API server knows them.
    pub(super) fn new(
        registration: Registration,
        secret: SecretApi,
        wanted: watch::Receiver<Option<Arc<[u8]>>>,
        standing: watch::Sender<Standing>,
        trusted: watch::Sender<bool>,
    ) -> Self {
        Self {
            registration,
            secret,
            wanted,
            standing,
            trusted,
            seen: Seen::Unknown,
            patience: Patience::default(),
            said: "",
        }
    }

    /// For ever.
    pub(super) async fn run(mut self) {
        let mut states = pin!(self.registration.states());
        let mut wanted = self.wanted.clone();
        loop {
            let again = self.look().await;
            let later = async {
                match again {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                state = states.next() => match state {
                    Some(registration) => self.see(registration.as_ref()),
                    // A watch with pauses never ends.
                    None => return,
                },
                changed = wanted.changed() => if changed.is_err() {
                    return;
                },
                () = later => {}
            }
        }
    }

    fn see(&mut self, registration: Option<&MutatingWebhookConfiguration>) {
        let webhook = registration.and_then(RegisteredWebhook::of);
        self.seen = webhook.map_or(Seen::Absent, Seen::There);
    }

    /// Compares, and writes if need be. Says when to look again.
    async fn look(&mut self) -> Option<Instant> {
        let wanted = self.wanted.borrow().clone();
        let webhook = match &self.seen {
            Seen::Unknown => return None,
            Seen::Absent => {
                self.stand(Standing::Absent);
                self.say_once("absent", || {
                    info!("there is no registration {NAME} yet: nobody calls us");
                });
                return None;
            }
            Seen::There(webhook) => webhook.clone(),
        };
        let ours = wanted
            .clone()
            .filter(|wanted| **wanted == *webhook.ca_bundle);
        let is_ours = ours.is_some();
        self.stand(match (ours, webhook.ca_bundle.as_slice()) {
            (Some(bundle), _) => Standing::Ours {
                bundle,
                since: Instant::now(),
            },
            (None, []) => Standing::Empty,
            (None, _) => Standing::Other,
        });
        if is_ours {
            self.said = "";
            return None;
        }
        wanted?;
        if webhook.is_injected {
            self.say_once("injected", || {
                complain("cert-manager was told to fill it in")
            });
            return None;
        }
        let now = Instant::now();
        if let Some(until) = self.patience.until().filter(|until| *until > now) {
            return Some(until);
        }
        match self.set(&webhook).await {
            // Our own memory is behind, and hears of it soon.
            Ok(bundle) if bundle == webhook.ca_bundle => Some(now + SOON),
            Ok(bundle) => {
                self.patience.spend(now);
                if self.patience.is_tried() {
                    self.say_once("contended", || complain("it was changed again and again"));
                }
                if let Seen::There(seen) = &mut self.seen {
                    seen.ca_bundle = bundle;
                }
                Some(now)
            }
            Err(refusal) => {
                self.patience.spend(now);
                let (cause, detail) = refusal.into_parts();
                warn!(
                    cause = cause.name(),
                    detail, "the caBundle of {NAME} cannot be set"
                );
                self.patience.until().or(Some(now + SOON))
            }
        }
    }

    /// Sets what is in the Secret right now: our own memory may be behind.
    async fn set(&self, webhook: &RegisteredWebhook) -> Result<Vec<u8>, Refusal> {
        let stored = self.secret.read().await?;
        let live = stored
            .filter(|stored| stored.material.is_whole())
            .ok_or(Refusal::Changed)?;
        let bundle = live.material.bundle();
        if bundle != webhook.ca_bundle {
            self.registration.set_ca_bundle(webhook, &bundle).await?;
            info!("caBundle of {NAME} set");
        }
        Ok(bundle)
    }

    fn stand(&self, standing: Standing) {
        let is_trusted = matches!(standing, Standing::Ours { .. } | Standing::Absent);
        self.standing
            .send_if_modified(|present| present.replace_with(standing));
        if is_trusted {
            self.trusted
                .send_if_modified(|trusted| !std::mem::replace(trusted, true));
        }
    }

    fn say_once(&mut self, what: &'static str, say: impl FnOnce()) {
        if self.said != what {
            self.said = what;
            say();
        }
    }
}

fn complain(detail: &str) {
    let cause = Cause::CaBundleForeign;
    let remedy = cause.remedy();
    warn!(cause = cause.name(), detail, remedy, "{cause}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPREAD: Duration = Duration::from_secs(60);

    fn ours(bundle: &[u8], since: Instant) -> Standing {
        let bundle = bundle.into();
        Standing::Ours { bundle, since }
    }

    #[test]
    fn another_bundle_has_its_own_time_to_spread() {
        let start = Instant::now();
        let mut standing = Standing::Empty;
        assert!(standing.replace_with(ours(b"old", start)));
        let soon = start + SPREAD;
        assert!(!standing.replace_with(ours(b"old", soon)));
        assert!(standing.is_known(b"old", SPREAD, soon));
        assert!(!standing.is_known(b"old and new", SPREAD, soon));

        assert!(standing.replace_with(ours(b"old and new", soon)));
        assert!(!standing.is_known(b"old and new", SPREAD, soon));
        assert!(standing.is_known(b"old and new", SPREAD, soon + SPREAD));
    }
}
