//! How many new keys one namespace may bring: pod authors choose regions, and each new key is a call
//! of AWS and takes a slot from others.

use std::collections::BTreeMap;
use std::time::Duration;

/// The number of new keys that a namespace may bring within [`WINDOW`].
const MAX_NEW_KEYS: u32 = 16;
/// The time after which the count of a namespace starts again.
const WINDOW: Duration = Duration::from_secs(10 * 60);

/// A namespace has brought as many new keys as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the namespace brought {MAX_NEW_KEYS} new regions within {} s", WINDOW.as_secs())]
pub struct TooManyNewKeys;

/// The new keys of each namespace. All times are durations since one start.
#[derive(Debug, Default)]
pub struct KeyQuota(BTreeMap<String, NewKeys>);

#[derive(Debug)]
struct NewKeys {
    since: Duration,
    count: u32,
}

impl KeyQuota {
    /// Charges one new key to a namespace.
    ///
    /// # Errors
    ///
    /// [`TooManyNewKeys`] until the namespace's window is over.
    pub fn charge(&mut self, namespace: &str, now: Duration) -> Result<(), TooManyNewKeys> {
        self.0
            .retain(|_, keys| now.saturating_sub(keys.since) < WINDOW);
        let keys = self.0.entry(namespace.to_owned()).or_insert(NewKeys {
            since: now,
            count: 0,
        });
        if keys.count >= MAX_NEW_KEYS {
            return Err(TooManyNewKeys);
        }
        keys.count += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::Cause;

    #[test]
    fn cause_states_the_quota() {
        let minutes = WINDOW.as_secs() / 60;
        let limit = format!("more than {MAX_NEW_KEYS} new tokens within {minutes} minutes");
        assert!(Cause::TooManyTokens.sentence().contains(&limit), "{limit}");
    }

    #[test]
    fn quota_is_full_until_its_window_ends() {
        let mut quota = KeyQuota::default();
        let start = Duration::from_secs(1000);
        for second in 0..16 {
            let now = start + Duration::from_secs(second);
            assert_eq!(quota.charge("team", now), Ok(()));
        }
        let just_before = start + WINDOW - Duration::from_nanos(1);
        assert_eq!(quota.charge("team", just_before), Err(TooManyNewKeys));
        assert_eq!(quota.charge("team", start + WINDOW), Ok(()));
    }

    #[test]
    fn full_quota_of_one_namespace_limits_no_other() {
        let mut quota = KeyQuota::default();
        while quota.charge("hostile", Duration::ZERO).is_ok() {}
        assert_eq!(quota.charge("team", Duration::ZERO), Ok(()));
    }

    #[test]
    fn namespaces_are_forgotten_after_their_window() {
        let mut quota = KeyQuota::default();
        for number in 0..100 {
            quota.charge(&number.to_string(), Duration::ZERO).unwrap();
        }
        quota.charge("team", WINDOW).unwrap();
        assert_eq!(quota.0.len(), 1);
    }

    #[test]
    fn refusal_states_number_and_window() {
        assert_eq!(
            TooManyNewKeys.to_string(),
            "the namespace brought 16 new regions within 600 s"
        );
    }
}
