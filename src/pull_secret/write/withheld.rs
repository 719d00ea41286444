//! Why foreign Secrets keep the reference from the pods of their namespaces.
//!
//! A foreign Secret may be large, and each pod of its namespace asks. So each version is read once.

use std::num::NonZeroUsize;

use ecr_pull_secrets_core::cause::Cause;
use ecr_pull_secrets_core::config::Adopt;
use ecr_pull_secrets_core::target::Target;
use lru::LruCache;
use parking_lot::Mutex;

/// The most answers that are remembered. The Secret of one that was forgotten is read again.
const MAX_ANSWERS: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// An answer, and what it follows from.
struct WithheldAnswer {
    version: u64,
    adopt: Adopt,
    cause: Option<Cause>,
}

/// The answers of this process.
pub(super) struct Withheld(Mutex<LruCache<Target, WithheldAnswer>>);

impl Withheld {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(MAX_ANSWERS)))
    }

    /// Why this version keeps the reference from pods, if it does. `read` says it where that is not known.
    ///
    /// # Errors
    ///
    /// Those of `read`, which are not remembered.
    pub(super) async fn ask<E>(
        &self,
        target: &Target,
        version: u64,
        adopt: Adopt,
        read: impl Future<Output = Result<Option<Cause>, E>>,
    ) -> Result<Option<Cause>, E> {
        if let Some(known) = self.0.lock().get(target)
            && (known.version, known.adopt) == (version, adopt)
        {
            return Ok(known.cause);
        }
        let cause = read.await?;
        let answer = WithheldAnswer {
            version,
            adopt,
            cause,
        };
        self.0.lock().put(target.clone(), answer);
        Ok(cause)
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    const MALFORMED: Result<Option<Cause>, ()> = Ok(Some(Cause::ForeignMalformed));

    #[tokio::test]
    async fn each_version_of_foreign_secret_is_read_once() {
        let withheld = Withheld::new();
        let (team, other) = (Target::new("team", "pull"), Target::new("other", "pull"));
        let unread = || async { panic!("it was read") };
        let ask =
            async |target, version, read| withheld.ask(target, version, Adopt::All, read).await;
        assert_eq!(ask(&team, 1, ready(Err(()))).await, Err(()));
        assert_eq!(ask(&team, 1, ready(MALFORMED)).await, MALFORMED);
        assert_eq!(ask(&other, 1, ready(Ok(None))).await, Ok(None));
        for (target, answer) in [(&team, MALFORMED), (&other, Ok(None))] {
            let again = withheld.ask(target, 1, Adopt::All, unread()).await;
            assert_eq!(again, answer);
        }
        assert_eq!(ask(&team, 2, ready(Ok(None))).await, Ok(None));
        let adopt = Adopt::Never;
        let never = withheld.ask(&team, 2, adopt, ready(MALFORMED)).await;
        assert_eq!(never, MALFORMED);
    }
}
