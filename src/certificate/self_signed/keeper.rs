//! Keeps the Secret with CA and leaf, and serves what is in it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::certificate::life::{self, Step};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::material::Material;
use super::secret::{NAME, SecretApi, Stored};
use super::trust::Standing;
use super::{Patience, SOON, about};
use crate::certificate::served::Certificate;
use crate::clock;
use crate::cluster::optimistic::version_of;
use crate::cluster::refusal::Refusal;
use crate::cluster::watch::object_states;

/// A new replica that finds no Secret, but a `caBundle`, leaves so much time to those that
/// remember what was in it.
const GRACE: Duration = Duration::from_secs(5);
/// A bundle is given so much time to reach every API server, or an overlap if that is less.
const SPREAD: Duration = Duration::from_secs(60);
/// The next look where nothing is, at most.
const LATER: Duration = Duration::from_secs(60);

/// What the watch said last.
enum Seen {
    Unknown,
    Absent(Instant),
    There(Box<Stored>),
}

/// See above.
pub(super) struct Keeper {
    secret: SecretApi,
    certificate: Arc<Certificate>,
    lifetime: Duration,
    bundle: watch::Sender<Option<Arc<[u8]>>>,
    standing: watch::Receiver<Standing>,
    seen: Seen,
    /// What is served, for when the Secret is lost or spoilt.
    good: Option<Material>,
    /// Of putting that back.
    patience: Patience,
    /// After a write that failed.
    wait: Option<Instant>,
    failures: u32,
    /// The version of the Secret that was complained about.
    complained: Option<String>,
}

impl Keeper {
    /// `bundle` is told the CAs in force; `standing` says what the API server makes of them.
    pub(super) fn new(
        secret: SecretApi,
        certificate: Arc<Certificate>,
        lifetime: Duration,
        bundle: watch::Sender<Option<Arc<[u8]>>>,
        standing: watch::Receiver<Standing>,
    ) -> Self {
        Self {
            secret,
            certificate,
            lifetime,
            bundle,
            standing,
            seen: Seen::Unknown,
            good: None,
            patience: Patience::default(),
            wait: None,
            failures: 0,
            complained: None,
        }
    }

    /// For ever.
    pub(super) async fn run(mut self) {
        let what = "the serving certificate's Secret";
        let mut states = pin!(object_states(what, self.secret.watched(), NAME));
        loop {
            let pause = self.look().await;
            tokio::select! {
                state = states.next() => match state {
                    Some(secret) => self.see(secret),
                    // A watch with pauses never ends.
                    None => return,
                },
                () = sleep(about(pause)) => {}
            }
        }
    }

    fn see(&mut self, secret: Option<Secret>) {
        self.seen = match secret {
            Some(secret) => Seen::There(Box::new(self.secret.stored(secret))),
            None => {
                debug!("there is no Secret {NAME}");
                Seen::Absent(Instant::now())
            }
        };
    }

    /// Serves what is there, and takes the next step. Says when to look again.
    async fn look(&mut self) -> Duration {
        let now = Instant::now();
        let is_waiting = self.wait.is_some_and(|until| now < until);
        let wanted = match &self.seen {
            Seen::Unknown => return LATER,
            Seen::Absent(since) => match &self.good {
                Some(good) => Some((None, good.clone())),
                None if !is_waiting && self.is_ours_to_found(*since) => {
                    let made = self.made(&Material::default(), Step::Found);
                    made.map(|made| (None, made))
                }
                None => {
                    debug!("left to those that remember what it held");
                    None
                }
            },
            Seen::There(stored) => {
                let stored = stored.clone();
                match self.judge(&stored, is_waiting) {
                    Some(material) => Some((Some(stored), material)),
                    None => return self.pace(),
                }
            }
        };
        let Some((stored, material)) = wanted.filter(|_| !is_waiting) else {
            return SOON;
        };
        let restores = self.good.as_ref().is_some_and(|good| good.is(&material));
        if restores {
            if self.patience.until().is_some_and(|until| now < until) {
                return SOON;
            }
            self.patience.spend(now);
        }
        let base = stored.as_deref().map(|stored| version_of(&stored.metadata));
        match self.secret.write(base.as_ref(), material).await {
            Ok(stored) => {
                info!(restores, "serving certificate written to its Secret");
                self.seen = Seen::There(Box::new(stored));
                (self.wait, self.failures) = (None, 0);
            }
            Err(refusal) => self.refused(refusal).await,
        }
        // What is there now is served at once.
        if let Seen::There(stored) = &self.seen {
            let stored = stored.clone();
            self.serve(&stored.material);
        }
        SOON
    }

    /// What is to be written in the place of what is there.
    fn judge(&mut self, stored: &Stored, is_waiting: bool) -> Option<Material> {
        let now = clock::now();
        let material = &stored.material;
        let is_worse =
            !material.is_good(now) && self.good.as_ref().is_some_and(|good| good.is_good(now));
        if !stored.is_of_our_type {
            self.complain(stored, Cause::CertificateForeign);
            return None;
        }
        if !material.is_whole() || is_worse {
            if let Some(good) = self.good.clone() {
                self.complain(stored, Cause::CertificateUnusable);
                return Some(good);
            }
            if !stored.is_ours {
                self.complain(stored, Cause::CertificateForeign);
                return None;
            }
        } else {
            self.serve(material);
        }
        let spread = SPREAD.min(life::overlap(self.lifetime));
        let is_trusted =
            self.standing
                .borrow()
                .is_known(&material.bundle(), spread, Instant::now());
        let step = life::step(material.held(), self.lifetime, now, is_trusted);
        if step == Step::Keep || is_waiting {
            return None;
        }
        self.made(material, step)
    }

    fn made(&self, material: &Material, step: Step) -> Option<Material> {
        let (service, provider) = (&self.secret.service, &self.secret.provider);
        match material.after(step, self.lifetime, clock::now(), service, provider) {
            Ok(made) => {
                info!(?step, "renewing the serving certificate");
                Some(made)
            }
            Err(error) => {
                warn!(%error, ?step, "cannot make a serving certificate");
                None
            }
        }
    }

    /// Takes up what is whole.
    fn serve(&mut self, material: &Material) {
        let Some(pair) = material.pair().filter(|_| material.is_whole()) else {
            return;
        };
        if self.good.as_ref().is_some_and(|good| good.is(material)) {
            return;
        }
        match self.certificate.take_up(pair) {
            Ok(()) => {
                self.bundle.send_replace(Some(material.bundle().into()));
                self.good = Some(material.clone());
            }
            Err(error) => debug!(%error, "the Secret holds an older certificate"),
        }
    }

    /// Somebody else may have been first: then his is taken. Other trouble may pass.
    async fn refused(&mut self, refusal: Refusal) {
        let refusal = if refusal.is_conflict() {
            match self.secret.read().await {
                Ok(stored) => {
                    self.seen = stored.map_or_else(
                        || Seen::Absent(Instant::now()),
                        |stored| Seen::There(Box::new(stored)),
                    );
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
        self.failures = self.failures.saturating_add(1);
        let pause = Duration::from_secs(1 << self.failures.min(6)).min(LATER);
        self.wait = Some(Instant::now() + about(pause));
    }

    /// At once in a new cluster. Where the API server trusts a CA already, somebody may hold it.
    fn is_ours_to_found(&self, since: Instant) -> bool {
        let is_new = matches!(*self.standing.borrow(), Standing::Absent | Standing::Empty);
        is_new || since.elapsed() >= GRACE
    }

    fn complain(&mut self, stored: &Stored, cause: Cause) {
        let version = &stored.metadata.resource_version;
        if self.complained != *version {
            self.complained.clone_from(version);
            let remedy = cause.remedy();
            let is_served = self.good.is_some();
            warn!(
                cause = cause.name(),
                secret = NAME,
                is_served,
                remedy,
                "{cause}"
            );
        }
    }

    /// Often enough for the shortest lives.
    fn pace(&self) -> Duration {
        let served = self.good.as_ref().and_then(|good| good.held().leaf);
        let served = served.map(|leaf| leaf.validity);
        let pause = life::pace(served, self.lifetime, clock::now());
        pause.clamp(Duration::from_millis(50), LATER)
    }
}
