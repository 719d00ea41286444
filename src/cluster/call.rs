//! One call of the API server: a deadline, one retry on a dead connection, and a [`Refusal`].
//!
//! Every call of the API server goes through here; watches do not, because they never end. An Event
//! is not retried: see [`call_once`].

use std::time::Duration;

use tokio::time::timeout;

use super::refusal::Refusal;

/// The deadline of a call. The API server itself gives a webhook 5 s.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(4);

/// Makes a call with [`CALL_TIMEOUT`] as its deadline; otherwise as [`call_within`].
///
/// # Errors
///
/// [`Refusal`], also when the deadline passes.
pub(crate) async fn call<T, F>(request: impl FnMut() -> F) -> Result<T, Refusal>
where
    F: Future<Output = kube::Result<T>>,
{
    call_within(CALL_TIMEOUT, request).await
}

/// Makes a call, and makes it again at once where the connection had died while it was idle. So the
/// call must be safe to make twice: a read, or a write that carries a resource version.
///
/// # Errors
///
/// [`Refusal`], also when `limit` passes.
pub(crate) async fn call_within<T, F>(
    limit: Duration,
    mut request: impl FnMut() -> F,
) -> Result<T, Refusal>
where
    F: Future<Output = kube::Result<T>>,
{
    call_once(limit, async {
        match request().await {
            Err(kube::Error::Service(_) | kube::Error::HyperError(_)) => request().await,
            answer => answer,
        }
    })
    .await
}

/// Makes a call once, for a caller that must know whether an earlier attempt may have arrived.
///
/// # Errors
///
/// [`Refusal`], also when `limit` passes.
pub(crate) async fn call_once<T>(
    limit: Duration,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, Refusal> {
    match timeout(limit, request).await {
        Ok(answer) => answer.map_err(|error| Refusal::of(&error)),
        Err(_) => Err(Refusal::no_answer(limit)),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{pending, ready};

    use kube::core::Status;

    use super::*;

    fn dead() -> kube::Error {
        kube::Error::Service("connection reset".into())
    }

    #[tokio::test]
    async fn dead_connection_is_retried_once() {
        let attempts = Cell::new(0);
        let second = || {
            attempts.set(attempts.get() + 1);
            ready(if attempts.get() == 1 {
                Err(dead())
            } else {
                Ok("answer")
            })
        };
        assert_eq!(call(second).await, Ok("answer"));

        attempts.set(0);
        let never = || {
            attempts.set(attempts.get() + 1);
            ready(Err::<(), _>(dead()))
        };
        assert!(call(never).await.is_err_and(|error| error.is_transient()));
        assert_eq!(attempts.get(), 2);
    }

    #[tokio::test]
    async fn refusal_is_not_retried() {
        let attempts = Cell::new(0);
        let conflict = || {
            attempts.set(attempts.get() + 1);
            let status = Status::failure("conflict", "Conflict").with_code(409);
            ready(Err::<(), _>(kube::Error::Api(status.boxed())))
        };
        assert_eq!(call(conflict).await, Err(Refusal::Changed));
        assert_eq!(attempts.get(), 1);
    }

    #[tokio::test]
    async fn call_without_answer_ends_at_deadline() {
        let limit = Duration::from_millis(1);
        let refusal = call_within(limit, pending::<kube::Result<()>>).await;
        assert!(refusal.is_err_and(|refusal| refusal.is_transient()));
    }
}
