//! Which foreign Secrets keep the reference from the pods of their namespaces.
//!
//! A foreign Secret may be large, and all pods of its namespace lack the reference. So each version is
//! read once in a term.

use std::collections::HashMap;

use ecr_pull_secrets_core::target::Target;
use parking_lot::Mutex;

/// The answers of one term, each with the version of its Secret.
#[derive(Default)]
pub(super) struct Withheld(Mutex<HashMap<Target, (u64, bool)>>);

impl Withheld {
    /// Whether this version keeps the reference from pods. If that is not known, `read` says it, unless
    /// the API server does not answer: the pod counts as missed then.
    pub(super) async fn ask(
        &self,
        target: &Target,
        version: u64,
        read: impl Future<Output = Option<bool>>,
    ) -> bool {
        let known = self.0.lock().get(target).copied();
        if let Some((_, is_withheld)) = known.filter(|(of, _)| *of == version) {
            return is_withheld;
        }
        let answer = read.await;
        if let Some(is_withheld) = answer {
            let known = (version, is_withheld);
            self.0.lock().insert(target.clone(), known);
        }
        answer.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    #[tokio::test]
    async fn each_version_of_foreign_secret_is_read_once() {
        let withheld = Withheld::default();
        let (team, other) = (Target::new("team", "pull"), Target::new("other", "pull"));
        let unread = || async { panic!("it was read") };
        assert!(!withheld.ask(&team, 1, ready(None)).await);
        assert!(withheld.ask(&team, 1, ready(Some(true))).await);
        assert!(withheld.ask(&team, 1, unread()).await);
        assert!(!withheld.ask(&other, 1, ready(Some(false))).await);
        assert!(!withheld.ask(&other, 1, unread()).await);
        assert!(!withheld.ask(&team, 2, ready(Some(false))).await);
        assert!(!withheld.ask(&team, 2, unread()).await);
    }
}
