//! The token store: the tokens of shared identities, in one Secret in our own namespace.
//!
//! Every replica watches it and puts there what it minted, so that AWS is asked once for all of
//! them, and a process that starts while AWS is down has what the others had. What is in it is said
//! in [`stored`].
//!
//! It is a convenience and never a condition: what cannot be written is tried again behind
//! everybody's back, and a replica that may not read it serves from its own calls of AWS.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ecr_pull_secrets_core::identity::TokenKey;
use ecr_pull_secrets_core::token::stored::{self, Changes};
use ecr_pull_secrets_core::token::{Token, renewal};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use secrecy::ExposeSecret as _;
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::supply::Supply;
use crate::clock;
use crate::cluster::client::Clients;
use crate::cluster::optimistic::version_of;
use crate::cluster::own_secret::OwnSecret;
use crate::cluster::refusal::Refusal;
use crate::cluster::watch::{Announce, follow_object};

/// Its name.
pub(crate) const NAME: &str = "ecr-pull-secrets-tokens";
const TYPE: &str = "Opaque";

/// So often is a write tried anew at once because somebody else wrote meanwhile.
const ATTEMPTS: u32 = 8;
/// The first and the longest pause after a write that failed.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// After one that mended the store: two replicas whose clocks are a day apart may never agree.
const REST: Duration = Duration::from_secs(5);

/// The token store.
pub(crate) struct Store {
    secret: OwnSecret,
    /// What is still to be written.
    pending: Mutex<BTreeMap<TokenKey, Token>>,
    writing: tokio::sync::Mutex<()>,
    wake: Notify,
}

impl Store {
    /// Knows nothing yet; `namespace` is ours.
    pub(crate) fn new(clients: &Clients, namespace: &str) -> Arc<Self> {
        Arc::new(Self {
            secret: OwnSecret::new(clients, namespace, NAME, TYPE, stored::FORMAT.to_string()),
            pending: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            wake: Notify::new(),
        })
    }

    /// Feeds what is in the store to the supply, and what could not be written to the store, for
    /// ever. An API server that forbids reading it is a first answer too: the process then serves
    /// without the store instead of never.
    pub(crate) async fn watch(&self, supply: Arc<Supply>, announce: Announce) {
        let watched = self.secret.watched();
        let reading = follow_object("token stores", watched, NAME, announce, |secret| {
            self.see(&secret.unwrap_or_default(), &supply);
        });
        tokio::join!(reading, self.keep_writing());
    }

    /// What is in the store now.
    ///
    /// # Errors
    ///
    /// [`Refusal`] of the API server.
    pub(crate) async fn read(&self) -> Result<Vec<(TokenKey, Token)>, Refusal> {
        let secret = self.secret.read().await?;
        Ok(secret.as_ref().map(tokens).unwrap_or_default())
    }

    /// Puts a token there, unless there is a better one. What fails is tried again later, and does
    /// not fail for the caller.
    pub(crate) async fn put(&self, key: &TokenKey, token: &Token) {
        self.pending().insert(key.clone(), token.clone());
        if self.flush().await.is_err() {
            self.wake.notify_one();
        }
    }

    /// Learns what the store holds. What the process holds and the store lacks, because somebody
    /// deleted or edited it, goes back.
    fn see(&self, secret: &Secret, supply: &Supply) {
        let mut stored = BTreeMap::new();
        for (key, token) in tokens(secret) {
            stored.insert(key.clone(), token.expires_at);
            supply.learn(key, token);
        }
        let now = clock::now();
        let believed = |end: Timestamp| renewal::is_believable(end, now);
        for (key, token) in supply.tokens() {
            // Only what ends later, or two replicas with two opinions would write by turns.
            let is_better = stored
                .get(&key)
                .is_none_or(|end| !believed(*end) || token.expires_at > *end);
            if is_better && believed(token.expires_at) && token.expires_at > now {
                self.pending().insert(key, token);
                self.wake.notify_one();
            }
        }
    }

    async fn keep_writing(&self) {
        loop {
            self.wake.notified().await;
            let (mut pause, longest) = PAUSES;
            while let Err(refusal) = self.flush().await {
                let (cause, detail) = refusal.into_parts();
                warn!(
                    cause = cause.name(),
                    detail, "the token store cannot be written"
                );
                sleep(pause).await;
                pause = (pause * 2).min(longest);
            }
            sleep(REST).await;
        }
    }

    /// Writes all that is pending at once. Whoever comes while another one writes finds his own
    /// token written, or writes what came meanwhile.
    async fn flush(&self) -> Result<(), Refusal> {
        let _turn = self.writing.lock().await;
        let batch = self.pending().clone();
        if batch.is_empty() {
            return Ok(());
        }
        self.write(&batch).await?;
        self.pending().retain(|key, token| {
            let is_written = |written: &Token| written.expires_at == token.expires_at;
            !batch.get(key).is_some_and(is_written)
        });
        Ok(())
    }

    async fn write(&self, batch: &BTreeMap<TokenKey, Token>) -> Result<(), Refusal> {
        for _ in 0..ATTEMPTS {
            let live = self.secret.read().await?;
            let data = live.iter().flat_map(entries);
            let changes = stored::changes(data, batch, clock::now());
            if changes.is_empty() {
                return Ok(());
            }
            let base = live.as_ref().map(|secret| version_of(&secret.metadata));
            match self.secret.write(base.as_ref(), data_of(&changes)).await {
                Err(refusal) if refusal.is_conflict() => {
                    debug!("the token store changed meanwhile")
                }
                Err(refusal) => return Err(refusal),
                Ok(_) => {
                    info!(
                        set = changes.set.len(),
                        removed = changes.remove.len(),
                        "token store written"
                    );
                    return Ok(());
                }
            }
        }
        Err(Refusal::Changed)
    }

    fn pending(&self) -> MutexGuard<'_, BTreeMap<TokenKey, Token>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn data_of(changes: &Changes) -> BTreeMap<String, Option<Vec<u8>>> {
    let set = changes.set.iter().map(|(key, value)| {
        let value = value.expose_secret().as_bytes().to_vec();
        (key.clone(), Some(value))
    });
    let removed = changes.remove.iter().map(|key| (key.clone(), None));
    set.chain(removed).collect()
}

fn entries(secret: &Secret) -> impl Iterator<Item = (&str, &[u8])> {
    let data = secret.data.iter().flatten();
    data.map(|(key, value)| (key.as_str(), value.0.as_slice()))
}

/// The tokens that a store holds, as far as this build understands it.
fn tokens(secret: &Secret) -> Vec<(TokenKey, Token)> {
    entries(secret)
        .filter_map(|(key, value)| match stored::decode(key, value) {
            Ok(entry) => Some(entry),
            Err(reason) => {
                debug!(key, %reason, "passed over a value of the token store");
                None
            }
        })
        .collect()
}
