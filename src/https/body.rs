//! Bodies on their way in: how much of them is in memory at a time, whoever sends them.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Bytes, Incoming};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::connections::Connection;

/// Two objects of at most 3 MB (`object` and `oldObject`) and 1 MB for what is around them.
pub(crate) const LIMIT: usize = 7 * 1024 * 1024;
/// A body has so much for nothing: a review of a pod has some KB, and never waits for another.
const FREE: usize = 16 * 1024;
/// What all bodies may have beyond that, in KiB.
const BUDGET: usize = 24 * 1024;
/// How long a body waits until those who were cut for it are gone.
const PATIENCE: Duration = Duration::from_millis(500);

/// Why a body did not arrive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("a review has at most 7 MiB")]
    TooLarge,
    #[error("too much is on its way in")]
    NoBudget,
    #[error("the body broke off")]
    Broken(#[source] hyper::Error),
}

/// What all bodies together may hold.
pub(crate) struct Bodies(Semaphore);

impl Default for Bodies {
    fn default() -> Self {
        Self(Semaphore::new(BUDGET))
    }
}

/// A body that is here.
pub(crate) struct Whole<'a> {
    /// All of it, if it came at once.
    first: Bytes,
    /// Otherwise this.
    rest: Vec<u8>,
    charge: Option<SemaphorePermit<'a>>,
}

impl Whole<'_> {
    pub(crate) fn bytes(&self) -> &[u8] {
        if self.rest.is_empty() {
            &self.first
        } else {
            &self.rest
        }
    }
}

impl Bodies {
    /// Reads one, and holds no more of the budget than has arrived. It ends with the connection if
    /// that takes too long, or if somebody else needs what it holds.
    pub(crate) async fn read(
        &self,
        mut body: Incoming,
        connection: &Connection,
    ) -> Result<Whole<'_>, BodyError> {
        let announced = body.size_hint().exact();
        if announced.is_some_and(|announced| announced > LIMIT as u64) {
            return Err(BodyError::TooLarge);
        }
        connection.holds(0);
        let announced = announced.and_then(|announced| usize::try_from(announced).ok());
        let mut whole = Whole {
            first: Bytes::new(),
            rest: Vec::new(),
            charge: None,
        };
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(BodyError::Broken)?.into_data() else {
                continue;
            };
            if whole.bytes().is_empty() {
                whole.first = data;
                continue;
            }
            self.append(&mut whole, &data, announced, connection)
                .await?;
        }
        connection.has_asked();
        Ok(whole)
    }

    async fn append<'a>(
        &'a self,
        whole: &mut Whole<'a>,
        data: &[u8],
        announced: Option<usize>,
        connection: &Connection,
    ) -> Result<(), BodyError> {
        let length = whole.bytes().len() + data.len();
        if length > LIMIT {
            return Err(BodyError::TooLarge);
        }
        if length > whole.rest.capacity() {
            let most = announced.unwrap_or(LIMIT).max(length);
            let capacity = (2 * length).max(FREE).min(most);
            let charged = whole
                .charge
                .as_ref()
                .map_or(0, SemaphorePermit::num_permits);
            let due = capacity.saturating_sub(FREE).div_ceil(1024);
            if due > charged {
                let more = self.charge(due - charged, connection).await?;
                match &mut whole.charge {
                    Some(charge) => charge.merge(more),
                    none => *none = Some(more),
                }
                connection.holds(due);
            }
            whole.rest.reserve_exact(capacity - whole.rest.len());
        }
        if whole.rest.is_empty() {
            whole.rest.extend_from_slice(&whole.first);
            whole.first = Bytes::new();
        }
        whole.rest.extend_from_slice(data);
        Ok(())
    }

    async fn charge(
        &self,
        kib: usize,
        connection: &Connection,
    ) -> Result<SemaphorePermit<'_>, BodyError> {
        let kib = u32::try_from(kib).map_err(|_| BodyError::TooLarge)?;
        if let Ok(charge) = self.0.try_acquire_many(kib) {
            return Ok(charge);
        }
        // What others send in drops has had its time.
        let free = u32::try_from(self.0.available_permits()).unwrap_or(u32::MAX);
        if connection.cut_slow_bodies(kib.saturating_sub(free)) {
            let freed = timeout(PATIENCE, self.0.acquire_many(kib)).await;
            if let Ok(Ok(charge)) = freed {
                return Ok(charge);
            }
        }
        Err(BodyError::NoBudget)
    }
}
