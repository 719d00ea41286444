//! When the replica loads its own AWS credentials again because AWS has refused a call with them.
//!
//! The credentials may have been replaced. Or they work, and AWS does not take them in one region: a
//! region that the account has not enabled answers like one that does not know the key. A pod author
//! chooses the region, and all keys share the credentials.

use std::time::Duration;

/// The least time between two loads for keys that have not worked before, or for tokens that registries
/// refuse.
const INTERVAL: Duration = Duration::from_secs(60);

/// The time of the last load, since some start.
#[derive(Debug, Default)]
pub struct CredentialReloads(Option<Duration>);

impl CredentialReloads {
    /// Whether a refusal of the credentials is a reason to load them again; then it counts as done.
    /// At once, if the call before was a success: something has changed. Otherwise once a minute.
    pub fn reload(&mut self, has_worked: bool, now: Duration) -> bool {
        let is_recent = |at: Duration| now.saturating_sub(at) < INTERVAL;
        if !has_worked && self.0.is_some_and(is_recent) {
            return false;
        }
        self.0 = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1000);

    #[test]
    fn keys_without_success_reload_once_a_minute() {
        let mut reloads = CredentialReloads::default();
        for minute in 0..3 {
            let begin = START + INTERVAL * minute;
            assert!(reloads.reload(false, begin));
            assert!(!reloads.reload(false, begin));
            assert!(!reloads.reload(false, begin + INTERVAL - Duration::from_nanos(1)));
        }
    }

    #[test]
    fn key_that_worked_reloads_at_once() {
        let mut reloads = CredentialReloads::default();
        assert!(reloads.reload(false, START));
        assert!(reloads.reload(true, START));
        assert!(!reloads.reload(false, START));
    }
}
