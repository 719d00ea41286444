//! The tokens that this process holds: one per identity, region and endpoint, for all namespaces.
//!
//! They come from the token store, where every replica puts what it minted, and from AWS where the
//! store has none that works. The leader renews them in time ([`Supply::refresh`]). All other callers
//! get the token that is there ([`Supply::token`]): AWS is asked only for a token that no replica
//! has, or that was not renewed until its expiry was near. A token that cannot be renewed serves
//! until its expiry. Callers that come while a token is being minted wait for that one call, and a
//! failure is remembered for some seconds, so that a hundred pods cause one call of AWS.

use std::sync::Arc;
use std::time::Duration;

use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::config::{Config, Endpoints};
use ecr_pull_secrets_core::identity::TokenKey;
use ecr_pull_secrets_core::token::holding::{Holding, Offer, is_young};
use ecr_pull_secrets_core::token::lifetime::Lifetime;
use ecr_pull_secrets_core::token::quota::{KeyQuota, TooManyNewKeys};
use ecr_pull_secrets_core::token::renewal::{self, Stage};
use ecr_pull_secrets_core::token::{MAX_KEYS, Token};
use jiff::Timestamp;
use lru::LruCache;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{info, warn};

use super::store::Store;
use crate::aws::failure::MintFailure;
use crate::aws::mint::Mint;
use crate::clock;
use crate::telemetry::metrics::Metrics;

/// The tokens of this process.
pub(crate) struct Supply {
    mint: Mint,
    metrics: Metrics,
    store: Arc<Store>,
    slots: Mutex<Slots>,
    quota: Mutex<KeyQuota>,
    started: Instant,
}

type Slots = LruCache<TokenKey, Arc<KeySlot>>;

/// The slot of one key.
#[derive(Default)]
struct KeySlot {
    holding: Mutex<Holding<MintFailure>>,
    /// Held during a call of AWS: one at a time.
    minting: tokio::sync::Mutex<()>,
}

/// A token, and what stands in the way of a better one.
#[derive(Clone, Debug)]
pub(crate) struct Supplied {
    /// A token that works now.
    pub(crate) token: Token,
    /// Why there is no next token yet, although this one expires soon.
    pub(crate) failure: Option<TokenFailure>,
}

impl From<Token> for Supplied {
    fn from(token: Token) -> Self {
        Self {
            token,
            failure: None,
        }
    }
}

/// Why a caller gets no token.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum TokenFailure {
    #[error(transparent)]
    Mint(#[from] MintFailure),
    #[error(transparent)]
    Quota(#[from] TooManyNewKeys),
    #[error("the task that mints tokens panicked")]
    Panicked,
}

impl TokenFailure {
    pub(crate) fn cause(&self) -> Cause {
        match self {
            Self::Mint(failure) => failure.cause,
            Self::Quota(_) => Cause::TooManyTokens,
            Self::Panicked => Cause::MintPanicked,
        }
    }
}

/// The outcome of a renewal.
struct Renewed {
    token: Token,
    /// The write of a new token to the store.
    storing: Option<JoinHandle<()>>,
}

impl Supply {
    /// Holds no token yet.
    pub(crate) fn new(mint: Mint, metrics: Metrics, store: Arc<Store>) -> Arc<Self> {
        Arc::new(Self {
            mint,
            metrics,
            store,
            slots: Mutex::new(LruCache::new(MAX_KEYS)),
            quota: Mutex::default(),
            started: Instant::now(),
        })
    }

    /// A token that works, for a pod of this namespace.
    ///
    /// # Errors
    ///
    /// [`TokenFailure`] when there is none and AWS gives none, or when the namespace brought too
    /// many new keys.
    pub(crate) async fn token(
        self: &Arc<Self>,
        key: &TokenKey,
        namespace: &str,
        config: &Config,
    ) -> Result<Supplied, TokenFailure> {
        let slot = self.slot_charged_to(namespace, key)?;
        let serves = |token: &Token, now| Lifetime::from(token).serves(now);
        let offer = slot.holding.lock().offer(clock::now());
        match offer {
            Offer::Held(token) => Ok(token.into()),
            Offer::NextOrHeld(token) => {
                match self.renew(key, &slot, endpoints(config, key), serves).await {
                    Ok(renewed) => Ok(renewed.token.into()),
                    Err(failure) => Ok(Supplied {
                        token,
                        failure: Some(failure),
                    }),
                }
            }
            Offer::Next => {
                let renewed = self
                    .renew(key, &slot, endpoints(config, key), serves)
                    .await?;
                Ok(renewed.token.into())
            }
        }
    }

    /// The token that the leader writes into Secrets. When the old one is due, a new one is minted,
    /// and is in the store before this returns.
    ///
    /// # Errors
    ///
    /// [`TokenFailure`] when a new one is due and AWS gives none; the old one stays.
    pub(crate) async fn refresh(
        self: &Arc<Self>,
        key: &TokenKey,
        config: &Config,
    ) -> Result<Token, TokenFailure> {
        let slot = self.slot(key);
        let max_age = config.rotation.max_age;
        let is_fresh = move |token: &Token, now| {
            renewal::stage(Lifetime::from(token), max_age, now) == Stage::Fresh
        };
        if let Some(known) = self.known(&slot, is_fresh) {
            return known;
        }
        // The previous leader may have minted a moment ago.
        if let Ok(stored) = self.store.read().await {
            for (key, token) in stored {
                self.learn(key, token);
            }
        }
        let renewed = self
            .renew(key, &slot, endpoints(config, key), is_fresh)
            .await?;
        if let Some(storing) = renewed.storing {
            // A panic there has been logged, and the token works all the same.
            let _ = storing.await;
        }
        Ok(renewed.token)
    }

    /// Replaces a token that a registry refuses before its expiry: the session behind it may have
    /// been revoked. Asks AWS in the background, at most once in six hours for a key.
    pub(crate) fn distrust(self: &Arc<Self>, key: TokenKey, config: &Config) {
        let slot = self.slot(&key);
        let is_replaced = slot.holding.lock().distrust(clock::now(), self.elapsed());
        if !is_replaced {
            return;
        }
        let (this, endpoints) = (self.clone(), endpoints(config, &key));
        tokio::spawn(async move {
            // The credentials that minted the token are what was revoked.
            this.mint.forget(&key).await;
            this.renew(&key, &slot, endpoints, is_young).await.map(drop)
        });
    }

    /// The token of a key, however old.
    pub(crate) fn held(&self, key: &TokenKey) -> Option<Token> {
        let slot = self.slots.lock().peek(key).cloned();
        slot.and_then(|slot| slot.holding.lock().token().cloned())
    }

    /// The tokens of all keys, however old.
    pub(crate) fn tokens(&self) -> Vec<(TokenKey, Token)> {
        let slots = self.slots.lock();
        let held = slots.iter().filter_map(|(key, slot)| {
            let token = slot.holding.lock().token().cloned();
            Some((key.clone(), token?))
        });
        held.collect()
    }

    /// Takes a token that another replica minted, if it works and is better than the one that is
    /// held.
    pub(crate) fn learn(&self, key: TokenKey, token: Token) {
        let now = clock::now();
        if !Lifetime::from(&token).is_usable(now) {
            return;
        }
        let slot = {
            let mut slots = self.slots.lock();
            match slots.peek(&key) {
                Some(slot) => slot.clone(),
                // A key that other replicas use evicts none that this one uses.
                None if slots.len() >= MAX_KEYS.get() => return,
                None => self.new_slot(&mut slots, &key),
            }
        };
        let expires_at = token.expires_at;
        let mut holding = slot.holding.lock();
        if holding.learn(token, now) {
            self.report_expiry(&key, expires_at);
        }
    }

    /// Mints, unless a token that `is_good` is there by then.
    async fn renew(
        self: &Arc<Self>,
        key: &TokenKey,
        slot: &Arc<KeySlot>,
        endpoints: Endpoints,
        is_good: impl Fn(&Token, Timestamp) -> bool + Send + 'static,
    ) -> Result<Renewed, TokenFailure> {
        // On its own task: the caller may be dropped when this replica stops leading, and a call
        // that AWS has counted must not be lost.
        let (this, key, slot) = (self.clone(), key.clone(), slot.clone());
        let task =
            tokio::spawn(async move { this.renew_now(&key, &slot, &endpoints, is_good).await });
        task.await.unwrap_or(Err(TokenFailure::Panicked))
    }

    async fn renew_now(
        &self,
        key: &TokenKey,
        slot: &KeySlot,
        endpoints: &Endpoints,
        is_good: impl Fn(&Token, Timestamp) -> bool,
    ) -> Result<Renewed, TokenFailure> {
        let _turn = slot.minting.lock().await;
        if let Some(known) = self.known(slot, is_good) {
            return known.map(|token| Renewed {
                token,
                storing: None,
            });
        }
        let (identity, region) = (key.identity.to_string(), &*key.region);
        match self.mint.mint(key, endpoints).await {
            Ok(token) => {
                self.metrics.token_requested("ok");
                info!(identity, region, expires_at = %token.expires_at, "token minted");
                {
                    let mut holding = slot.holding.lock();
                    self.report_expiry(key, token.expires_at);
                    holding.keep(token.clone());
                }
                let (store, key, minted) = (self.store.clone(), key.clone(), token.clone());
                let storing = tokio::spawn(async move { store.put(&key, &minted).await });
                Ok(Renewed {
                    token,
                    storing: Some(storing),
                })
            }
            Err(failure) => {
                let cause = failure.cause.name();
                self.metrics.token_requested(cause);
                let detail = &failure.detail;
                warn!(identity, region, cause, detail, "cannot mint a token");
                slot.holding
                    .lock()
                    .fail(failure.cause, failure.clone(), self.elapsed());
                Err(failure.into())
            }
        }
    }

    /// The answer without a call of AWS: a token that is good enough, or a failure that is recent.
    fn known(
        &self,
        slot: &KeySlot,
        is_good: impl Fn(&Token, Timestamp) -> bool,
    ) -> Option<Result<Token, TokenFailure>> {
        let holding = slot.holding.lock();
        if let Some(token) = holding.token()
            && is_good(token, clock::now())
        {
            return Some(Ok(token.clone()));
        }
        let failure = holding.recent_failure(self.elapsed())?;
        Some(Err(failure.clone().into()))
    }

    fn slot(&self, key: &TokenKey) -> Arc<KeySlot> {
        let mut slots = self.slots.lock();
        match slots.get(key) {
            Some(slot) => slot.clone(),
            None => self.new_slot(&mut slots, key),
        }
    }

    /// The slot of a key; a new one is charged to the namespace.
    fn slot_charged_to(
        &self,
        namespace: &str,
        key: &TokenKey,
    ) -> Result<Arc<KeySlot>, TooManyNewKeys> {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get(key) {
            return Ok(slot.clone());
        }
        self.quota.lock().charge(namespace, self.elapsed())?;
        Ok(self.new_slot(&mut slots, key))
    }

    fn new_slot(&self, slots: &mut Slots, key: &TokenKey) -> Arc<KeySlot> {
        let slot = Arc::<KeySlot>::default();
        if let Some((evicted, _)) = slots.push(key.clone(), slot.clone()) {
            self.metrics
                .forget_token(&evicted.identity.to_string(), &evicted.region);
        }
        slot
    }

    fn report_expiry(&self, key: &TokenKey, expires_at: Timestamp) {
        #[allow(clippy::cast_precision_loss, reason = "seconds fit")]
        let seconds = expires_at.as_second() as f64;
        self.metrics
            .token_expiry(&key.identity.to_string(), &key.region)
            .set(seconds);
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// The endpoints of a key's region.
fn endpoints(config: &Config, key: &TokenKey) -> Endpoints {
    let endpoints = config.endpoints.get(&*key.region);
    endpoints.cloned().unwrap_or_default()
}
