//! The tokens that this process holds: one per identity and region, shared by all namespaces.
//!
//! They come from the store, where every replica puts what it minted, and from AWS where the store
//! has none that works. The lease holder renews them in time ([`Supply::refresh`]); everybody else
//! hands out what there is ([`Supply::token`]), and asks AWS only for a token that nobody has, or
//! that was not renewed until its end was near. One that cannot be renewed is given out to its end.
//! Whoever asks while a token is being minted waits for that one call, and a failure is remembered
//! for some seconds, so that a hundred pods ask AWS once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ecr_pull_secrets_core::cause::{Cause, Retry};
use ecr_pull_secrets_core::identity::TokenKey;
use ecr_pull_secrets_core::token::Token;
use ecr_pull_secrets_core::token::renewal::{self, Stage};
use jiff::{SignedDuration, Timestamp};
use lru::LruCache;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{info, warn};

use super::store::Store;
use crate::aws::LIVE_KEYS;
use crate::aws::failure::Failure;
use crate::aws::mint::Mint;
use crate::clock;
use crate::telemetry::metrics::Metrics;

/// A token this young is as good as the next one, whatever a registry says of it.
const YOUNG: SignedDuration = SignedDuration::from_mins(10);
/// So long is a key not distrusted again.
const TRUST: Duration = Duration::from_secs(6 * 60 * 60);
/// So many keys that the process did not hold may a namespace bring within [`WINDOW`].
const NEW_KEYS: u32 = 16;
const WINDOW: Duration = Duration::from_secs(10 * 60);

/// The tokens of this process.
pub(crate) struct Supply {
    mint: Mint,
    max_age: Duration,
    metrics: Metrics,
    store: Arc<Store>,
    slots: Mutex<LruCache<TokenKey, Arc<Slot>>>,
    newcomers: Mutex<HashMap<String, (Instant, u32)>>,
}

/// A token, and why it is not a better one.
#[derive(Clone, Debug)]
pub(crate) struct Supplied {
    /// It works now.
    pub(crate) token: Token,
    /// It ends soon, and this is what stands in the way of the next one.
    pub(crate) failure: Option<Failure>,
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
    /// When its token was distrusted last.
    distrusted: Mutex<Option<Instant>>,
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
    pub(crate) fn new(
        mint: Mint,
        max_age: Duration,
        metrics: Metrics,
        store: Arc<Store>,
    ) -> Arc<Self> {
        Arc::new(Self {
            mint,
            max_age,
            metrics,
            store,
            slots: Mutex::new(LruCache::new(LIVE_KEYS)),
            newcomers: Mutex::default(),
        })
    }

    /// A token that works, for a pod of this namespace.
    ///
    /// # Errors
    ///
    /// [`Failure`] when there is none and AWS gives none, or the namespace asked for too many.
    pub(crate) async fn token(
        self: &Arc<Self>,
        key: &TokenKey,
        namespace: &str,
    ) -> Result<Supplied, Failure> {
        let slot = self.slot(key, Some(namespace))?;
        let now = clock::now();
        match slot.read().token {
            Some(token) if serves(&token, now) => Ok(token.into()),
            // Near its end it is better than nothing, and not as good as the next one.
            Some(token) if now < token.expires_at => match self.renew(key, &slot, serves).await {
                Ok((next, _)) => Ok(next.into()),
                Err(failure) => Ok(Supplied {
                    token,
                    failure: Some(failure),
                }),
            },
            Some(_) | None => {
                let (token, _) = self.renew(key, &slot, serves).await?;
                Ok(token.into())
            }
        }
    }

    /// The token that the lease holder spreads: a new one as soon as the old one is due, in the
    /// store before it is anywhere else.
    ///
    /// # Errors
    ///
    /// [`Failure`] when a new one is due and AWS gives none; the old one stays.
    pub(crate) async fn refresh(self: &Arc<Self>, key: &TokenKey) -> Result<Token, Failure> {
        let slot = self.slot(key, None)?;
        let max_age = self.max_age;
        let is_fresh =
            move |token: &Token, now| renewal::stage(token, max_age, now) == Stage::Fresh;
        if let Some(token) = slot.read().token
            && is_fresh(&token, clock::now())
        {
            return Ok(token);
        }
        if let Some(failure) = slot.read().recent_failure() {
            return Err(failure);
        }
        // Whoever led before may have minted a moment ago.
        if let Ok(stored) = self.store.read().await {
            for (key, token) in stored {
                self.learn(key, token);
            }
        }
        let (token, putting) = self.renew(key, &slot, is_fresh).await?;
        if let Some(putting) = putting {
            // A panic there has been logged; the token is good all the same.
            let _ = putting.await;
        }
        Ok(token)
    }

    /// A registry takes the token for dead, whatever its end: the session behind it may have been
    /// revoked. Asks AWS for another one, behind the caller's back and once in a long while: where
    /// that is taken for dead as well, the token was not to blame.
    pub(crate) fn distrust(self: &Arc<Self>, key: TokenKey) {
        let Ok(slot) = self.slot(&key, None) else {
            return;
        };
        let now = clock::now();
        let is_young =
            |token: &Token, now: Timestamp| now.duration_since(token.minted_at).abs() < YOUNG;
        if slot.read().token.is_some_and(|token| is_young(&token, now)) || !slot.may_distrust() {
            return;
        }
        let this = self.clone();
        tokio::spawn(async move {
            // What the token was made from is what was revoked.
            this.mint.forget(&key).await;
            this.renew(&key, &slot, is_young).await.map(drop)
        });
    }

    /// The token of a key as it is, however old.
    pub(crate) fn held(&self, key: &TokenKey) -> Option<Token> {
        let slot = self.slots().peek(key).cloned();
        slot.and_then(|slot| slot.read().token)
    }

    /// All of them.
    pub(crate) fn tokens(&self) -> Vec<(TokenKey, Token)> {
        let slots = self.slots();
        let held = slots.iter().map(|(key, slot)| (key, slot.read().token));
        held.filter_map(|(key, token)| Some((key.clone(), token?)))
            .collect()
    }

    /// A token that another replica minted. The better of two stays; one that has ended, or whose
    /// end is beyond belief, is not taken.
    pub(crate) fn learn(&self, key: TokenKey, token: Token) {
        let now = clock::now();
        if token.expires_at <= now || !renewal::is_believable(token.expires_at, now) {
            return;
        }
        let slot = {
            let mut slots = self.slots();
            match slots.peek(&key) {
                Some(slot) => slot.clone(),
                // What this process uses is not put out for what others use.
                None if slots.len() >= LIVE_KEYS.get() => return,
                None => {
                    let slot = Arc::new(Slot::default());
                    slots.push(key.clone(), slot.clone());
                    slot
                }
            }
        };
        let mut state = slot.write();
        let is_better = state
            .token
            .as_ref()
            .is_none_or(|held| renewal::supersedes(&token, held.minted_at, held.expires_at, now));
        if is_better {
            self.keep(&key, &mut state, token);
        }
    }

    /// Mints, unless there is one by now that is good enough. The second half of the answer is the
    /// way of a new token into the store.
    async fn renew(
        self: &Arc<Self>,
        key: &TokenKey,
        slot: &Arc<Slot>,
        is_good: impl Fn(&Token, Timestamp) -> bool + Send + 'static,
    ) -> Result<(Token, Option<JoinHandle<()>>), Failure> {
        // On a task of its own: a call that AWS has counted is not thrown away because whoever made
        // it does not lead any more.
        let (this, key, slot) = (self.clone(), key.clone(), slot.clone());
        let renewal = tokio::spawn(async move { this.renew_now(&key, &slot, is_good).await });
        renewal.await.unwrap_or_else(|_| {
            let detail = "the task that asks for tokens panicked";
            Err(Failure::new(Cause::AwsError, detail))
        })
    }

    async fn renew_now(
        &self,
        key: &TokenKey,
        slot: &Slot,
        is_good: impl Fn(&Token, Timestamp) -> bool,
    ) -> Result<(Token, Option<JoinHandle<()>>), Failure> {
        let _turn = slot.minting.lock().await;
        let state = slot.read();
        if let Some(token) = state.token.clone()
            && is_good(&token, clock::now())
        {
            return Ok((token, None));
        }
        if let Some(failure) = state.recent_failure() {
            return Err(failure);
        }
        let (identity, region) = (key.identity.to_string(), &*key.region);
        match self.mint.mint(key).await {
            Ok(token) => {
                self.metrics.token_requested("ok");
                info!(identity, region, expires_at = %token.expires_at, "token minted");
                self.keep(key, &mut slot.write(), token.clone());
                let (store, key, stored) = (self.store.clone(), key.clone(), token.clone());
                let putting = tokio::spawn(async move { store.put(&key, &stored).await });
                Ok((token, Some(putting)))
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

    fn keep(&self, key: &TokenKey, state: &mut State, token: Token) {
        #[allow(clippy::cast_precision_loss, reason = "seconds fit")]
        let end = token.expires_at.as_second() as f64;
        self.metrics
            .token_expiry(&key.identity.to_string(), &key.region)
            .set(end);
        *state = State {
            token: Some(token),
            failure: None,
        };
    }

    /// The place of a key. A new one is charged to the namespace that brings it, if there is one.
    fn slot(&self, key: &TokenKey, namespace: Option<&str>) -> Result<Arc<Slot>, Failure> {
        let mut slots = self.slots();
        if let Some(slot) = slots.get(key) {
            return Ok(slot.clone());
        }
        if let Some(namespace) = namespace {
            self.admit_newcomer(namespace)?;
        }
        let slot = Arc::new(Slot::default());
        if let Some((evicted, _)) = slots.push(key.clone(), slot.clone()) {
            self.metrics
                .forget_token(&evicted.identity.to_string(), &evicted.region);
        }
        Ok(slot)
    }

    fn slots(&self) -> MutexGuard<'_, LruCache<TokenKey, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Whether it is long ago that somebody did; from now on it is not.
    fn may_distrust(&self) -> bool {
        let mut last = self
            .distrusted
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let may = last.is_none_or(|last| last.elapsed() >= TRUST);
        if may {
            *last = Some(Instant::now());
        }
        may
    }

    fn write(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn serves(token: &Token, now: Timestamp) -> bool {
    renewal::serves(token.minted_at, token.expires_at, now)
}
