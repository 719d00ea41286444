//! Leader election: how one candidate reads a Lease and claims it.
//!
//! A holder leads for [`HELD`] after it *sent* a renewal that the API server granted. The others take
//! over when the holder has not renewed for the Lease's duration. That duration is longer, and they
//! start to count it later. Each candidate uses its own monotonic clock (the `now` of each call, from
//! any start). The times in the Lease are compared only with each other. So clocks that disagree,
//! frozen processes and late answers never make a second leader.
//!
//! Every claim names the version of the Lease that it is based on, so the API server grants at most
//! one of two claims.

use std::time::Duration;

use jiff::Timestamp;

use crate::version::ObjectVersion;

/// How long a Lease is valid without a renewal.
pub const DURATION: Duration = Duration::from_secs(15);
/// Duration of a released Lease, for readers that check only the duration.
pub const RELEASED: Duration = Duration::from_secs(1);
/// How long the holder leads, counted from the sending of its claim.
pub const HELD: Duration = Duration::from_secs(10);
/// Interval of the holder's renewals.
pub const RENEW: Duration = Duration::from_secs(5);
/// Interval of the other candidates' reads, and of a holder's retries.
pub const RETRY: Duration = Duration::from_secs(2);

/// Shortest time between two hand-overs by one candidate. While no candidate can do better, each of them
/// hands over once in this time.
const HAND_OVER_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// How long a candidate leaves a free Lease to the others, for [`HAND_OVER_INTERVAL`] after it handed
/// over.
const DEFERENCE: Duration = Duration::from_secs(30);

/// Limit of a Lease's duration. Only a manual edit can exceed it, and no candidate waits for longer.
const LONGEST: Duration = Duration::from_secs(60);
/// Number of unanswered claims that are remembered: more than fit into [`HELD`].
const CLAIMS: usize = 8;

/// The fields of a Lease that the election uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub version: String,
    /// `spec.holderIdentity`; empty if the Lease has no holder.
    pub holder: String,
    /// `spec.renewTime`, by the holder's clock.
    pub renewed: Option<Timestamp>,
    /// `spec.leaseDurationSeconds`.
    pub duration: Option<Duration>,
    /// `spec.leaseTransitions`: number of changes of the holder.
    pub transitions: u32,
}

impl Record {
    /// Whether the Lease was neither renewed nor taken between the two records.
    fn is_as_old_as(&self, other: &Self) -> bool {
        (&self.uid, &self.holder, self.renewed) == (&other.uid, &other.holder, other.renewed)
    }
}

/// The write that makes this candidate the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Lease to take or to renew; `None` creates one.
    pub base: Option<ObjectVersion>,
    /// Number of times another process took the Lease, including this claim.
    pub transitions: u32,
    /// Whether the process that holds the Lease changes.
    pub acquires: bool,
}

/// What this candidate knows of the current Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Now {
    /// It must read the Lease.
    Unknown,
    /// There is no Lease.
    Absent,
    /// The Lease is the one last seen.
    Seen,
}

/// One candidate.
#[derive(Clone, Debug)]
pub struct Election {
    me: String,
    /// The last Lease seen, and when its last renewal was first seen.
    seen: Option<(Record, Duration)>,
    now: Now,
    /// The `renewed` of the last granted claim and of the unanswered claims since then.
    claimed: Vec<Timestamp>,
    held_until: Option<Duration>,
    handed_over: Option<Duration>,
}

impl Election {
    /// A candidate with this name in the Lease.
    pub fn new(me: &str) -> Self {
        Self {
            me: me.to_owned(),
            seen: None,
            now: Now::Unknown,
            claimed: Vec::new(),
            held_until: None,
            handed_over: None,
        }
    }

    /// The time until which this candidate leads, if it leads now.
    pub fn leads_until(&self, now: Duration) -> Option<Duration> {
        self.held_until.filter(|until| now < *until)
    }

    /// Whether this candidate must read the Lease before its next claim.
    pub fn must_look(&self, now: Duration) -> bool {
        self.is_in_doubt() || self.leads_until(now).is_none()
    }

    /// Whether the Lease may have changed since it was last seen.
    pub fn is_in_doubt(&self) -> bool {
        self.now == Now::Unknown
    }

    /// Records the current Lease; `None` means that there is none.
    pub fn saw(&mut self, record: Option<Record>, now: Duration) {
        let Some(record) = record else {
            self.now = Now::Absent;
            return;
        };
        if !self.is_mine(&record) {
            self.held_until = None;
        }
        let since = match &self.seen {
            Some((before, since)) if before.is_as_old_as(&record) => *since,
            Some(_) | None => now,
        };
        self.seen = Some((record, since));
        self.now = Now::Seen;
    }

    /// The claim to write, if the Lease is free: absent, released, ours, or expired.
    pub fn claim(&self, now: Duration) -> Option<Claim> {
        let (base, is_free) = match (self.now, &self.seen) {
            (Now::Unknown, _) | (Now::Seen, None) => return None,
            (Now::Absent, None) => (None, true),
            // The holder may not have noticed the deletion yet, and re-creates the Lease first.
            (Now::Absent, Some((record, since))) => (None, self.is_free(record, *since, now)),
            (Now::Seen, Some((record, since))) => (
                Some(ObjectVersion {
                    uid: record.uid.clone(),
                    version: record.version.clone(),
                }),
                self.is_free(record, *since, now),
            ),
        };
        let before = self.seen.as_ref().map(|(record, _)| record);
        // After a restart of the container, the process before this one had the same name.
        let acquires = before.is_none_or(|record| !self.is_mine(record));
        let transitions = before.map_or(0, |record| {
            record.transitions.saturating_add(u32::from(acquires))
        });
        is_free.then_some(Claim {
            base,
            transitions,
            acquires,
        })
    }

    /// Records a claim with this `renewed` before it is sent; its answer may never come. `renewed`
    /// must be in whole microseconds, because the API server stores no more.
    pub fn claiming(&mut self, renewed: Timestamp) {
        if self.claimed.len() >= CLAIMS {
            self.claimed.remove(0);
        }
        self.claimed.push(renewed);
    }

    /// Records that the claim sent at `asked` was granted, with the Lease that resulted.
    pub fn won(&mut self, record: Record, asked: Duration, now: Duration) {
        self.claimed.clear();
        self.claimed.extend(record.renewed);
        self.held_until = Some(asked + HELD);
        self.seen = Some((record, now));
        self.now = Now::Seen;
    }

    /// Records that a claim was refused or not answered: another candidate may have been faster.
    pub fn doubt(&mut self) {
        self.now = Now::Unknown;
    }

    /// Whether the Lease may be ours, because a claim was granted or never answered.
    pub fn may_hold(&self) -> bool {
        !self.claimed.is_empty()
    }

    /// Stops leading. Returns the Lease to release, if it is certainly ours.
    pub fn resign(&mut self) -> Option<ObjectVersion> {
        self.held_until = None;
        let (record, _) = self.seen.as_ref()?;
        (self.now == Now::Seen && self.is_mine(record)).then(|| ObjectVersion {
            uid: record.uid.clone(),
            version: record.version.clone(),
        })
    }

    /// Whether this candidate may hand the Lease over, because another one may do better: it leads, and
    /// has not handed over for an hour.
    pub fn may_hand_over(&self, now: Duration) -> bool {
        self.leads_until(now).is_some() && !self.defers(now)
    }

    /// Records that this candidate released the Lease for another one to take.
    pub fn handed_over(&mut self, now: Duration) {
        self.handed_over = Some(now);
    }

    fn defers(&self, now: Duration) -> bool {
        let since = self.handed_over;
        since.is_some_and(|since| now.saturating_sub(since) < HAND_OVER_INTERVAL)
    }

    fn is_free(&self, record: &Record, since: Duration, now: Duration) -> bool {
        let duration = record.duration.unwrap_or(DURATION).min(LONGEST);
        let mut wait = if record.holder.is_empty() {
            Duration::ZERO
        } else {
            duration.max(RELEASED)
        };
        if self.defers(now) {
            wait += DEFERENCE;
        }
        self.is_mine(record) || now.saturating_sub(since) >= wait
    }

    /// Whether this very process wrote the record. The name alone is no proof: the process before
    /// this one had the same name, and another process may have it too.
    fn is_mine(&self, record: &Record) -> bool {
        let renewed = record.renewed.as_ref();
        record.holder == self.me && renewed.is_some_and(|at| self.claimed.contains(at))
    }
}

#[cfg(test)]
mod tests;
