//! The serving certificate from a CA of our own: nobody else has to make one.
//!
//! CA and leaf are in one Secret in our own namespace, `ecr-pull-secrets-tls`. Whichever replica
//! comes first makes it, every one watches it and serves what is in it, and any one takes the next
//! step when [`serving::step`](ecr_pull_secrets_core::certificate::life::step) says so (`keeper`). The CAs
//! in force go into the `caBundle` of our registration, and go there again when somebody removes
//! them (`trust`).

mod keeper;
mod material;
mod secret;
mod trust;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use self::keeper::Keeper;
use self::secret::SecretApi;
use self::trust::{Standing, Trust};
use super::served::Certificate;
use crate::cluster::client::Clients;
use crate::cluster::registration::Registration;

/// The next look where something is to be done.
const SOON: Duration = Duration::from_millis(250);

/// Both loops.
pub(crate) struct SelfSigned {
    keeper: Keeper,
    trust: Trust,
}

impl SelfSigned {
    /// Nothing is read yet. The receiver says true once the API server has been seen to trust us,
    /// or to have no registration that would make it call us; it never says false again.
    pub(crate) fn new(
        clients: &Clients,
        namespace: &str,
        lifetime: Duration,
        certificate: Arc<Certificate>,
    ) -> (Self, watch::Receiver<bool>) {
        let secret = SecretApi::new(clients, namespace, certificate.provider.clone());
        let (wanted, wants) = watch::channel(None);
        let (standing, stands) = watch::channel(Standing::Unknown);
        let trusted = watch::Sender::new(false);
        let is_trusted = trusted.subscribe();
        let trust = Trust::new(
            Registration::new(clients),
            secret.clone(),
            wants,
            standing,
            trusted,
        );
        let keeper = Keeper::new(secret, certificate, lifetime, wanted, stands);
        (Self { keeper, trust }, is_trusted)
    }

    /// For ever.
    pub(crate) async fn run(self) {
        tokio::join!(self.keeper.run(), self.trust.run());
    }
}

/// Pauses between writes that somebody else keeps undoing: none after the first within five
/// minutes, then 1 s, doubling to a minute.
#[derive(Default)]
struct Patience {
    writes: u32,
    last: Option<Instant>,
}

impl Patience {
    const FORGET: Duration = Duration::from_secs(5 * 60);
    const FREE: u32 = 2;
    const LONGEST: Duration = Duration::from_secs(60);

    /// From when on another write is fine.
    fn until(&self) -> Option<Instant> {
        let round = self.writes.checked_sub(Self::FREE)?;
        let pause = Duration::from_secs(1 << round.min(6)).min(Self::LONGEST);
        Some(self.last? + pause)
    }

    /// There was one, or an attempt.
    fn spend(&mut self, now: Instant) {
        let is_new = self.last.is_none_or(|last| now > last + Self::FORGET);
        self.writes = if is_new {
            1
        } else {
            self.writes.saturating_add(1)
        };
        self.last = Some(now);
    }

    /// Whether somebody is undoing what we do.
    fn is_tried(&self) -> bool {
        self.writes > Self::FREE
    }
}

/// Between a half and one and a half times as long, so that replicas do not act in step.
fn about(pause: Duration) -> Duration {
    let random = RandomState::new().hash_one(()) % 1024;
    let factor = f64::from(u16::try_from(random).unwrap_or_default()) / 1024.0;
    pause.mul_f64(0.5 + factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_wears_thin_and_comes_back() {
        let mut patience = Patience::default();
        let start = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..10 {
            patience.spend(start);
            pauses.push(
                patience
                    .until()
                    .map_or(0, |until| (until - start).as_secs()),
            );
        }
        assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        patience.spend(start + Patience::FORGET + Duration::from_secs(1));
        assert!(patience.until().is_none() && !patience.is_tried());
    }

    #[test]
    fn replicas_do_not_act_in_step() {
        let second = Duration::from_secs(1);
        let pauses: Vec<Duration> = (0..100).map(|_| about(second)).collect();
        assert!(
            pauses
                .iter()
                .all(|pause| (second / 2..second * 3 / 2).contains(pause))
        );
        assert!(pauses.iter().any(|pause| *pause != pauses[0]));
    }
}
