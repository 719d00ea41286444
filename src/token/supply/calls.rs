//! The calls of AWS: one at a time for each key, and none while a token or a recent failure answers.

use std::sync::Arc;

use ecr_pull_secrets_core::config::Endpoints;
use ecr_pull_secrets_core::identity::TokenKey;
use ecr_pull_secrets_core::token::Token;
use jiff::Timestamp;
use tracing::{info, warn};

use super::{Asker, Supply};
use crate::clock;
use crate::token::slots::KeySlot;
use crate::token::supplied::{Renewed, TokenFailure};
use crate::token::turns::{PodCaller, PodTurn};

impl Supply {
    /// Mints, unless a token that `is_good` is there by then.
    pub(super) async fn renew(
        self: &Arc<Self>,
        key: &TokenKey,
        slot: &Arc<KeySlot>,
        endpoints: Endpoints,
        asker: Asker,
        is_good: impl Fn(&Token, Timestamp) -> bool + Send + Sync + 'static,
    ) -> Result<Renewed, TokenFailure> {
        // On its own task: the caller may be dropped when this replica stops leading, and a call
        // that AWS has counted must not be lost.
        let (this, key, slot) = (self.clone(), key.clone(), slot.clone());
        let task = tokio::spawn(async move {
            this.renew_now(&key, &slot, &endpoints, asker, is_good)
                .await
        });
        task.await.unwrap_or(Err(TokenFailure::Panicked))
    }

    async fn renew_now(
        &self,
        key: &TokenKey,
        slot: &KeySlot,
        endpoints: &Endpoints,
        asker: Asker,
        is_good: impl Fn(&Token, Timestamp) -> bool,
    ) -> Result<Renewed, TokenFailure> {
        let known = || Some(self.known(slot, &is_good)?.map(Renewed::from));
        let _minting = match asker {
            Asker::Namespace(namespace) => {
                // Its lock ends here: the next question takes it again.
                let is_retry = slot.holding.lock().has_failed();
                let caller = PodCaller {
                    namespace: &namespace,
                    is_retry,
                    is_doubtful: slot.may_be_invention(),
                };
                let turn = self.turns.call_for_pod(caller, &slot.minting, known);
                match turn.await? {
                    PodTurn::Known(known) => return known,
                    PodTurn::Call(call) => call,
                }
            }
            Asker::Schedule => {
                let call = slot.minting.lock().await;
                // Another caller or replica may have minted meanwhile.
                if let Some(known) = known() {
                    return known;
                }
                call
            }
        };
        // In a box: callers that wait for their turn take no memory for the call.
        Box::pin(self.call(key, slot, endpoints)).await
    }

    /// Calls AWS. The caller has its turn, and keeps other calls for the key away.
    pub(super) async fn call(
        &self,
        key: &TokenKey,
        slot: &KeySlot,
        endpoints: &Endpoints,
    ) -> Result<Renewed, TokenFailure> {
        let (identity, region) = (key.identity.to_string(), &*key.region);
        let has_worked = slot.holding.lock().has_worked();
        let may_be_invention = slot.may_be_invention();
        match self.mint.mint(key, endpoints, has_worked).await {
            Ok(token) => {
                self.metrics.token_requested("ok");
                self.reach.lock().worked();
                info!(identity, region, expires_at = %token.expires_at, "token minted");
                slot.holding.lock().keep(token.clone());
                self.slots.changed();
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
                let now = self.slots.elapsed();
                // A pod author chooses it, and it fails in every replica.
                if !may_be_invention {
                    self.reach.lock().failed(failure.cause, now);
                }
                let mut holding = slot.holding.lock();
                holding.fail(failure.cause, failure.clone(), now);
                drop(holding);
                Err(failure.into())
            }
        }
    }

    /// The answer without a call of AWS: a token that is good enough, or a failure that is recent.
    pub(super) fn known(
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
        let failure = holding.recent_failure(self.slots.elapsed())?;
        Some(Err(failure.clone().into()))
    }
}
