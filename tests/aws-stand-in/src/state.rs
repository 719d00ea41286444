//! Everything the stand-in remembers, behind one lock that no await is held across.

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
    policy::Policies,
    spec::{Absent, Secrets},
    token::Tokens,
};

/// The lock, shared by all handlers.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<State>>);

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A handler that panicked has left counts and maps, all of which are usable at any moment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) identities: Identities,
    pub(crate) tokens: Tokens,
    pub(crate) faults: Faults,
    pub(crate) policies: Policies,
    pub(crate) calls: Calls,
    pub(crate) images: Images,
    pub(crate) absent: HashSet<Absent>,
    pub(crate) clocks: Clocks,
    /// Sees everything that is minted, and survives a reset.
    pub(crate) secrets: Secrets,
}

/// Offsets from the system's clock, in seconds.
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

    /// Whether a test has said that a repository, or a tag of it, does not exist.
    pub(crate) fn is_absent(&self, region: &str, repository: &str, tag: Option<&str>) -> bool {
        self.absent.iter().any(|absent| {
            absent.region.as_deref().is_none_or(|named| named == region)
                && absent.repository == repository
                && absent.tag.as_deref() == tag
        })
    }

    /// As after the start, except that the secrets ever minted stay known.
    pub(crate) fn reset(&mut self) {
        let secrets = std::mem::take(&mut self.secrets);
        *self = Self {
            secrets,
            ..Self::default()
        };
    }

    /// Every secret there is or was.
    pub(crate) fn all_secrets(&self) -> Secrets {
        let mut secrets = self.secrets.clone();
        secrets
            .secret_access_keys
            .push(crate::DEFAULT_SECRET_ACCESS_KEY.to_owned());
        secrets
    }
}
