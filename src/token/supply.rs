//! The tokens that this process holds: one per identity and region, shared by all namespaces.
//!
//! Asking for one is cheap while it is fresh. One that is past half of its life is still given
//! out, and renewed behind the caller's back; one that cannot be renewed is given out to its end.
//! Whoever asks while a token is being minted waits for that one call, and a failure is remembered
//! for some seconds, so that a hundred pods ask AWS once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ecr_pull_secrets_core::cause::{Cause, Retry};
use ecr_pull_secrets_core::token::renewal::{self, Stage};
use ecr_pull_secrets_core::token::{Token, TokenKey};
use lru::LruCache;
use tokio::time::Instant;
use tracing::{info, warn};

use super::LIVE_KEYS;
use super::failure::Failure;
use super::mint::Mint;
use crate::clock;
use crate::telemetry::metrics::Metrics;

/// So many keys that the process did not hold may a namespace bring within [`WINDOW`].
const NEW_KEYS: u32 = 16;
const WINDOW: Duration = Duration::from_secs(10 * 60);

/// The tokens of this process.
pub struct Supply {
    mint: Mint,
    max_age: Duration,
    metrics: Metrics,
    slots: Mutex<LruCache<TokenKey, Arc<Slot>>>,
    newcomers: Mutex<HashMap<String, (Instant, u32)>>,
}

/// A token, and why it is not a better one.
#[derive(Clone, Debug)]
pub struct Supplied {
    /// It works now.
    pub token: Token,
    /// It ends soon, and this is what stands in the way of the next one.
    pub failure: Option<Failure>,
}

impl From<Token> for Supplied {
    fn from(token: Token) -> Self {
        Self {
            token,
            failure: None,
        }
    }
}

#[derive(Default)]
struct Slot {
    state: Mutex<State>,
    minting: tokio::sync::Mutex<()>,
}

#[derive(Clone, Default)]
struct State {
    token: Option<Token>,
    failure: Option<(Instant, Failure)>,
}

impl State {
    fn recent_failure(&self) -> Option<Failure> {
        let (at, failure) = self.failure.as_ref()?;
        let remembered = match failure.cause.retry() {
            Retry::Soon => Duration::from_secs(3),
            Retry::Slowly | Retry::Never => Duration::from_secs(10),
        };
        (at.elapsed() < remembered).then(|| failure.clone())
    }
}

impl Supply {
    /// Holds none yet.
    pub fn new(mint: Mint, max_age: Duration, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            mint,
            max_age,
            metrics,
            slots: Mutex::new(LruCache::new(LIVE_KEYS)),
            newcomers: Mutex::default(),
        })
    }

    /// A token that works, for a pod of this namespace.
    ///
    /// # Errors
    ///
    /// [`Failure`] when there is none and AWS gives none, or the namespace asked for too many.
    pub async fn token(
        self: &Arc<Self>,
        key: &TokenKey,
        namespace: &str,
    ) -> Result<Supplied, Failure> {
        let slot = self.slot(key, namespace)?;
        let state = slot.read();
        let now = clock::now();
        let held = state.token.clone();
        match held.map(|token| (renewal::stage(&token, self.max_age, now), token)) {
            Some((Stage::Fresh, token)) => Ok(token.into()),
            Some((Stage::Due, token))
                if renewal::serves(token.minted_at, token.expires_at, now) =>
            {
                if state.recent_failure().is_none() {
                    let (this, key) = (self.clone(), key.clone());
                    tokio::spawn(async move { this.renew(&key, &slot).await });
                }
                Ok(token.into())
            }
            // Near its end it is better than nothing, and not as good as the next one.
            Some((Stage::Due, token)) => match self.renew(key, &slot).await {
                Ok(next) => Ok(next.into()),
                Err(failure) => Ok(Supplied {
                    token,
                    failure: Some(failure),
                }),
            },
            Some((Stage::Expired, _)) | None => self.renew(key, &slot).await.map(Supplied::from),
        }
    }

    /// Mints, unless somebody else just did.
    async fn renew(&self, key: &TokenKey, slot: &Slot) -> Result<Token, Failure> {
        let _turn = slot.minting.lock().await;
        let state = slot.read();
        if let Some(token) = state.token.clone()
            && renewal::stage(&token, self.max_age, clock::now()) == Stage::Fresh
        {
            return Ok(token);
        }
        if let Some(failure) = state.recent_failure() {
            return Err(failure);
        }
        let (identity, region) = (key.identity.to_string(), &*key.region);
        match self.mint.mint(key).await {
            Ok(token) => {
                self.metrics.token_requested("ok");
                #[allow(clippy::cast_precision_loss, reason = "seconds fit")]
                let end = token.expires_at.as_second() as f64;
                self.metrics.token_expiry(&identity, region).set(end);
                info!(identity, region, expires_at = %token.expires_at, "token minted");
                *slot.write() = State {
                    token: Some(token.clone()),
                    failure: None,
                };
                Ok(token)
            }
            Err(failure) => {
                self.metrics.token_requested(failure.cause.name());
                let cause = failure.cause.name();
                warn!(identity, region, cause, detail = failure.detail, "no token");
                slot.write().failure = Some((Instant::now(), failure.clone()));
                Err(failure)
            }
        }
    }

    fn slot(&self, key: &TokenKey, namespace: &str) -> Result<Arc<Slot>, Failure> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(key) {
            return Ok(slot.clone());
        }
        self.admit_newcomer(namespace)?;
        let slot = Arc::new(Slot::default());
        if let Some((evicted, _)) = slots.push(key.clone(), slot.clone()) {
            self.metrics
                .forget_token(&evicted.identity.to_string(), &evicted.region);
        }
        Ok(slot)
    }

    fn admit_newcomer(&self, namespace: &str) -> Result<(), Failure> {
        let mut newcomers = self
            .newcomers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        newcomers.retain(|_, (since, _)| since.elapsed() < WINDOW);
        let (_, count) = newcomers
            .entry(namespace.to_owned())
            .or_insert((Instant::now(), 0));
        if *count >= NEW_KEYS {
            let detail = format!("{NEW_KEYS} new regions within {} s", WINDOW.as_secs());
            return Err(Failure::new(Cause::TooManyTokens, detail));
        }
        *count += 1;
        Ok(())
    }
}

impl Slot {
    fn read(&self) -> State {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn write(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
