//! Reads of objects that are not in memory, at most [`CAPACITY`] at a time.
//!
//! The sender of a review chooses the namespace and the ServiceAccount that it names. One that does
//! not exist is read again for each review, and each read holds a socket until its answer.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::call::call;

/// Reads at a time. An API server answers one within some milliseconds.
const CAPACITY: usize = 32;
/// The longest wait for a slot.
const SLOT_TIMEOUT: Duration = Duration::from_millis(500);

/// The slots that all such reads share.
#[derive(Clone)]
pub(crate) struct LookUps(Arc<Semaphore>);

impl Default for LookUps {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(CAPACITY)))
    }
}

impl LookUps {
    /// The answer of the API server; `None` if the read failed, or if no slot became free in time.
    ///
    /// A call has kilobytes of state. It is on the heap, because most reviews need no call and the
    /// state of a review moves often.
    pub(crate) fn run<'a, T, F>(
        &'a self,
        request: impl FnMut() -> F + Send + 'a,
    ) -> BoxFuture<'a, Option<T>>
    where
        F: Future<Output = kube::Result<T>> + Send + 'a,
        T: Send + 'a,
    {
        let answer = async move {
            let _slot = timeout(SLOT_TIMEOUT, self.0.acquire()).await.ok()?.ok()?;
            call(request).await.ok()
        };
        answer.boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures::future::join_all;
    use tokio::select;

    use super::*;

    #[tokio::test]
    async fn read_beyond_capacity_is_refused() {
        let look_ups = LookUps::default();
        let read = || look_ups.run(|| ready(Ok("read")));
        let endless = (0..CAPACITY).map(|_| look_ups.run(pending::<kube::Result<()>>));
        let answer = select! {
            biased;
            _ = join_all(endless) => unreachable!("they have no end"),
            answer = read() => answer,
        };
        assert_eq!(answer, None);
        assert_eq!(read().await, Some("read"));
    }
}
