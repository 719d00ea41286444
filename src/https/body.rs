//! Bodies of requests: at most a fixed amount of them is in memory, with any number of clients.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Bytes, Incoming};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::connections::Connection;

/// The longest body, in bytes: 3 MB for each of `object` and `oldObject`, and 1 MB around them.
pub(crate) const MAX_BODY: usize = 7 * 1024 * 1024;
/// The part of each body that is not charged, in bytes. A review of a pod has some KB, so it never
/// waits for another body.
const FREE_BYTES: usize = 16 * 1024;
/// The charged memory of all bodies together, in KiB.
const BUDGET_KIB: usize = 24 * 1024;
/// The longest wait until evicted connections have released their memory.
const EVICTION_TIMEOUT: Duration = Duration::from_millis(500);

/// The reason why a body was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("a review has at most 7 MiB")]
    TooLarge,
    #[error("too many large bodies at a time")]
    NoBudget,
    #[error("the body broke off")]
    Broken(#[source] hyper::Error),
}

/// The memory for all bodies together.
pub(crate) struct BodyBudget(Semaphore);

impl Default for BodyBudget {
    fn default() -> Self {
        Self(Semaphore::new(BUDGET_KIB))
    }
}

/// A complete body.
pub(crate) struct ReadBody<'a> {
    /// The whole body, if it came in one piece.
    first: Bytes,
    /// The whole body otherwise.
    rest: Vec<u8>,
    charge: Option<SemaphorePermit<'a>>,
}

impl ReadBody<'_> {
    pub(crate) fn bytes(&self) -> &[u8] {
        if self.rest.is_empty() {
            &self.first
        } else {
            &self.rest
        }
    }
}

impl BodyBudget {
    /// Reads a body, and charges only what has arrived. A body that takes too long, or whose
    /// memory another one needs, ends with its connection.
    pub(crate) async fn read(
        &self,
        mut body: Incoming,
        connection: &Connection,
    ) -> Result<ReadBody<'_>, BodyError> {
        let announced = body.size_hint().exact();
        if announced.is_some_and(|announced| announced > MAX_BODY as u64) {
            return Err(BodyError::TooLarge);
        }
        connection.set_charged(0);
        let announced = announced.and_then(|announced| usize::try_from(announced).ok());
        let mut read = ReadBody {
            first: Bytes::new(),
            rest: Vec::new(),
            charge: None,
        };
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(BodyError::Broken)?.into_data() else {
                continue;
            };
            if read.bytes().is_empty() {
                read.first = data;
                continue;
            }
            self.append(&mut read, &data, announced, connection).await?;
        }
        connection.request_received();
        Ok(read)
    }

    async fn append<'a>(
        &'a self,
        read: &mut ReadBody<'a>,
        data: &[u8],
        announced: Option<usize>,
        connection: &Connection,
    ) -> Result<(), BodyError> {
        let length = read.bytes().len() + data.len();
        if length > MAX_BODY {
            return Err(BodyError::TooLarge);
        }
        if length > read.rest.capacity() {
            let most = announced.unwrap_or(MAX_BODY).max(length);
            let capacity = (2 * length).max(FREE_BYTES).min(most);
            let charged = read.charge.as_ref().map_or(0, SemaphorePermit::num_permits);
            let due = capacity.saturating_sub(FREE_BYTES).div_ceil(1024);
            if due > charged {
                let more = self.charge(due - charged, connection).await?;
                match &mut read.charge {
                    Some(charge) => charge.merge(more),
                    none => *none = Some(more),
                }
                connection.set_charged(due);
            }
            read.rest.reserve_exact(capacity - read.rest.len());
        }
        if read.rest.is_empty() {
            read.rest.extend_from_slice(&read.first);
            read.first = Bytes::new();
        }
        read.rest.extend_from_slice(data);
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
        // Slow bodies have had their time.
        let free = u32::try_from(self.0.available_permits()).unwrap_or(u32::MAX);
        if connection.evict_slow_bodies(kib.saturating_sub(free)) {
            let freed = timeout(EVICTION_TIMEOUT, self.0.acquire_many(kib)).await;
            if let Ok(Ok(charge)) = freed {
                return Ok(charge);
            }
        }
        Err(BodyError::NoBudget)
    }
}
