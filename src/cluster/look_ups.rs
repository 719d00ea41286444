//! Questions about what is not in memory, few at a time.
//!
//! Whoever sends a review names its namespace and its ServiceAccount, and those that do not exist
//! are asked for each time. Each question is a socket for as long as it takes.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::client::CALL_TIMEOUT;

/// At a time. An API server answers one in some milliseconds.
const CAPACITY: usize = 32;
/// How long one waits for its turn.
const TURN: Duration = Duration::from_millis(500);

/// The places that all such calls share.
#[derive(Clone)]
pub(crate) struct LookUps(Arc<Semaphore>);

impl Default for LookUps {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(CAPACITY)))
    }
}

impl LookUps {
    /// What the API server says; nothing if it failed, or if there was no place or no answer in
    /// time.
    ///
    /// A call has kilobytes of state. It is on the heap, for most reviews need none, and the state of
    /// a review is moved about.
    pub(crate) fn run<'a, T, E>(
        &'a self,
        call: impl Future<Output = Result<T, E>> + Send + 'a,
    ) -> BoxFuture<'a, Option<T>> {
        let answer = async move {
            let _place = timeout(TURN, self.0.acquire()).await.ok()?.ok()?;
            timeout(CALL_TIMEOUT, call).await.ok()?.ok()
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
    async fn one_too_many_is_not_made_and_the_next_one_is() {
        let look_ups = LookUps::default();
        let made = || look_ups.run(ready(Ok::<_, ()>("made")));
        let endless = (0..CAPACITY).map(|_| look_ups.run(pending::<Result<(), ()>>()));
        let answer = select! {
            biased;
            _ = join_all(endless) => unreachable!("they have no end"),
            answer = made() => answer,
        };
        assert_eq!(answer, None);
        assert_eq!(made().await, Some("made"));
    }
}
