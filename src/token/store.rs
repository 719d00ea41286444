//! The token store: the tokens of shared identities, in Secrets in our own namespace.
//!
//! Every replica puts there what it minted, so that one call of AWS serves all of them, and a process
//! that starts while AWS is down has what the others had. [`stored`] defines the content, and
//! [`shards`] which Secret holds which token.
//!
//! No pod depends on the store: a write that fails is retried in the background, and a replica that
//! may not read the store calls AWS itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ecr_pull_secrets_core::backoff::Backoff;
use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::identity::TokenKey;
use ecr_pull_secrets_core::token::Token;
use ecr_pull_secrets_core::token::shards::{self, FullShards, NAMES, ShardContent, ShardMap};
use ecr_pull_secrets_core::token::stored::{self, StoreChanges};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use parking_lot::Mutex;
use secrecy::ExposeSecret as _;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info, warn};

use crate::clock;
use crate::cluster::client::Clients;
use crate::cluster::optimistic::version_of;
use crate::cluster::own_secret::OwnSecret;
use crate::cluster::refusal::Refusal;

const TYPE: &str = "Opaque";

/// Attempts at one write, each after another replica's write came first.
const MAX_ATTEMPTS: u32 = 8;
/// The pauses after writes that failed.
const PAUSES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// The pause after a repair of the store: two replicas whose clocks are a day apart may repair it by
/// turns.
const REPAIR_INTERVAL: Duration = Duration::from_secs(5);
/// The time between two writes of a large store: what is minted meanwhile goes into one write. etcd
/// keeps each version of a Secret of some 600 KB for minutes, so a thousand writes would fill it.
const LARGE_WRITE_INTERVAL: Duration = Duration::from_secs(5);
/// The time between two reads of a Secret of a large store.
const LARGE_READ_INTERVAL: Duration = Duration::from_secs(2);

/// The token store.
pub(crate) struct Store {
    secrets: [OwnSecret; NAMES.len()],
    /// What the Secrets held when their watches last spoke.
    map: Mutex<ShardMap>,
    /// Whether there are more Secrets than the first.
    is_spread: watch::Sender<bool>,
    /// The tokens that are still to be written.
    pending: Mutex<BTreeMap<TokenKey, Token>>,
    /// Held during a write; the time of the last one.
    writing: tokio::sync::Mutex<Option<Instant>>,
    read_at: Mutex<[Option<Instant>; NAMES.len()]>,
    /// Whether a token found no room; logged once.
    is_full: AtomicBool,
    wake: Notify,
}

impl Store {
    /// Makes no call yet; `namespace` is ours.
    pub(crate) fn new(clients: &Clients, namespace: &str) -> Arc<Self> {
        let secret =
            |name| OwnSecret::new(clients, namespace, name, TYPE, stored::FORMAT.to_string());
        Arc::new(Self {
            secrets: NAMES.map(secret),
            map: Mutex::default(),
            is_spread: watch::Sender::new(false),
            pending: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            read_at: Mutex::default(),
            is_full: AtomicBool::new(false),
            wake: Notify::new(),
        })
    }

    /// The API to watch the Secrets with.
    pub(super) fn watched(&self) -> Api<Secret> {
        self.first().watched()
    }

    /// The Secret that is always there.
    pub(super) fn first(&self) -> &OwnSecret {
        let [first, ..] = &self.secrets;
        first
    }

    /// Says whether there are more Secrets than the first.
    pub(super) fn spread(&self) -> watch::Receiver<bool> {
        self.is_spread.subscribe()
    }

    /// Takes a new version of a Secret, which holds these tokens.
    pub(super) fn saw(&self, shard: usize, secret: &Secret, tokens: &[(TokenKey, Token)]) {
        let mut content = ShardContent::default();
        for (data_key, value) in entries(secret) {
            content.weigh(data_key.len() + value.len());
        }
        for (key, token) in tokens {
            content.hold(key, token);
        }
        self.map.lock().replace(shard, content);
        if is_announced(secret) {
            self.is_spread.send_replace(true);
        }
    }

    /// The tokens of a replica that no Secret has.
    pub(super) fn lacking(&self, held: Vec<(TokenKey, Token)>) -> BTreeMap<TokenKey, Token> {
        self.map.lock().lacking(held, clock::now())
    }

    /// Reads the Secret in which the token of a key lies or would lie: all its tokens. A large store
    /// is read at most every two seconds; the watch tells the rest.
    ///
    /// # Errors
    ///
    /// [`Refusal`] of the API server.
    pub(super) async fn read_for(&self, key: &TokenKey) -> Result<Vec<(TokenKey, Token)>, Refusal> {
        let placed = self.map.lock().place(key, FullShards::default());
        let Some((shard, secret)) =
            placed.and_then(|shard| Some((shard, self.secrets.get(shard)?)))
        else {
            return Ok(Vec::new());
        };
        let is_large = self.map.lock().is_large();
        if is_large && let Some(read_at) = self.read_at.lock().get_mut(shard) {
            if read_at.is_some_and(|at| at.elapsed() < LARGE_READ_INTERVAL) {
                return Ok(Vec::new());
            }
            *read_at = Some(Instant::now());
        }
        let secret = secret.read().await?;
        Ok(secret.as_ref().map(tokens).unwrap_or_default())
    }

    /// Reads all Secrets: all tokens.
    ///
    /// # Errors
    ///
    /// [`Refusal`] of the API server.
    pub(super) async fn read_all(&self) -> Result<Vec<(TokenKey, Token)>, Refusal> {
        let mut all = Vec::new();
        for (shard, secret) in self.secrets.iter().enumerate() {
            let Some(secret) = secret.read().await? else {
                continue;
            };
            let held = tokens(&secret);
            self.saw(shard, &secret, &held);
            all.extend(held);
        }
        Ok(all)
    }

    /// Writes what is still to be written, once.
    pub(crate) async fn finish(&self) {
        if let Err(refusal) = self.flush(None).await {
            let (cause, detail) = refusal.into_parts();
            let cause = cause.name();
            warn!(cause, detail, "the token store cannot be written");
        }
    }

    /// Puts a token there, unless there is a better one. A write that fails is retried in the
    /// background.
    pub(super) async fn put(&self, key: &TokenKey, token: &Token) {
        self.pending.lock().insert(key.clone(), token.clone());
        if self.flush(Some(key)).await.is_err() {
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
            while let Err(refusal) = self.flush(None).await {
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
    async fn flush(&self, own: Option<&TokenKey>) -> Result<(), Refusal> {
        let mut written_at = self.writing.lock().await;
        let is_pending = |pending: &BTreeMap<TokenKey, Token>| {
            own.map_or(!pending.is_empty(), |key| pending.contains_key(key))
        };
        if !is_pending(&self.pending.lock()) {
            return Ok(());
        }
        let is_large = self.map.lock().is_large();
        if let Some(at) = written_at.filter(|_| is_large) {
            sleep_until(at + LARGE_WRITE_INTERVAL).await;
        }
        let batch = self.pending.lock().clone();
        let outcome = self.write(&batch).await;
        *written_at = Some(Instant::now());
        outcome
    }

    /// Writes each token into its Secret, or the next one with room. What is written is no longer
    /// pending; a Secret that cannot be written delays no other.
    async fn write(&self, batch: &BTreeMap<TokenKey, Token>) -> Result<(), Refusal> {
        let mut full = FullShards::default();
        let mut left: Vec<TokenKey> = batch.keys().cloned().collect();
        let mut outcome = Ok(());
        while !left.is_empty() {
            let mut by_shard: BTreeMap<usize, BTreeMap<&TokenKey, &Token>> = BTreeMap::new();
            for key in left.drain(..) {
                let Some((key, token)) = batch.get_key_value(&key) else {
                    continue;
                };
                let placed = self.map.lock().place(key, full);
                match placed {
                    Some(shard) => _ = by_shard.entry(shard).or_default().insert(key, token),
                    None => self.no_room(key, token),
                }
            }
            for (shard, tokens) in by_shard {
                match self.write_shard(shard, &tokens).await {
                    Ok(refused) => {
                        for (key, token) in tokens {
                            if !refused.contains(key) {
                                self.done(key, token);
                            }
                        }
                        if let Some(full) = full.get_mut(shard) {
                            *full |= !refused.is_empty();
                        }
                        left.extend(refused);
                    }
                    Err(refusal) => outcome = Err(refusal),
                }
            }
        }
        outcome
    }

    fn done(&self, key: &TokenKey, written: &Token) {
        let mut pending = self.pending.lock();
        if pending
            .get(key)
            .is_some_and(|token| token.expires_at == written.expires_at)
        {
            pending.remove(key);
        }
    }

    fn no_room(&self, key: &TokenKey, token: &Token) {
        self.done(key, token);
        if !self.is_full.swap(true, Ordering::Relaxed) {
            let cause = Cause::TokenLimitReached.name();
            warn!(
                cause,
                "the token store is full: no other replica gets new tokens"
            );
        }
    }

    /// Writes tokens into one Secret; the keys for which it has no room.
    async fn write_shard(
        &self,
        shard: usize,
        tokens: &BTreeMap<&TokenKey, &Token>,
    ) -> Result<Vec<TokenKey>, Refusal> {
        let Some(secret) = self.secrets.get(shard) else {
            return Ok(Vec::new());
        };
        if shard > 0 {
            self.announce().await?;
        }
        for _ in 0..MAX_ATTEMPTS {
            let live = secret.read().await?;
            let data = live.iter().flat_map(entries);
            let tokens = tokens.iter().map(|(key, token)| (*key, *token));
            let room = shards::room(shard);
            let (changes, refused) = stored::changes(data, tokens, room, clock::now());
            if changes.is_empty() {
                return Ok(refused);
            }
            let base = live.as_ref().map(|secret| version_of(&secret.metadata));
            // A first Secret that was deleted, or that an older version re-created, says it again.
            let note = if shard == 0 && *self.is_spread.borrow() {
                announcement()
            } else {
                BTreeMap::new()
            };
            let data = data_of(&changes);
            match secret.write_with(base.as_ref(), data, note).await {
                Err(refusal) if refusal.is_conflict() => {
                    debug!("the token store changed during a write");
                }
                Err(refusal) => return Err(refusal),
                Ok(_) => {
                    let (set, removed) = (changes.set.len(), changes.remove.len());
                    info!(shard, set, removed, "token store written");
                    return Ok(refused);
                }
            }
        }
        Err(Refusal::Changed)
    }

    /// Notes on the first Secret that there are more, before the first of these is created: so every
    /// replica watches them, also one that starts later.
    async fn announce(&self) -> Result<(), Refusal> {
        let first = self.first();
        for _ in 0..MAX_ATTEMPTS {
            if *self.is_spread.borrow() {
                return Ok(());
            }
            let live = first.read().await?;
            if !live.as_ref().is_some_and(is_announced) {
                let base = live.as_ref().map(|secret| version_of(&secret.metadata));
                let (data, note) = (BTreeMap::new(), announcement());
                match first.write_with(base.as_ref(), data, note).await {
                    Err(refusal) if refusal.is_conflict() => continue,
                    Err(refusal) => return Err(refusal),
                    Ok(_) => info!(secrets = NAMES.len(), "the token store grows"),
                }
            }
            self.is_spread.send_replace(true);
        }
        Err(Refusal::Changed)
    }
}

/// The annotation that says how many Secrets there are.
fn announcement() -> BTreeMap<String, String> {
    let count = NAMES.len().to_string();
    BTreeMap::from([(shards::ANNOTATION.to_owned(), count)])
}

fn is_announced(secret: &Secret) -> bool {
    let annotations = secret.metadata.annotations.as_ref();
    annotations.is_some_and(|annotations| annotations.contains_key(shards::ANNOTATION))
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

#[cfg(test)]
mod tests;
