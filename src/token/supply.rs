//! The tokens that this process holds: one per identity, region and endpoint, for all namespaces.
//!
//! They come from the token store, where every replica puts what it minted, and from AWS where the
//! store has none that works. The leader renews them in time ([`Supply::refresh`]). All other callers
//! get the token that is there ([`Supply::token`]): AWS is asked only for a token that no replica
//! has, or that was not renewed until its expiry was near. A token that cannot be renewed serves
//! until its expiry. Callers that come while a token is being minted wait for that one call, and a
//! failure is remembered for some seconds, so that a hundred pods cause one call of AWS.

mod calls;

use std::sync::Arc;

use ecr_pull_secrets_core::config::{Config, Endpoints};
use ecr_pull_secrets_core::identity::TokenKey;
use ecr_pull_secrets_core::token::Token;
use ecr_pull_secrets_core::token::holding::{Offer, is_young};
use ecr_pull_secrets_core::token::lifetime::Lifetime;
use ecr_pull_secrets_core::token::reach::AwsReach;
use ecr_pull_secrets_core::token::renewal::{self, Stage};
use ecr_pull_secrets_core::token::spread::RenewalPhase;
use jiff::Timestamp;
use parking_lot::Mutex;

use super::slots::KeySlots;
use super::store::Store;
pub(crate) use super::supplied::{Supplied, TokenFailure};
use super::turns::{MintTurns, PodCaller, PodTurn};
use crate::aws::mint::Mint;
use crate::clock;
use crate::cluster::refusal::Refusal;
use crate::telemetry::metrics::Metrics;

/// The tokens of this process.
pub(crate) struct Supply {
    mint: Mint,
    metrics: Metrics,
    store: Arc<Store>,
    slots: KeySlots,
    turns: MintTurns,
    reach: Mutex<AwsReach>,
}

/// The caller that asks for a token.
enum Asker {
    /// A namespace, for a pod or its Secret.
    Namespace(Arc<str>),
    /// The schedule of rotation, which has waited for its turn already.
    Schedule,
}

impl Supply {
    pub(crate) fn new(mint: Mint, metrics: Metrics, store: Arc<Store>) -> Arc<Self> {
        Arc::new(Self {
            mint,
            metrics,
            store,
            slots: KeySlots::new(),
            turns: MintTurns::new(),
            reach: Mutex::default(),
        })
    }

    /// A token that works, for a pod of this namespace.
    ///
    /// # Errors
    ///
    /// [`TokenFailure`] when there is none and AWS gives none, when the namespace brought too many new
    /// keys, or when there are too many in all.
    pub(crate) async fn token(
        self: &Arc<Self>,
        key: &TokenKey,
        namespace: &str,
        config: &Config,
    ) -> Result<Supplied, TokenFailure> {
        let slot = self.slots.of(key, Some(namespace), config)?;
        let asker = Asker::Namespace(namespace.into());
        let serves = |token: &Token, now| Lifetime::from(token).serves(now);
        let offer = slot.holding.lock().offer(clock::now());
        match offer {
            Offer::Held(token) => Ok(token.into()),
            Offer::NextOrHeld(token) => {
                let endpoints = endpoints(config, key);
                match self.renew(key, &slot, endpoints, asker, serves).await {
                    Ok(renewed) => Ok(renewed.token.into()),
                    Err(failure) => Ok(Supplied {
                        token,
                        failure: Some(failure),
                    }),
                }
            }
            Offer::Next => {
                let endpoints = endpoints(config, key);
                let renewed = self.renew(key, &slot, endpoints, asker, serves).await?;
                Ok(renewed.token.into())
            }
        }
    }

    /// The token that the leader writes into Secrets. When the old one is due, a new one is minted,
    /// and is in the store before this returns. It is charged to no namespace.
    ///
    /// # Errors
    ///
    /// [`TokenFailure`] when a new one is due and AWS gives none; the old one stays. Or as
    /// [`Supply::token`].
    pub(crate) async fn refresh(
        self: &Arc<Self>,
        key: &TokenKey,
        config: &Config,
    ) -> Result<Token, TokenFailure> {
        let (max_age, phase) = (config.rotation.max_age, RenewalPhase::of(key));
        let is_fresh = move |token: &Token, now| {
            renewal::stage(Lifetime::from(token), max_age, phase, now) == Stage::Fresh
        };
        self.obtain(key, config, is_fresh).await
    }

    /// The same, with a token that was minted since then, whether the old one is due or not.
    ///
    /// # Errors
    ///
    /// As [`Supply::refresh`].
    pub(crate) async fn renewed_since(
        self: &Arc<Self>,
        key: &TokenKey,
        config: &Config,
        since: Timestamp,
    ) -> Result<Token, TokenFailure> {
        let is_new = move |token: &Token, _| token.minted_at >= since;
        self.obtain(key, config, is_new).await
    }

    async fn obtain(
        self: &Arc<Self>,
        key: &TokenKey,
        config: &Config,
        is_good: impl Fn(&Token, Timestamp) -> bool + Copy + Send + Sync + 'static,
    ) -> Result<Token, TokenFailure> {
        let slot = self.slots.of(key, None, config)?;
        // Here, because a replica that no longer leads drops this future, and all that wait with it.
        let known = || self.known(&slot, is_good);
        if let Some(known) = self
            .turns
            .call_for_schedule(slot.may_be_invention(), known)
            .await
        {
            return known;
        }
        // The previous leader may have minted a moment ago.
        if let Ok(stored) = Box::pin(self.store.read_for(key)).await {
            for (key, token) in stored {
                self.learn(key, token);
            }
        }
        let endpoints = endpoints(config, key);
        let renewed = self
            .renew(key, &slot, endpoints, Asker::Schedule, is_good)
            .await?;
        if let Some(storing) = renewed.storing {
            // A panic there has been logged, and the token works all the same.
            let _ = storing.await;
        }
        Ok(renewed.token)
    }

    /// Takes all tokens of the token store, for a process that does not watch it.
    ///
    /// # Errors
    ///
    /// [`Refusal`] of the API server.
    pub(crate) async fn learn_all(&self) -> Result<(), Refusal> {
        for (key, token) in self.store.read_all().await? {
            self.learn(key, token);
        }
        Ok(())
    }

    /// Gives a key a slot. A new one is charged to the namespace whose pods bring it.
    ///
    /// # Errors
    ///
    /// As [`Supply::token`], without a call of AWS.
    pub(crate) fn charge(
        &self,
        key: &TokenKey,
        namespace: &str,
        config: &Config,
    ) -> Result<(), TokenFailure> {
        self.slots.of(key, Some(namespace), config).map(drop)
    }

    /// Replaces a token that a registry refuses before its expiry: the session behind it may have
    /// been revoked. Asks AWS in the background, as often as its holding allows the
    /// namespace whose pod was refused, and in its place.
    pub(crate) fn distrust(self: &Arc<Self>, key: TokenKey, namespace: &str, config: &Config) {
        // No key enters here: what this process does not hold, it has not given out.
        let Some(slot) = self.slots.ask(&key, config) else {
            return;
        };
        let (now, elapsed) = (clock::now(), self.slots.elapsed());
        if !slot.holding.lock().distrust(namespace, now, elapsed) {
            return;
        }
        let (this, endpoints) = (self.clone(), endpoints(config, &key));
        let namespace: Arc<str> = namespace.into();
        tokio::spawn(async move {
            // It waits behind pods without a token: this one works for all that this process knows.
            let caller = PodCaller {
                namespace: &namespace,
                is_retry: true,
                is_doubtful: slot.may_be_invention(),
            };
            let known = || this.known(&slot, is_young);
            let turn = this.turns.call_for_pod(caller, &slot.minting, known).await;
            let Ok(PodTurn::Call(_call)) = turn else {
                slot.holding.lock().undo_distrust(&namespace);
                return;
            };
            // The credentials that minted the token may be what was revoked.
            this.mint.forget().await;
            // A failure has been logged.
            let _ = this.call(&key, &slot, &endpoints).await;
        });
    }

    /// The token of a key, however old.
    pub(crate) fn held(&self, key: &TokenKey) -> Option<Token> {
        let slot = self.slots.peek(key)?;
        slot.holding.lock().token().cloned()
    }

    /// The tokens of all keys in use, however old.
    pub(crate) fn tokens(&self) -> Vec<(TokenKey, Token)> {
        self.slots.tokens()
    }

    /// The number of keys.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether this replica gets no token from AWS, although another one may.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.reach.lock().is_lost(self.slots.elapsed())
    }

    /// A number that grows with each change of a token.
    pub(crate) fn edition(&self) -> u64 {
        self.slots.edition()
    }

    /// Takes a token that another replica minted, if it works and is better than the one that is
    /// held.
    pub(crate) fn learn(&self, key: TokenKey, token: Token) {
        let now = clock::now();
        if !Lifetime::from(&token).is_usable(now) {
            return;
        }
        // The replica that minted it has charged it.
        let Ok(slot) = self.slots.of_learned(&key) else {
            return;
        };
        if slot.holding.lock().learn(token, now) {
            self.slots.changed();
        }
    }
}

/// The endpoints of a key's region.
fn endpoints(config: &Config, key: &TokenKey) -> Endpoints {
    let endpoints = config.endpoints.get(&*key.region);
    endpoints.cloned().unwrap_or_default()
}
