//! The record of one open connection: its phase, and what decides about its eviction.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::phase::ConnectionPhase;

/// The age of a phase from which a connection is slow. No younger one is evicted for another, so a
/// flood is served in turn, and costs at most 384 handshakes a second.
pub(super) const SLOW_AFTER: Duration = Duration::from_millis(500);

/// One open connection. Times are in ms after the start of the listener.
pub(super) struct ConnectionRecord {
    pub(super) number: u64,
    pub(super) accepted: u64,
    /// The phase in the three lowest bits, and the time of its begin above them.
    phase: AtomicU64,
    /// Whether it has carried a review.
    is_known: AtomicBool,
    /// The charged memory of its body, in KiB.
    charged: AtomicU32,
    has_long_body: AtomicBool,
    has_unread_body: AtomicBool,
    /// The time from which the next answer is the last.
    pub(super) retires: Instant,
    evicted: Notify,
}

impl ConnectionRecord {
    pub(super) fn new(number: u64, now: u64, retires: Instant) -> Self {
        Self {
            number,
            accepted: now,
            phase: AtomicU64::new(packed(ConnectionPhase::Handshake, now)),
            is_known: AtomicBool::new(false),
            charged: AtomicU32::new(0),
            has_long_body: AtomicBool::new(false),
            has_unread_body: AtomicBool::new(false),
            retires,
            evicted: Notify::new(),
        }
    }

    pub(super) fn enter(&self, phase: ConnectionPhase, now: u64) {
        self.phase.store(packed(phase, now), Ordering::Relaxed);
    }

    pub(super) fn phase(&self) -> ConnectionPhase {
        self.phase_since().0
    }

    /// The phase, and the time of its begin.
    pub(super) fn phase_since(&self) -> (ConnectionPhase, u64) {
        let packed = self.phase.load(Ordering::Relaxed);
        let phase = ConnectionPhase::ALL.get((packed & 7) as usize).copied();
        (phase.unwrap_or(ConnectionPhase::Work), packed >> 3)
    }

    /// Whether its phase is over its limit.
    pub(super) fn is_overdue(&self, now: u64) -> bool {
        let (phase, since) = self.phase_since();
        let limit = phase.limit();
        limit.is_some_and(|limit| now.saturating_sub(since) >= millis(limit))
    }

    /// Marks it as known. Returns false if it is so already.
    pub(super) fn set_known(&self) -> bool {
        !self.is_known.swap(true, Ordering::Relaxed)
    }

    pub(super) fn charged(&self) -> u32 {
        self.charged.load(Ordering::Relaxed)
    }

    pub(super) fn set_charged(&self, kib: u32) {
        self.charged.store(kib, Ordering::Relaxed);
    }

    pub(super) fn has_long_body(&self) -> bool {
        self.has_long_body.load(Ordering::Relaxed)
    }

    pub(super) fn set_long_body(&self, is_long: bool) {
        self.has_long_body.store(is_long, Ordering::Relaxed);
    }

    pub(super) fn has_unread_body(&self) -> bool {
        self.has_unread_body.load(Ordering::Relaxed)
    }

    pub(super) fn set_unread_body(&self, has_unread_body: bool) {
        self.has_unread_body
            .store(has_unread_body, Ordering::Relaxed);
    }

    pub(super) fn evict(&self) {
        self.evicted.notify_one();
    }

    /// Waits for the eviction.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

fn packed(phase: ConnectionPhase, since: u64) -> u64 {
    since << 3 | phase as u64
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
