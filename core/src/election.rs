//! Which replica leads: what one candidate makes of a Lease.
//!
//! A holder believes in itself for [`HELD`] after it *asked* for a renewal that was granted; the
//! others take over when nobody has renewed for the Lease's own duration, which is longer and which
//! they begin to count later. Every candidate measures by its own monotonic clock (the `now` of each
//! call, from any start); what the Lease says about the time of day is only compared with itself. So
//! clocks that disagree, frozen processes and answers that come late make no second leader.
//!
//! Every claim names the version of the Lease that it rests on: the API server grants one of two.

use std::time::Duration;

use jiff::Timestamp;

use crate::version::ObjectVersion;

/// How long a Lease is good for without a renewal.
pub const DURATION: Duration = Duration::from_secs(15);
/// What a Lease that was given back is good for, should a reader look at nothing else.
pub const RELEASED: Duration = Duration::from_secs(1);
/// How long the holder believes in itself, counted from when it asked.
pub const HELD: Duration = Duration::from_secs(10);
/// How often the holder renews.
pub const RENEW: Duration = Duration::from_secs(5);
/// How often the others look, and how soon a holder tries again.
pub const RETRY: Duration = Duration::from_secs(2);

/// A longer duration than anybody should have to wait for; only a person could have written it.
const LONGEST: Duration = Duration::from_secs(60);
/// How many unanswered claims are kept in mind: more than fit into [`HELD`].
const CLAIMS: usize = 8;

/// A Lease, as far as an election cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub version: String,
    /// Who holds it; empty: nobody.
    pub holder: String,
    /// When it was renewed, in the words of whoever did it.
    pub renewed: Option<Timestamp>,
    /// `spec.leaseDurationSeconds`.
    pub duration: Option<Duration>,
    /// How often the holder changed.
    pub transitions: u32,
}

impl Record {
    /// Whether nobody renewed or took the Lease between the two.
    fn is_as_old_as(&self, other: &Self) -> bool {
        (&self.uid, &self.holder, self.renewed) == (&other.uid, &other.holder, other.renewed)
    }
}

/// What to write in order to lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The Lease to take or to renew; `None`: there is none, make one.
    pub base: Option<ObjectVersion>,
    /// How often another process took it, this claim included.
    pub transitions: u32,
    /// Whether another process takes it.
    pub acquires: bool,
}

/// What this candidate knows of the Lease that is there now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Now {
    /// It has to look.
    Unknown,
    /// There is none.
    Absent,
    /// It is the one last seen.
    Seen,
}

/// One candidate.
#[derive(Clone, Debug)]
pub struct Election {
    me: String,
    /// The last Lease seen, and since when it has been as old as it is.
    seen: Option<(Record, Duration)>,
    now: Now,
    /// The `renewed` of the last grant and of claims since then that nobody answered.
    claimed: Vec<Timestamp>,
    held_until: Option<Duration>,
}

impl Election {
    /// `me` is what the Lease calls this candidate.
    pub fn new(me: &str) -> Self {
        Self {
            me: me.to_owned(),
            seen: None,
            now: Now::Unknown,
            claimed: Vec::new(),
            held_until: None,
        }
    }

    /// Until when this candidate leads, if it does.
    pub fn leads_until(&self, now: Duration) -> Option<Duration> {
        self.held_until.filter(|until| now < *until)
    }

    /// Whether the Lease must be read before anything else.
    pub fn must_look(&self, now: Duration) -> bool {
        self.is_in_doubt() || self.leads_until(now).is_none()
    }

    /// Whether the Lease may not be the one last seen.
    pub fn is_in_doubt(&self) -> bool {
        self.now == Now::Unknown
    }

    /// What the Lease says now; `None`: there is none.
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

    /// What to write, if anything: the Lease is nobody's, ours, gone, or its holder is.
    pub fn claim(&self, now: Duration) -> Option<Claim> {
        let (base, is_free) = match (self.now, &self.seen) {
            (Now::Unknown, _) | (Now::Seen, None) => return None,
            (Now::Absent, None) => (None, true),
            // Its holder does not know yet that somebody deleted it, and makes it anew.
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
        // The process before this one had the same name, if its container was started again.
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

    /// A claim with this `renewed` goes out; its answer may never come. Whole microseconds: the
    /// API server keeps no more.
    pub fn claiming(&mut self, renewed: Timestamp) {
        if self.claimed.len() >= CLAIMS {
            self.claimed.remove(0);
        }
        self.claimed.push(renewed);
    }

    /// A claim that was made at `asked` was granted, and this is the Lease now.
    pub fn won(&mut self, record: Record, asked: Duration, now: Duration) {
        self.claimed.clear();
        self.claimed.extend(record.renewed);
        self.held_until = Some(asked + HELD);
        self.seen = Some((record, now));
        self.now = Now::Seen;
    }

    /// A claim was refused, or not answered: somebody may have been faster.
    pub fn doubt(&mut self) {
        self.now = Now::Unknown;
    }

    /// Whether the Lease may be ours: a claim was granted once, or never answered.
    pub fn may_hold(&self) -> bool {
        !self.claimed.is_empty()
    }

    /// Stops leading. What to give back, if the Lease is ours by all that is known.
    pub fn resign(&mut self) -> Option<ObjectVersion> {
        self.held_until = None;
        let (record, _) = self.seen.as_ref()?;
        (self.now == Now::Seen && self.is_mine(record)).then(|| ObjectVersion {
            uid: record.uid.clone(),
            version: record.version.clone(),
        })
    }

    fn is_free(&self, record: &Record, since: Duration, now: Duration) -> bool {
        let duration = record.duration.unwrap_or(DURATION).min(LONGEST);
        record.holder.is_empty()
            || self.is_mine(record)
            || now.saturating_sub(since) >= duration.max(RELEASED)
    }

    /// Whether this very process wrote it. A name alone proves nothing: the process before this one
    /// had the same, and so may another.
    fn is_mine(&self, record: &Record) -> bool {
        let renewed = record.renewed.as_ref();
        record.holder == self.me && renewed.is_some_and(|at| self.claimed.contains(at))
    }
}

#[cfg(test)]
mod tests;
