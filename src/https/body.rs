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
/// The length from which a body is long, in bytes. So is one of unannounced length: API servers
/// announce it.
pub(crate) const LONG_BODY: usize = 128 * 1024;
/// The charged memory of all bodies together, in KiB.
const BUDGET_KIB: usize = 24 * 1024;
/// The part of it that long bodies may have, in KiB. The rest is left for others.
const LONG_BUDGET_KIB: usize = 16 * 1024;
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
pub(crate) struct BodyBudget {
    all: Semaphore,
    long: Semaphore,
}

impl Default for BodyBudget {
    fn default() -> Self {
        Self {
            all: Semaphore::new(BUDGET_KIB),
            long: Semaphore::new(LONG_BUDGET_KIB),
        }
    }
}

/// The memory of one body.
struct Charge<'a> {
    of_all: SemaphorePermit<'a>,
    /// The same amount, for a long body.
    of_long: Option<SemaphorePermit<'a>>,
}

impl Charge<'_> {
    fn merge(&mut self, more: Self) {
        self.of_all.merge(more.of_all);
        if let (Some(of_long), Some(more)) = (&mut self.of_long, more.of_long) {
            of_long.merge(more);
        }
    }
}

/// A complete body.
pub(crate) struct ReadBody<'a> {
    /// The whole body, if it came in one piece.
    first: Bytes,
    /// The whole body otherwise.
    rest: Vec<u8>,
    charge: Option<Charge<'a>>,
    is_long: bool,
}

impl ReadBody<'_> {
    fn empty(announced: Option<usize>) -> Self {
        Self {
            first: Bytes::new(),
            rest: Vec::new(),
            charge: None,
            is_long: announced.is_none_or(|announced| announced >= LONG_BODY),
        }
    }

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
        let announced = announced.and_then(|announced| usize::try_from(announced).ok());
        let mut read = ReadBody::empty(announced);
        connection.body_begins(read.is_long);
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
            let charge = read.charge.as_ref();
            let charged = charge.map_or(0, |charge| charge.of_all.num_permits());
            let due = capacity.saturating_sub(FREE_BYTES).div_ceil(1024);
            if due > charged {
                let more = self.charge(due - charged, read.is_long, connection).await?;
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
        is_long: bool,
        connection: &Connection,
    ) -> Result<Charge<'_>, BodyError> {
        let kib = u32::try_from(kib).map_err(|_| BodyError::TooLarge)?;
        if let Some(charge) = self.try_charge(kib, is_long) {
            return Ok(charge);
        }
        // Slow bodies have had their time.
        let missing = |budget: &Semaphore| {
            kib.saturating_sub(u32::try_from(budget.available_permits()).unwrap_or(u32::MAX))
        };
        let missing_long = if is_long { missing(&self.long) } else { 0 };
        let kib_to_free = missing_long.max(missing(&self.all));
        if connection.evict_slow_bodies(kib_to_free, missing_long > 0) {
            let freed = timeout(EVICTION_TIMEOUT, self.acquire(kib, is_long)).await;
            if let Ok(Some(charge)) = freed {
                return Ok(charge);
            }
        }
        Err(BodyError::NoBudget)
    }

    fn try_charge(&self, kib: u32, is_long: bool) -> Option<Charge<'_>> {
        let of_long = is_long.then(|| self.long.try_acquire_many(kib));
        Some(Charge {
            of_long: of_long.transpose().ok()?,
            of_all: self.all.try_acquire_many(kib).ok()?,
        })
    }

    async fn acquire(&self, kib: u32, is_long: bool) -> Option<Charge<'_>> {
        let of_long = if is_long {
            Some(self.long.acquire_many(kib).await.ok()?)
        } else {
            None
        };
        Some(Charge {
            of_long,
            of_all: self.all.acquire_many(kib).await.ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::https::connections::Connections;
    use crate::telemetry::metrics::Metrics;

    /// Fast bodies of this announced length, until one finds no memory.
    async fn filled(budget: &BodyBudget, announced: Option<usize>) -> Vec<ReadBody<'_>> {
        let mut bodies = Vec::new();
        while let Ok(body) = whole(budget, announced).await {
            bodies.push(body);
        }
        bodies
    }

    async fn whole(
        budget: &BodyBudget,
        announced: Option<usize>,
    ) -> Result<ReadBody<'_>, BodyError> {
        let all = Connections::new(Duration::from_secs(60), Metrics::default());
        let slot = all.open().expect("a slot");
        let mut read = ReadBody::empty(announced);
        let data = vec![b' '; announced.unwrap_or(MAX_BODY)];
        let connection = slot.connection();
        budget
            .append(&mut read, &data, announced, connection)
            .await?;
        Ok(read)
    }

    #[tokio::test]
    async fn long_bodies_leave_memory_for_others() {
        for announced in [Some(MAX_BODY), Some(LONG_BODY), None] {
            let budget = BodyBudget::default();
            let long = filled(&budget, announced).await;
            assert!(long.len() > 1, "{announced:?}");
            let others = filled(&budget, Some(LONG_BODY - 1)).await;
            assert!(others.len() > 64, "{announced:?}: {}", others.len());
            // A body gives back what it had.
            drop(long);
            let again = filled(&budget, announced).await;
            assert!(again.len() > 1, "{announced:?}");
        }
    }
}
