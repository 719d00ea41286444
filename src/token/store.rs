//! The token store: the tokens of shared identities, in one Secret in our own namespace.
//!
//! Every replica puts there what it minted, so that one call of AWS serves all of them, and a process
//! that starts while AWS is down has what the others had. [`stored`] defines the content.
//!
//! No pod depends on the store: a write that fails is retried in the background, and a replica that
//! may not read the store calls AWS itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::backoff::Backoff;
use ecr_pull_secrets_core::identity::TokenKey;
use ecr_pull_secrets_core::token::Token;
use ecr_pull_secrets_core::token::stored::{self, StoreChanges};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use parking_lot::Mutex;
use secrecy::ExposeSecret as _;
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::clock;
use crate::cluster::client::Clients;
use crate::cluster::optimistic::version_of;
use crate::cluster::own_secret::OwnSecret;
use crate::cluster::refusal::Refusal;

/// The name of the Secret.
pub(crate) const NAME: &str = "ecr-pull-secrets-tokens";
const TYPE: &str = "Opaque";

/// Attempts at one write, each after another replica's write came first.
const MAX_ATTEMPTS: u32 = 8;
/// The pauses after writes that failed.
const PAUSES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// The pause after a repair of the store: two replicas whose clocks are a day apart may repair it by
/// turns.
const REPAIR_INTERVAL: Duration = Duration::from_secs(5);

/// The token store.
pub(crate) struct Store {
    secret: OwnSecret,
    /// The tokens that are still to be written.
    pending: Mutex<BTreeMap<TokenKey, Token>>,
    writing: tokio::sync::Mutex<()>,
    wake: Notify,
}

impl Store {
    /// Makes no call yet; `namespace` is ours.
    pub(crate) fn new(clients: &Clients, namespace: &str) -> Arc<Self> {
        Arc::new(Self {
            secret: OwnSecret::new(clients, namespace, NAME, TYPE, stored::FORMAT.to_string()),
            pending: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            wake: Notify::new(),
        })
    }

    /// The API to watch it with.
    pub(super) fn watched(&self) -> Api<Secret> {
        self.secret.watched()
    }

    /// Reads the tokens.
    ///
    /// # Errors
    ///
    /// [`Refusal`] of the API server.
    pub(super) async fn read(&self) -> Result<Vec<(TokenKey, Token)>, Refusal> {
        let secret = self.secret.read().await?;
        Ok(secret.as_ref().map(tokens).unwrap_or_default())
    }

    /// Puts a token there, unless there is a better one. A write that fails is retried in the
    /// background.
    pub(super) async fn put(&self, key: &TokenKey, token: &Token) {
        self.pending.lock().insert(key.clone(), token.clone());
        if self.flush().await.is_err() {
            self.wake.notify_one();
        }
    }

    /// Puts tokens there in the background.
    pub(super) fn put_soon(&self, tokens: BTreeMap<TokenKey, Token>) {
        if !tokens.is_empty() {
            self.pending.lock().extend(tokens);
            self.wake.notify_one();
        }
    }

    /// Writes in the background, until dropped.
    pub(super) async fn keep_writing(&self) {
        loop {
            self.wake.notified().await;
            let mut pause = Duration::ZERO;
            while let Err(refusal) = self.flush().await {
                let (cause, detail) = refusal.into_parts();
                warn!(
                    cause = cause.name(),
                    detail, "the token store cannot be written"
                );
                pause = PAUSES.after(pause);
                sleep(pause).await;
            }
            sleep(REPAIR_INTERVAL).await;
        }
    }

    /// Writes all pending tokens at once. A caller that comes during another caller's write finds
    /// its token written, or writes what came since.
    async fn flush(&self) -> Result<(), Refusal> {
        let _turn = self.writing.lock().await;
        let batch = self.pending.lock().clone();
        if batch.is_empty() {
            return Ok(());
        }
        self.write(&batch).await?;
        self.pending.lock().retain(|key, token| {
            let is_written = |written: &Token| written.expires_at == token.expires_at;
            !batch.get(key).is_some_and(is_written)
        });
        Ok(())
    }

    async fn write(&self, batch: &BTreeMap<TokenKey, Token>) -> Result<(), Refusal> {
        for _ in 0..MAX_ATTEMPTS {
            let live = self.secret.read().await?;
            let data = live.iter().flat_map(entries);
            let changes = stored::changes(data, batch, clock::now());
            if changes.is_empty() {
                return Ok(());
            }
            let base = live.as_ref().map(|secret| version_of(&secret.metadata));
            match self.secret.write(base.as_ref(), data_of(&changes)).await {
                Err(refusal) if refusal.is_conflict() => {
                    debug!("the token store changed during a write");
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
}

/// The tokens that the Secret holds, as far as this build understands it.
pub(super) fn tokens(secret: &Secret) -> Vec<(TokenKey, Token)> {
    entries(secret)
        .filter_map(|(key, value)| match stored::decode(key, value) {
            Ok(entry) => Some(entry),
            Err(reason) => {
                debug!(key, %reason, "skipped a value of the token store");
                None
            }
        })
        .collect()
}

fn entries(secret: &Secret) -> impl Iterator<Item = (&str, &[u8])> {
    let data = secret.data.iter().flatten();
    data.map(|(key, value)| (key.as_str(), value.0.as_slice()))
}

fn data_of(changes: &StoreChanges) -> BTreeMap<String, Option<Vec<u8>>> {
    let set = changes.set.iter().map(|(key, value)| {
        let value = value.expose_secret().as_bytes().to_vec();
        (key.clone(), Some(value))
    });
    let removed = changes.remove.iter().map(|key| (key.clone(), None));
    set.chain(removed).collect()
}
