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

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::pull_secret::{MANAGED_BY, OWNER, annotation};
use ecr_pull_secrets_core::token::stored::{self, Changes};
use ecr_pull_secrets_core::token::{Token, TokenKey, renewal};
use futures::TryStreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher::{self, Event, watcher};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::supply::Supply;
use crate::clock;
use crate::cluster::apply::within;
use crate::cluster::connect::Clients;
use crate::cluster::refusal::Refusal;
use crate::cluster::watch::{Announce, follow};

/// Its name.
pub const NAME: &str = "ecr-pull-secrets-tokens";

/// So often is a write tried anew at once because somebody else wrote meanwhile.
const ATTEMPTS: u32 = 8;
/// The first and the longest pause after a write that failed.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// After one that mended the store: two replicas whose clocks are a day apart may never agree.
const REST: Duration = Duration::from_secs(5);

/// The token store.
pub struct Store {
    watched: Api<Secret>,
    called: Api<Secret>,
    /// What is still to be written.
    pending: Mutex<BTreeMap<TokenKey, Token>>,
    writing: tokio::sync::Mutex<()>,
    wake: Notify,
}

impl Store {
    /// Knows nothing yet; `namespace` is ours.
    pub fn new(clients: &Clients, namespace: &str) -> Arc<Self> {
        Arc::new(Self {
            watched: Api::namespaced(clients.watch.clone(), namespace),
            called: Api::namespaced(clients.call.clone(), namespace),
            pending: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            wake: Notify::new(),
        })
    }

    /// Feeds what is in the store to the supply, and what could not be written to the store, for
    /// ever. An API server that forbids reading it is a first answer too: the process then serves
    /// without the store instead of never.
    pub async fn watch(&self, supply: Arc<Supply>, announce: Announce) {
        let config = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
        let answered = announce.clone();
        let events = watcher(self.watched.clone(), config).inspect_err(move |error| {
            if is_refused(error) {
                answered.announce();
            }
        });
        let mut is_listed = false;
        let reading = follow("token stores", events, announce, |event| match event {
            Event::Init => is_listed = false,
            Event::InitApply(secret) | Event::Apply(secret) => {
                is_listed = true;
                self.see(&secret, &supply);
            }
            Event::InitDone if is_listed => {}
            Event::InitDone | Event::Delete(_) => self.see(&Secret::default(), &supply),
        });
        tokio::join!(reading, self.keep_writing());
    }

    /// What is in the store now.
    ///
    /// # Errors
    ///
    /// [`Refusal`] of the API server.
    pub async fn read(&self) -> Result<Vec<(TokenKey, Token)>, Refusal> {
        let secret = within(|| self.called.get_opt(NAME)).await?;
        Ok(secret.as_ref().map(tokens).unwrap_or_default())
    }

    /// Puts a token there, unless there is a better one. What fails is tried again later, and does
    /// not fail for the caller.
    pub async fn put(&self, key: &TokenKey, token: &Token) {
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
                let (cause, detail) = match refusal {
                    Refusal::Because(cause, detail) => (cause, detail),
                    Refusal::Changed | Refusal::Owned => (Cause::WriteContended, String::new()),
                };
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
            let live = within(|| self.called.get_opt(NAME)).await?;
            let data = live.iter().flat_map(entries);
            let changes = stored::changes(data, batch, clock::now());
            if changes.is_empty() {
                return Ok(());
            }
            match self
                .apply(live.map(|secret| secret.metadata), &changes)
                .await
            {
                Err(Refusal::Changed | Refusal::Owned) => {
                    debug!("the token store changed meanwhile")
                }
                Err(refusal) => return Err(refusal),
                Ok(()) => {
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

    /// Creates the Secret where there was none, and changes the one that was read where there was.
    async fn apply(&self, live: Option<ObjectMeta>, changes: &Changes) -> Result<(), Refusal> {
        let set = changes.set.iter().map(|(key, value)| {
            let value = BASE64_STANDARD.encode(value.expose_secret());
            (key.clone(), Value::from(value))
        });
        let removed = changes.remove.iter().map(|key| (key.clone(), Value::Null));
        let data: Map<String, Value> = set.chain(removed).collect();
        let labels = json!({ MANAGED_BY: OWNER });
        let (params, patch) = match live {
            // Older than any object: "create only".
            None => (
                PatchParams::apply(OWNER),
                Patch::Apply(json!({
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {
                        "name": NAME,
                        "resourceVersion": "1",
                        "labels": labels,
                        "annotations": { annotation::FORMAT: stored::FORMAT.to_string() },
                    },
                    "type": "Opaque",
                    "data": data,
                })),
            ),
            // Nothing but these keys: what a later version put there stays.
            Some(ObjectMeta {
                uid,
                resource_version,
                ..
            }) => (
                PatchParams {
                    field_manager: Some(OWNER.to_owned()),
                    ..PatchParams::default()
                },
                Patch::Merge(json!({
                    "metadata": {
                        "uid": uid,
                        "resourceVersion": resource_version,
                        "labels": labels,
                    },
                    "data": data,
                })),
            ),
        };
        within(|| self.called.patch_metadata(NAME, &params, &patch)).await?;
        Ok(())
    }

    fn pending(&self) -> MutexGuard<'_, BTreeMap<TokenKey, Token>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

/// Whether the API server answered, and waiting does not change what: as without the Role.
fn is_refused(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status)) => {
            (400..500).contains(&status.code) && status.code != 429
        }
        _ => false,
    }
}
