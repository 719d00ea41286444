//! The table of open connections, and the choice of those that are evicted.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::phase::ConnectionPhase;
use super::record::{ConnectionRecord, SLOW_AFTER, millis};

/// The most connections, each of 25 to 40 KiB. An API server needs one for each review that it waits
/// for: some dozens, and 200 if it creates as many pods at a time as it ever does. Container runtimes
/// grant at least 1,024 file descriptors.
pub(super) const MAX_CONNECTIONS: usize = 512;
/// The most fresh connections. A connection of an API server is fresh for some ms only. Others wait
/// in the kernel's queue meanwhile.
pub(super) const MAX_FRESH: usize = 192;
/// If file descriptors run out earlier, at most one connection in this many is fresh.
const FRESH_SHARE: usize = 3;

/// The open connections by number, which is their order of arrival.
#[derive(Default)]
pub(super) struct ConnectionTable {
    fresh: BTreeMap<u64, Arc<ConnectionRecord>>,
    known: BTreeMap<u64, Arc<ConnectionRecord>>,
    last_number: u64,
}

impl ConnectionTable {
    pub(super) fn is_full(&self) -> bool {
        self.fresh.len() >= MAX_FRESH || self.len() >= MAX_CONNECTIONS
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Adds a fresh connection.
    pub(super) fn insert(&mut self, record: Arc<ConnectionRecord>) {
        self.fresh.insert(record.number, record);
    }

    /// Moves a fresh connection to the known ones.
    pub(super) fn promote(&mut self, number: u64) {
        if let Some(record) = self.fresh.remove(&number) {
            self.known.insert(number, record);
        }
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Arc<ConnectionRecord>> {
        let fresh = self.fresh.remove(&number);
        fresh.or_else(|| self.known.remove(&number))
    }

    /// The connection to evict for a new one, if there is a slow one.
    pub(super) fn least_needed(&self, now: u64) -> Option<u64> {
        use ConnectionPhase::{Body, Header, Idle, Linger};
        let oldest_fresh = || {
            let (number, oldest) = self.fresh.first_key_value()?;
            (now.saturating_sub(oldest.accepted) >= millis(SLOW_AFTER)).then_some(*number)
        };
        let slowest_known = |phases: &[ConnectionPhase]| {
            let slow = slow(self.known.values(), now, |_, phase| phases.contains(&phase));
            let slowest = slow.min_by_key(|(rank, _)| *rank);
            slowest.map(|(_, record)| record.number)
        };
        if self.fresh.len() * FRESH_SHARE > self.len() {
            oldest_fresh()
        } else {
            slowest_known(&[Header, Body, Linger])
                .or_else(|| slowest_known(&[Idle]))
                .or_else(oldest_fresh)
        }
    }

    /// The slowest connections but this one whose bodies, or long bodies alone, hold this much
    /// memory together. None if all these hold less.
    pub(super) fn slow_bodies(
        &self,
        kib: u32,
        only_long: bool,
        but: u64,
        now: u64,
    ) -> Option<Vec<u64>> {
        let is_holder = |record: &ConnectionRecord, phase| {
            record.number != but
                && phase == ConnectionPhase::Body
                && record.charged() > 0
                && (record.has_long_body() || !only_long)
        };
        let mut slow = slow(self.all(), now, is_holder).collect::<Vec<_>>();
        slow.sort_unstable_by_key(|(rank, _)| *rank);
        let mut chosen = Vec::new();
        let mut freed = 0;
        for (_, record) in slow {
            if freed >= kib {
                break;
            }
            freed += record.charged();
            chosen.push(record.number);
        }
        (freed >= kib).then_some(chosen)
    }

    /// The connections whose phases are over their limits.
    pub(super) fn overdue(&self, now: u64) -> Vec<u64> {
        let overdue = self.all().filter(|record| record.is_overdue(now));
        overdue.map(|record| record.number).collect()
    }

    fn len(&self) -> usize {
        self.fresh.len() + self.known.len()
    }

    fn all(&self) -> impl Iterator<Item = &Arc<ConnectionRecord>> {
        self.fresh.values().chain(self.known.values())
    }
}

/// The slow ones of some connections, each with a rank. The slowest has the lowest rank.
fn slow<'a>(
    records: impl Iterator<Item = &'a Arc<ConnectionRecord>>,
    now: u64,
    is_candidate: impl Fn(&ConnectionRecord, ConnectionPhase) -> bool,
) -> impl Iterator<Item = ((u64, u64), &'a Arc<ConnectionRecord>)> {
    records.filter_map(move |record| {
        let (phase, since) = record.phase_since();
        let is_slow = now.saturating_sub(since) >= millis(SLOW_AFTER);
        let rank = (since, record.number);
        (is_slow && is_candidate(record, phase)).then_some((rank, record))
    })
}
