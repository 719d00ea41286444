//! Whether this replica gets tokens from AWS at all, as its calls of the last minutes say.
//!
//! A leader that gets none [hands the Lease over](crate::election::Election::may_hand_over): its node
//! may have no route to AWS, or no rights there, while another replica has both.
//!
//! All points in time are durations since one start, by a clock that is never set.

use std::time::Duration;

use crate::cause::Cause;

/// The time for which all calls have to fail: longer than a restart of a proxy or of DNS.
const PATIENCE: Duration = Duration::from_secs(60);
/// The time after which a failure says nothing more. A key whose calls fail is tried again sooner.
const MEMORY: Duration = Duration::from_secs(10 * 60);

/// The outcome of the last calls, for all keys.
#[derive(Debug, Default)]
pub struct AwsReach(Option<FailingCalls>);

/// Calls that failed, without a token between them.
#[derive(Clone, Copy, Debug)]
struct FailingCalls {
    first: Duration,
    last: Duration,
}

impl AwsReach {
    /// A call brought a token.
    pub fn worked(&mut self) {
        self.0 = None;
    }

    /// A call failed.
    pub fn failed(&mut self, cause: Cause, now: Duration) {
        if !may_differ(cause) {
            return;
        }
        let before = self.0.filter(|calls| calls.are_recent(now));
        let first = before.map_or(now, |calls| calls.first);
        self.0 = Some(FailingCalls { first, last: now });
    }

    /// Whether all calls have failed for a minute or longer.
    pub fn is_lost(&self, now: Duration) -> bool {
        let recent = self.0.filter(|calls| calls.are_recent(now));
        recent.is_some_and(|calls| calls.last.saturating_sub(calls.first) >= PATIENCE)
    }
}

impl FailingCalls {
    fn are_recent(self, now: Duration) -> bool {
        now.saturating_sub(self.last) < MEMORY
    }
}

/// Whether another replica may fare better: it has another node, and so other routes, another clock and
/// maybe another role. Faults of AWS, and refusals of one role or region, are the same for all.
fn may_differ(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::AwsUnreachable
            | Cause::AwsTimeout
            | Cause::AwsAnswerUnusable
            | Cause::AwsAccessDenied
            | Cause::AwsCredentialsMissing
            | Cause::AwsCredentialsUnreadable
            | Cause::AwsSignatureRefused
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn failing(cause: Cause, seconds: impl IntoIterator<Item = u32>) -> AwsReach {
        let mut reach = AwsReach::default();
        for at in seconds {
            reach.failed(cause, SECOND * at);
        }
        reach
    }

    #[test]
    fn reach_is_lost_after_a_minute_of_failures() {
        let cause = Cause::AwsUnreachable;
        assert!(!AwsReach::default().is_lost(SECOND));
        assert!(!failing(cause, [7]).is_lost(SECOND * 100));
        assert!(!failing(cause, [7, 66]).is_lost(SECOND * 100));
        let mut reach = failing(cause, [7, 30, 67]);
        assert!(reach.is_lost(SECOND * 67));
        reach.worked();
        assert!(!reach.is_lost(SECOND * 67));
        reach.failed(cause, SECOND * 68);
        assert!(!reach.is_lost(SECOND * 68));
    }

    #[test]
    fn old_failures_say_nothing() {
        let cause = Cause::AwsTimeout;
        let minutes = |count: u32| SECOND * 60 * count;
        assert!(failing(cause, [0, 60]).is_lost(minutes(11) - SECOND));
        assert!(!failing(cause, [0, 60]).is_lost(minutes(11)));
        assert!(!failing(cause, [0, 600]).is_lost(minutes(10)));
    }

    #[test]
    fn fault_of_all_replicas_does_not_count() {
        for cause in [
            Cause::AwsThrottled,
            Cause::AwsServerError,
            Cause::AwsRoleRefused,
            Cause::AwsCredentialsRefused,
            Cause::AwsRegionDisabled,
        ] {
            assert!(
                !failing(cause, [0, 60, 120]).is_lost(SECOND * 120),
                "{cause}"
            );
        }
    }
}
