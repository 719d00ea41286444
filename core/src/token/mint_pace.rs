//! How fast a replica calls AWS, so that the quotas of ECR and STS are never near. AWS documents a
//! bucket of 200 calls of `GetAuthorizationToken` for each account and region, which refills at 20 a
//! second. Two replicas start at most eleven calls a second, because only one of them has a schedule,
//! and twelve while the other one renews overdue tokens in its place. The SDK repeats a call that
//! fails once: so while AWS fails, at most twice as many arrive, on average.
//!
//! First calls for pods that wait have a share of their own. The other share is for the schedule of
//! rotation, and for keys whose last call failed: a pod author who invents regions causes calls that
//! fail, again and again. So one call is left to the schedule. And of each share of pods and retries,
//! one call is left to regions that are certain to exist.

use std::collections::VecDeque;
use std::time::Duration;

/// The period of the limits.
const PERIOD: Duration = Duration::from_secs(1);
/// The most calls in any period.
const MAX_CALLS: usize = 6;
/// The most of them for pods: two are left to all others.
const MAX_CALLS_FOR_PODS: usize = 4;
/// The most of all others: two are left to pods. A thousand keys take 250 s.
const MAX_OTHER_CALLS: usize = 4;
/// The most of them that are retries.
const MAX_RETRIES: usize = MAX_OTHER_CALLS - 1;

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MintReason {
    /// A pod, or a namespace that gets its Secret.
    Pod,
    /// The same, after a call that failed; or in place of a token that a registry refused.
    Retry,
    /// The next token of a key whose old one works.
    Schedule,
    /// As [`MintReason::Pod`], for a region that may be an invention.
    DoubtfulPod,
    /// As [`MintReason::Retry`], for a region that may be an invention.
    DoubtfulRetry,
}

/// A limit of calls within a period.
struct CallLimit {
    /// Which calls count.
    counts: fn(MintReason) -> bool,
    most: usize,
}

const ALL: CallLimit = CallLimit {
    counts: |_| true,
    most: MAX_CALLS,
};
const PODS: CallLimit = CallLimit {
    counts: MintReason::is_of_pod,
    most: MAX_CALLS_FOR_PODS,
};
const DOUBTFUL_PODS: CallLimit = CallLimit {
    counts: |reason| reason == MintReason::DoubtfulPod,
    most: MAX_CALLS_FOR_PODS - 1,
};
const OTHERS: CallLimit = CallLimit {
    counts: |reason| !reason.is_of_pod(),
    most: MAX_OTHER_CALLS,
};
const RETRIES: CallLimit = CallLimit {
    counts: |reason| matches!(reason, MintReason::Retry | MintReason::DoubtfulRetry),
    most: MAX_RETRIES,
};
const DOUBTFUL_RETRIES: CallLimit = CallLimit {
    counts: |reason| reason == MintReason::DoubtfulRetry,
    most: MAX_RETRIES - 1,
};
/// Pods and retries together.
const UNSCHEDULED: CallLimit = CallLimit {
    counts: |reason| reason != MintReason::Schedule,
    most: MAX_CALLS - 1,
};

impl MintReason {
    fn is_of_pod(self) -> bool {
        matches!(self, Self::Pod | Self::DoubtfulPod)
    }

    fn limits(self) -> &'static [CallLimit] {
        match self {
            Self::Pod => &[ALL, PODS],
            Self::Schedule => &[ALL, OTHERS],
            Self::Retry => &[ALL, OTHERS, RETRIES, UNSCHEDULED],
            Self::DoubtfulPod => &[ALL, PODS, DOUBTFUL_PODS],
            Self::DoubtfulRetry => &[ALL, OTHERS, RETRIES, DOUBTFUL_RETRIES, UNSCHEDULED],
        }
    }
}

/// The calls of the last second. All times are durations since one start.
#[derive(Debug, Default)]
pub struct MintPace(VecDeque<(Duration, MintReason)>);

impl MintPace {
    /// Counts a call that starts now.
    ///
    /// # Errors
    ///
    /// The earliest time at which it may start, when it may not start now.
    pub fn start(&mut self, reason: MintReason, now: Duration) -> Result<(), Duration> {
        while self.0.front().is_some_and(|(at, _)| *at + PERIOD <= now) {
            self.0.pop_front();
        }
        for CallLimit { counts, most } in reason.limits() {
            let mut counted = self.0.iter().filter(|(_, other)| counts(*other));
            if let Some((first, _)) = counted.next()
                && counted.count() + 1 >= *most
            {
                return Err(*first + PERIOD);
            }
        }
        self.0.push_back((now, reason));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REASONS: [MintReason; 5] = [
        MintReason::Pod,
        MintReason::Retry,
        MintReason::Schedule,
        MintReason::DoubtfulPod,
        MintReason::DoubtfulRetry,
    ];

    /// The number of calls that start while all of these wait, from `now`.
    fn started(pace: &mut MintPace, reason: MintReason, now: Duration) -> usize {
        std::iter::from_fn(|| pace.start(reason, now).ok()).count()
    }

    #[test]
    fn each_reason_has_a_share_of_its_own() {
        for (first, second) in [
            (MintReason::Pod, MintReason::Schedule),
            (MintReason::Schedule, MintReason::Pod),
            (MintReason::Retry, MintReason::Pod),
        ] {
            let mut pace = MintPace::default();
            let now = Duration::from_secs(1000);
            let one = started(&mut pace, first, now);
            let other = started(&mut pace, second, now);
            assert_eq!(one + other, MAX_CALLS, "{first:?} {second:?}");
            assert!(other >= 2);
        }
    }

    #[test]
    fn refusal_says_when_the_first_call_leaves() {
        let mut pace = MintPace::default();
        let start = Duration::from_secs(1000);
        for call in 0..4_u32 {
            let now = start + Duration::from_millis(100) * call;
            assert_eq!(pace.start(MintReason::Schedule, now), Ok(()));
        }
        let now = start + Duration::from_millis(900);
        let opens_at = pace.start(MintReason::Schedule, now).unwrap_err();
        assert_eq!(opens_at, start + PERIOD);
        assert_eq!(pace.start(MintReason::Schedule, opens_at), Ok(()));
    }

    #[test]
    fn retries_share_with_the_schedule() {
        let mut pace = MintPace::default();
        let now = Duration::from_secs(1000);
        assert_eq!(
            started(&mut pace, MintReason::Schedule, now),
            MAX_OTHER_CALLS
        );
        assert_eq!(started(&mut pace, MintReason::Retry, now), 0);
    }

    #[test]
    fn retries_leave_a_call_to_the_schedule() {
        for (pods, retries, scheduled) in [(0, 3, 1), (1, 3, 1), (2, 3, 1), (4, 1, 1)] {
            let mut pace = MintPace::default();
            let now = Duration::from_secs(1000);
            for _ in 0..pods {
                assert_eq!(pace.start(MintReason::Pod, now), Ok(()));
            }
            assert_eq!(started(&mut pace, MintReason::Retry, now), retries);
            assert_eq!(started(&mut pace, MintReason::Schedule, now), scheduled);
        }
    }

    #[test]
    fn inventions_leave_a_call_to_each_share() {
        for (doubtful, certain) in [
            (MintReason::DoubtfulPod, MintReason::Pod),
            (MintReason::DoubtfulRetry, MintReason::Retry),
        ] {
            let mut pace = MintPace::default();
            let now = Duration::from_secs(1000);
            assert!(started(&mut pace, doubtful, now) >= 2, "{doubtful:?}");
            assert_eq!(pace.start(certain, now), Ok(()));
            // In the other order, too, they share.
            let later = now + PERIOD;
            assert!(started(&mut pace, certain, later) >= 3);
            assert!(pace.start(doubtful, later).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_second_has_more_than_six_calls(waits in proptest::collection::vec((0..REASONS.len(), 0..400_u64), 1..200)) {
            let (mut pace, mut now) = (MintPace::default(), Duration::ZERO);
            let mut starts = Vec::new();
            for (reason, wait) in waits {
                now += Duration::from_millis(wait);
                let reason = REASONS[reason];
                while let Err(opens_at) = pace.start(reason, now) {
                    prop_assert!(opens_at > now);
                    now = opens_at;
                }
                starts.push(now);
            }
            for first in &starts {
                let within = starts.iter().filter(|at| *at >= first && **at < *first + PERIOD);
                prop_assert!(within.count() <= MAX_CALLS);
            }
        }
    }
}
