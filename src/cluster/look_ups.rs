//! Reads of objects that are not in memory, each in a slot of a limited number.
//!
//! The sender of a review chooses the namespace and the ServiceAccount that it names. One that does
//! not exist is read again for each review, and each read holds a socket until its answer. A tenant
//! chooses how long a whole ServiceAccount is, and has it read again by a change of it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// Reads of the metadata of a namespace at a time. An API server answers one within some milliseconds.
const MAX_NAMESPACES: usize = 32;
/// The most of the same namespace.
const MAX_OF_ONE_NAMESPACE: usize = 8;
/// Reads of a whole ServiceAccount at a time. The API server sends up to 9 MB of JSON for one.
const MAX_ACCOUNTS: usize = 4;
/// The most of one namespace.
const MAX_ACCOUNTS_OF_NAMESPACE: usize = 2;
/// The longest wait for a slot.
const SLOT_TIMEOUT: Duration = Duration::from_millis(500);

/// The slots that all such reads share.
#[derive(Clone)]
pub(crate) struct LookUps {
    /// For the metadata of a namespace.
    pub(crate) namespaces: Arc<ReadSlots>,
    /// For a whole ServiceAccount.
    pub(crate) accounts: Arc<ReadSlots>,
}

impl Default for LookUps {
    fn default() -> Self {
        let slots = |most, of_namespace| Arc::new(ReadSlots::new(most, of_namespace));
        Self {
            namespaces: slots(MAX_NAMESPACES, MAX_OF_ONE_NAMESPACE),
            accounts: slots(MAX_ACCOUNTS, MAX_ACCOUNTS_OF_NAMESPACE),
        }
    }
}

/// Slots of which each namespace has a share. Reads beyond the share wait in a queue of their
/// namespace, and hold up no other namespace.
pub(crate) struct ReadSlots {
    all: Semaphore,
    of_namespace: usize,
    /// The share of each namespace that reads or waits.
    shares: Mutex<HashMap<Box<str>, Weak<Semaphore>>>,
}

impl ReadSlots {
    fn new(most: usize, of_namespace: usize) -> Self {
        Self {
            all: Semaphore::new(most),
            of_namespace,
            shares: Mutex::default(),
        }
    }

    /// What a read about this namespace brings; `None` if it fails, or if no slot becomes free in time.
    ///
    /// A call has kilobytes of state. It is on the heap, because most reviews need no call and the
    /// state of a review moves often.
    pub(crate) fn run<'a, T: Send + 'a>(
        &'a self,
        namespace: &'a str,
        read: impl Future<Output = Option<T>> + Send + 'a,
    ) -> BoxFuture<'a, Option<T>> {
        let answer = async move {
            let _slot = timeout(SLOT_TIMEOUT, self.slot(namespace)).await.ok()??;
            read.await
        };
        answer.boxed()
    }

    /// A slot, once there is one. It is never closed.
    async fn slot(&self, namespace: &str) -> Option<(OwnedSemaphorePermit, SemaphorePermit<'_>)> {
        let own = self.share(namespace).acquire_owned().await.ok()?;
        Some((own, self.all.acquire().await.ok()?))
    }

    fn share(&self, namespace: &str) -> Arc<Semaphore> {
        let mut shares = self.shares.lock();
        if let Some(share) = shares.get(namespace).and_then(Weak::upgrade) {
            return share;
        }
        shares.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Semaphore::new(self.of_namespace));
        shares.insert(namespace.into(), Arc::downgrade(&share));
        share
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures::future::join_all;
    use tokio::select;

    use super::*;

    /// What a read of the namespace brings while `endless` ones of these namespaces have begun.
    async fn read_beside(
        slots: &ReadSlots,
        endless: impl Iterator<Item = &str>,
        namespace: &str,
    ) -> Option<&'static str> {
        let endless = endless.map(|name| slots.run(name, pending::<Option<()>>()));
        select! {
            biased;
            _ = join_all(endless) => unreachable!("some of them have no end"),
            answer = slots.run(namespace, ready(Some("read"))) => answer,
        }
    }

    #[tokio::test]
    async fn read_beyond_capacity_is_refused() {
        let slots = ReadSlots::new(4, 2);
        let busy = || ["one", "one", "two", "two"].into_iter();
        assert_eq!(read_beside(&slots, busy(), "late").await, None);
        assert_eq!(
            read_beside(&slots, busy().skip(1), "late").await,
            Some("read")
        );
    }

    #[tokio::test]
    async fn hanging_reads_of_namespace_delay_no_other() {
        let LookUps {
            namespaces,
            accounts,
        } = LookUps::default();
        for slots in [namespaces, accounts] {
            let flood = || (0..96).map(|_| "flooding");
            assert_eq!(read_beside(&slots, flood(), "other").await, Some("read"));
            assert_eq!(read_beside(&slots, flood(), "flooding").await, None);
        }
    }

    #[tokio::test]
    async fn share_of_quiet_namespace_is_forgotten() {
        let slots = ReadSlots::new(4, 2);
        for namespace in ["one", "two", "three"] {
            assert_eq!(slots.run(namespace, ready(Some(()))).await, Some(()));
        }
        assert_eq!(slots.shares.lock().len(), 1);
    }
}
