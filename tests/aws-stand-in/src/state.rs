//! The stand-in's state, behind one lock that is never held across an await.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;

use crate::{
    calls::Calls,
    clock,
    faults::Faults,
    identity::Identities,
    oci_layout::Images,
    oidc::Providers,
    policy::Policies,
    spec::{Absent, Secrets},
    token::Tokens,
};

/// The lock, shared by all handlers.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<State>>);

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // Safe after a panic, because counts and maps are usable after every single change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) identities: Identities,
    pub(crate) providers: Providers,
    pub(crate) tokens: Tokens,
    pub(crate) faults: Faults,
    pub(crate) policies: Policies,
    pub(crate) calls: Calls,
    pub(crate) images: Images,
    pub(crate) absent: HashSet<Absent>,
    pub(crate) clocks: Clocks,
    /// Every credential minted; a reset keeps them.
    pub(crate) secrets: Secrets,
}

/// Offsets ahead of the system's clock, in seconds.
#[derive(Default)]
pub(crate) struct Clocks {
    pub(crate) global: i64,
    pub(crate) regions: HashMap<String, i64>,
}

impl State {
    /// The time in a region.
    pub(crate) fn now(&self, region: &str) -> Timestamp {
        let offset = self.clocks.regions.get(region).copied().unwrap_or(0);
        clock::after(
            clock::system_now(),
            self.clocks.global.saturating_add(offset),
        )
    }

    /// Whether a test has removed a repository, or one of its tags.
    pub(crate) fn is_absent(&self, region: &str, repository: &str, tag: Option<&str>) -> bool {
        self.absent.iter().any(|absent| {
            absent.region.as_deref().is_none_or(|named| named == region)
                && absent.repository == repository
                && absent.tag.as_deref() == tag
        })
    }

    /// Restores the state after start, but keeps the secrets minted so far.
    pub(crate) fn reset(&mut self) {
        let secrets = std::mem::take(&mut self.secrets);
        *self = Self {
            secrets,
            ..Self::default()
        };
    }

    /// Every secret since the start of the process.
    pub(crate) fn all_secrets(&self) -> Secrets {
        let mut secrets = self.secrets.clone();
        secrets
            .secret_access_keys
            .push(crate::DEFAULT_SECRET_ACCESS_KEY.to_owned());
        secrets
    }
}
